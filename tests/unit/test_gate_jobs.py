"""Jobs watched at the gate, in virtual time: ``asyncio.sleep`` in here takes none."""

from __future__ import annotations

import asyncio
import logging
import re

import pytest

from airflow_riffusion.exceptions import RiffusionRejected
from tests.gates import cancel, our_tasks, wait, watch
from tests.readings import job, reading
from tests.virtual_time import run

RUNNING = reading(job("1", "a", "ref"), a=(0, 1))
OVER = reading(a=(1, 1))


def test_a_watcher_learns_when_its_job_is_over(hook):
    hook.next_answers = [RUNNING, RUNNING, OVER]
    hook.answer = OVER

    async def scenario():
        return await watch("w", job_id="1"), our_tasks()

    seen, left = run(scenario())
    assert seen.job_id == "1"
    assert len(hook.asked_at) == 4
    assert left == []


def test_watchers_and_waiters_share_one_request_per_interval(hook):
    hook.answer = RUNNING

    async def scenario():
        tasks = [watch(f"watcher {number}", job_id="1") for number in range(50)]
        tasks += [wait(f"waiter {number}") for number in range(50)]
        await asyncio.sleep(100)
        await cancel(*tasks)
        return our_tasks()

    left = run(scenario())
    assert len(hook.asked_at) == 10
    assert left == []


def test_watchers_that_come_one_by_one_hurry_no_reading(hook):
    hook.answer = RUNNING

    async def scenario():
        tasks = [wait("the only one who waits for a slot", poke_interval=60)]
        for number in range(100):
            tasks.append(watch(f"watcher {number}", job_id="1", poke_interval=60))
            await asyncio.sleep(1.1)
        await cancel(*tasks)

    run(scenario())
    assert len(hook.asked_at) <= 3


def test_a_job_that_is_never_seen_is_given_up_when_it_can_no_longer_be_on_its_way(hook):
    hook.answer = OVER

    async def scenario():
        began = asyncio.get_running_loop().time()
        return await watch("w", job_id="1", unseen_for=60), asyncio.get_running_loop().time() - began

    seen, waited = run(scenario())
    assert seen is None
    assert 60 <= waited <= 72


def test_a_first_reading_waits_for_others_also_if_a_watcher_comes_first(hook):
    hook.answer = OVER

    async def scenario():
        watcher = watch("w", job_id="1", unseen_for=1000)
        await asyncio.sleep(0.9)
        later, earlier = wait("later", since=2), wait("earlier", since=1)
        await asyncio.sleep(5)
        served = [task.result().grant_id for task in (later, earlier) if task.done()]
        await cancel(watcher, later, earlier)
        return served

    assert run(scenario()) == ["earlier"]


def test_a_rejection_ends_the_watch(hook):
    hook.answer = RiffusionRejected("401 Unauthorized")

    async def scenario():
        with pytest.raises(RiffusionRejected, match="401"):
            await watch("w", job_id="1")

    run(scenario())


def test_a_watcher_says_how_its_job_stands(hook, caplog):
    caplog.set_level(logging.INFO)
    hook.next_answers = [OVER] * 3
    hook.answer = RUNNING

    async def scenario():
        watcher = watch("w", job_id="1", unseen_for=1000)
        await asyncio.sleep(200)
        await cancel(watcher)

    run(scenario())
    lines = [re.sub(r"in \d+ s", "in n s", record.getMessage()) for record in caplog.records]
    assert lines == [
        "Looking for job 1 on connection 'riffusion_test'.",
        "The job was not seen executing yet: 1 of 1 slots free on 1 account; next reading in n s.",
        "Job 1 is executing on account a; next reading in n s.",
    ]
