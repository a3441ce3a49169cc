"""Jobs watched at the gate, in virtual time: ``asyncio.sleep`` in here takes none."""

from __future__ import annotations

import asyncio
import logging
import re

import pytest

from airflow_riffusion.core.jobs import JobLedger
from airflow_riffusion.exceptions import RiffusionRejected, RiffusionUnavailable
from airflow_riffusion.gate import gate as gate_module
from airflow_riffusion.gate.gate import CapacityGate
from tests.gates import cancel, our_tasks, wait, watch
from tests.readings import job, reading
from tests.virtual_time import run

RUNNING = reading(job("1", "a", "ref"), a=(0, 1))
OVER = reading(a=(1, 1))


def test_watch_job_that_is_over_ends_the_watch(hook):
    hook.next_answers = [RUNNING, RUNNING, OVER]
    hook.answer = OVER

    async def scenario():
        return await watch("w", job_ids=("1",)), our_tasks()

    seen, left = run(scenario())
    assert seen.job_id == "1"
    assert len(hook.asked_at) == 4
    assert left == []


def test_watch_watchers_and_waiters_share_one_request_per_interval(hook):
    hook.answer = RUNNING

    async def scenario():
        tasks = [watch(f"watcher {number}", job_ids=("1",)) for number in range(50)]
        tasks += [wait(f"waiter {number}") for number in range(50)]
        await asyncio.sleep(100)
        await cancel(*tasks)
        return our_tasks()

    left = run(scenario())
    assert len(hook.asked_at) == 10
    assert left == []


def test_watch_watchers_that_come_one_by_one_bring_no_reading_forward(hook):
    hook.answer = RUNNING

    async def scenario():
        tasks = [wait("the only one who waits for a slot", poke_interval=60)]
        for number in range(100):
            tasks.append(watch(f"watcher {number}", job_ids=("1",), poke_interval=60))
            await asyncio.sleep(1.1)
        await cancel(*tasks)

    run(scenario())
    assert len(hook.asked_at) <= 3


def test_watch_job_that_is_never_seen_is_given_up_after_its_time(hook):
    hook.answer = OVER

    async def scenario():
        began = asyncio.get_running_loop().time()
        return await watch("w", job_ids=("1",), unseen_for=60), asyncio.get_running_loop().time() - began

    seen, waited = run(scenario())
    assert seen is None
    assert 60 <= waited <= 72


def test_watch_first_reading_is_debounced_also_if_a_watcher_comes_first(hook):
    hook.answer = OVER

    async def scenario():
        watcher = watch("w", job_ids=("1",), unseen_for=1000)
        await asyncio.sleep(0.9)
        later = wait("later", since=2)
        await asyncio.sleep(0.9)
        earlier = wait("earlier", since=1)
        await asyncio.sleep(5)
        served = [task.result().grant_id for task in (later, earlier) if task.done()]
        await cancel(watcher, later, earlier)
        return served

    assert run(scenario()) == ["earlier"]


def test_watch_cancelled_watcher_leaves_the_job_ledger(hook, monkeypatch):
    jobs = JobLedger()
    monkeypatch.setattr(gate_module, "JobLedger", lambda: jobs)

    async def scenario():
        watcher = watch("w", job_ids=("1",), unseen_for=1000)
        await asyncio.sleep(5)
        looking = len(jobs)
        await cancel(watcher)
        return looking

    assert run(scenario()) == 1
    assert len(jobs) == 0


def test_watch_reading_that_is_reused_for_a_new_waiter_counts_once_against_a_job(hook):
    """Two readings in a row have to miss a job until it counts as over."""
    hook.next_answers = [RUNNING, OVER]
    hook.answer = RUNNING

    async def scenario():
        watcher = watch("watcher", job_ids=("1",))
        for _ in range(200):
            await asyncio.sleep(0.1)
            if len(hook.asked_at) == 2:
                break
        await wait("new")
        over = watcher.done()
        await cancel(watcher)
        return over, len(hook.asked_at)

    assert run(scenario()) == (False, 2)


def test_job_ids_are_those_with_a_reference_in_the_last_reading(hook):
    hook.answer = reading(job("1", "a", "ref"), job("2", "a", "other"), a=(0, 2))

    async def scenario():
        gate = CapacityGate.of("riffusion_test")
        before = gate.job_ids("ref")
        waiter = wait("w")
        await asyncio.sleep(5)
        known = gate.job_ids("ref"), gate.job_ids("unknown")
        await cancel(waiter)
        return before, *known

    assert run(scenario()) == ((), ("1",), ())


def test_watch_rejection_ends_the_watch(hook):
    hook.answer = RiffusionRejected("401 Unauthorized")

    async def scenario():
        with pytest.raises(RiffusionRejected, match="401"):
            await watch("w", job_ids=("1",))

    run(scenario())


def test_watch_watcher_logs_the_status_of_its_job(hook, caplog):
    caplog.set_level(logging.INFO)
    hook.next_answers = [OVER] * 3
    hook.answer = RUNNING

    async def scenario():
        watcher = watch("w", job_ids=("1",), unseen_for=1000)
        await asyncio.sleep(200)
        await cancel(watcher)

    run(scenario())
    lines = [re.sub(r"in \d+ s", "in n s", record.getMessage()) for record in caplog.records]
    assert lines == [
        "Watching job 1 on connection 'riffusion_test'.",
        "The job was not seen executing yet: 1 of 1 slots free on 1 account; next reading in n s.",
        "Job 1 is executing on account a; next reading in n s.",
    ]


def test_watch_watcher_logs_why_no_reading_can_be_had(hook, caplog):
    caplog.set_level(logging.INFO)
    hook.next_answers = [RUNNING]
    hook.answer = RiffusionUnavailable("503 from the service.")

    async def scenario():
        watcher = watch("w", job_ids=("1",), unseen_for=1000)
        await asyncio.sleep(100)
        await cancel(watcher)

    run(scenario())
    assert (
        caplog.records[-1]
        .getMessage()
        .startswith("Job 1 is executing on account a: no reading is possible: 503 from the service; ")
    )
