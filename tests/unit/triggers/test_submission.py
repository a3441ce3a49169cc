"""The triggers of a song, at a gate in virtual time."""

from __future__ import annotations

import asyncio
import json
import time
from types import SimpleNamespace

import pytest

from airflow_riffusion.core.request import SlotRequest
from airflow_riffusion.exceptions import RiffusionRejected
from airflow_riffusion.gate.gate import CapacityGate
from airflow_riffusion.hooks import riffusion as hook_module
from airflow_riffusion.triggers.job import JobTrigger
from airflow_riffusion.triggers.submission import GiveBackTrigger, SubmissionTrigger
from tests.gates import cancel, our_tasks, wait
from tests.readings import job, reading
from tests.versions import needs_airflow_3
from tests.virtual_time import run

FULL = reading(a=(0, 1))
FREE = reading(a=(1, 1))
SONG = {"reply_ref": "ref", "grant_id": None, "in_doubt": False}
RUNNING = reading(job("1", "a", "ref"), a=(0, 1))


def submission(*, in_doubt=False, **arguments):
    song = {**SONG, "in_doubt": in_doubt}
    return SubmissionTrigger.of(
        "riffusion_test", SlotRequest(since=1.0), poke_interval=10, song=song, **arguments
    )


def watching(**arguments):
    return JobTrigger(
        riffusion_conn_id="riffusion_test",
        job_id="1",
        poke_interval=10,
        **arguments,
    )


OFFSETS = [0, 3600, -3600]
"""Seconds by which the triggerer's clock is ahead of the worker's."""


def stored_on_another_machine(trigger, monkeypatch, offset):
    """Return a trigger as the triggerer builds it from what the worker stored."""
    _, kwargs = trigger.serialize()
    triggerers_time = time.time() + offset
    monkeypatch.setattr(time, "time", lambda: triggerers_time)
    return type(trigger)(**kwargs)


def event_of(trigger):
    """Return a trigger's one event, and after how many seconds it came."""

    async def scenario():
        began = asyncio.get_running_loop().time()
        (event,) = [event async for event in trigger.run()]
        return event.payload, asyncio.get_running_loop().time() - began

    return run(scenario())


@pytest.mark.parametrize(
    "trigger",
    [
        submission(in_doubt=True, pause=5.0),
        watching(cancel_on_kill=True),
        GiveBackTrigger(riffusion_conn_id="mine", grant_id="g", message="400 Bad Request"),
    ],
)
def test_it_survives_being_stored(trigger):
    path, kwargs = trigger.serialize()

    assert path == f"{type(trigger).__module__}.{type(trigger).__qualname__}"
    assert type(trigger)(**json.loads(json.dumps(kwargs))).serialize() == (path, kwargs)


class TestWaitingToSubmit:
    def test_it_waits_for_a_slot_like_a_sensor(self, hook):
        hook.next_answers = [FULL]
        hook.answer = FREE

        payload, waited = event_of(submission())

        assert payload["status"] == "granted"
        assert payload["result"]["user_id"] == "a"
        assert payload["song"] == SONG
        assert 11 <= waited <= 12.1

    def test_a_job_of_an_earlier_submission_is_found(self, hook):
        hook.next_answers = [FULL]
        hook.answer = RUNNING

        payload, _ = event_of(submission(in_doubt=True))

        assert (payload["status"], payload["job"]["job_id"]) == ("found", "1")

    def test_it_is_found_also_if_it_is_listed_only_later(self, hook):
        hook.next_answers = [FULL, FULL, FULL, FULL, RUNNING]
        hook.answer = FREE

        async def scenario():
            (event,) = [event async for event in submission(in_doubt=True).run()]
            return event.payload, our_tasks(), CapacityGate.of("riffusion_test").needs_readings()

        payload, left_behind, needs_readings = run(scenario())
        assert (payload["status"], payload["job"]["job_id"]) == ("found", "1")
        assert (left_behind, needs_readings) == ([], False)

    def test_it_is_found_also_if_the_same_reading_shows_a_free_slot(self, hook):
        hook.next_answers = [FULL, FULL, FULL]
        hook.answer = reading(job("1", "a", "ref"), a=(1, 2))

        async def scenario():
            (event,) = [event async for event in submission(in_doubt=True).run()]
            return event.payload, CapacityGate.of("riffusion_test").needs_readings()

        payload, needs_readings = run(scenario())
        assert (payload["status"], needs_readings) == ("found", False)

    def test_who_is_cancelled_while_it_looks_and_waits_leaves_nothing_behind(self, hook):
        hook.answer = FULL

        async def scenario():
            await cancel(asyncio.create_task(anext(submission(in_doubt=True).run())))
            waiting = asyncio.create_task(anext(submission(in_doubt=True).run()))
            await asyncio.sleep(60)
            await cancel(waiting)
            return our_tasks(), CapacityGate.of("riffusion_test").needs_readings()

        assert run(scenario()) == ([], False)

    def test_a_slot_is_taken_only_after_two_readings_did_not_show_such_a_job(self, hook):
        hook.answer = FREE

        payload, _ = event_of(submission(in_doubt=True))

        assert payload["status"] == "granted"
        assert len(hook.asked_at) == 2

    @pytest.mark.parametrize("offset", OFFSETS)
    def test_submission_trigger_with_a_pause_waits_it_out_whatever_the_clock_says(
        self, hook, monkeypatch, offset
    ):
        hook.answer = FREE
        trigger = stored_on_another_machine(submission(pause=60), monkeypatch, offset)

        payload, waited = event_of(trigger)

        assert payload["status"] == "granted"
        assert 60 <= waited <= 62

    def test_a_rejection_while_it_looks_is_an_event(self, hook):
        hook.answer = RiffusionRejected("401 Unauthorized")

        payload, _ = event_of(submission(in_doubt=True))

        assert payload == {
            "status": "rejected",
            "message": "401 Unauthorized",
            "song": {**SONG, "in_doubt": True},
        }

    def test_a_grant_whose_event_did_not_leave_is_given_back(self, hook):
        hook.answer = FREE

        async def scenario():
            running = submission().run()
            await anext(running)
            await running.aclose()
            return CapacityGate.of("riffusion_test").needs_readings()

        assert run(scenario()) is False

    def test_its_job_settles_what_it_was_granted(self, hook):
        hook.next_answers = [FREE]
        hook.answer = RUNNING

        async def scenario():
            async for _ in submission().run():
                pass
            await asyncio.sleep(30)
            return our_tasks()

        assert run(scenario()) == []
        assert len(hook.asked_at) == 2


def test_a_rejected_submission_gives_its_slot_back(hook):
    hook.answer = FREE

    async def scenario():
        async for event in submission().run():
            grant_id = event.payload["result"]["grant_id"]
        giving_back = GiveBackTrigger(
            riffusion_conn_id="riffusion_test", grant_id=grant_id, message="400 Bad Request"
        )
        (event,) = [event async for event in giving_back.run()]
        return event.payload, CapacityGate.of("riffusion_test").needs_readings()

    assert run(scenario()) == ({"status": "rejected", "message": "400 Bad Request"}, False)


def test_a_song_that_waits_once_more_first_gives_back_what_it_was_granted(hook):
    hook.next_answers = [FREE]
    hook.answer = FREE

    async def scenario():
        async for event in submission().run():
            grant_id = event.payload["result"]["grant_id"]
        refused = SubmissionTrigger.of(
            "riffusion_test",
            SlotRequest(since=1.0),
            poke_interval=10,
            song={**SONG, "grant_id": grant_id},
            pause=3600,
        )
        pausing = asyncio.create_task(anext(refused.run()))
        other = await asyncio.wait_for(wait("another"), 15)
        await cancel(pausing)
        return other.grant_id

    assert run(scenario()) == "another"


def test_a_job_that_the_very_reading_of_the_grant_shows_is_taken_up(hook):
    hook.answer = reading(job("1", None, "ref"), a=(1, 2))  # not every service names a job's account
    request = SlotRequest(since=1.0, user_ids=frozenset(["a"]))
    waiting = SubmissionTrigger.of("riffusion_test", request, poke_interval=10, song=SONG)

    async def scenario():
        (event,) = [event async for event in waiting.run()]
        return event.payload, CapacityGate.of("riffusion_test").needs_readings()

    payload, holds = run(scenario())
    assert (payload["status"], payload["job"]["job_id"], holds) == ("found", "1", False)


class TestSeeingTheEnd:
    @pytest.mark.parametrize("offset", OFFSETS)
    def test_job_trigger_that_asks_again_fires_after_the_pause_and_needs_no_reading(
        self, hook, monkeypatch, offset
    ):
        trigger = watching(hold=3600, ask_again_after=60)

        payload, waited = event_of(stored_on_another_machine(trigger, monkeypatch, offset))

        assert (payload["status"], payload["job"]) == ("over", None)
        assert waited == pytest.approx(60, abs=0.1)
        assert hook.asked_at == []

    def test_a_job_that_was_seen_before_is_not_waited_for_as_if_it_were_on_its_way(self, hook):
        hook.answer = FREE

        _, waited = event_of(watching(hold=3600, song={**SONG, "seen": True}))

        assert waited <= 13

    def test_it_fires_when_two_readings_in_a_row_miss_the_job(self, hook):
        hook.next_answers = [RUNNING, FREE, RUNNING]
        hook.answer = FREE

        payload, waited = event_of(watching())

        assert (payload["status"], payload["job"]["job_id"]) == ("over", "1")
        assert payload["at"] == pytest.approx(time.time(), abs=60)
        assert waited >= 40

    @pytest.mark.parametrize("offset", OFFSETS)
    def test_job_trigger_that_never_sees_the_job_ends_after_the_hold(self, hook, monkeypatch, offset):
        hook.answer = FREE

        payload, waited = event_of(stored_on_another_machine(watching(hold=60), monkeypatch, offset))

        assert (payload["status"], payload["job"]) == ("over", None)
        assert 60 <= waited <= 72

    def test_a_rejection_is_an_event(self, hook):
        hook.answer = RiffusionRejected("401 Unauthorized")

        assert event_of(watching())[0]["status"] == "rejected"

    def test_the_event_leaves_when_the_worker_that_deferred_is_gone(self, hook):
        hook.answer = RiffusionRejected("401 Unauthorized")
        trigger = watching()
        trigger.task_instance = SimpleNamespace(dag_id="d", task_id="t")

        assert event_of(trigger)[1] == pytest.approx(8, abs=0.01)


class TestBeingKilled:
    @pytest.fixture
    def cancelled(self, monkeypatch):
        cancelled = []

        class FakeHook(hook_module.RiffusionHook):
            async def aload(self):
                pass

            def cancel_job(self, job_id=None, reply_ref=None):
                cancelled.append((self.riffusion_conn_id, job_id, reply_ref))
                return True

        monkeypatch.setattr(hook_module, "RiffusionHook", FakeHook)
        return cancelled

    def test_the_job_is_cancelled(self, cancelled):
        asyncio.run(watching(reply_ref="ref", cancel_on_kill=True).on_kill())

        assert cancelled == [("riffusion_test", "1", "ref")]

    def test_its_slot_is_given_back_at_once(self, hook, monkeypatch):
        async def cancelled(*_):
            pass

        monkeypatch.setattr("airflow_riffusion.triggers.job.cancel_job", cancelled)

        async def scenario():
            gate = CapacityGate.of("riffusion_test")
            async for event in submission().run():
                song = {**SONG, "grant_id": event.payload["result"]["grant_id"]}
            await watching(cancel_on_kill=True, song=song).on_kill()
            return gate.needs_readings()

        hook.answer = FREE
        assert run(scenario()) is False

    @needs_airflow_3
    def test_a_triggerer_that_lost_its_triggers_to_another_one_cancels_nothing(self, cancelled, monkeypatch):
        self.airflow_says(monkeypatch, "deferred")
        trigger = watching(cancel_on_kill=True)
        trigger.task_instance = SimpleNamespace(dag_id="d", task_id="t", run_id="r", map_index=3)

        asyncio.run(trigger.on_kill())

        assert cancelled == []

    @needs_airflow_3
    @pytest.mark.parametrize("state", ["failed", "success", None, OSError("no database")])
    def test_a_task_that_no_longer_waits_was_ended_by_a_person(self, cancelled, monkeypatch, state):
        self.airflow_says(monkeypatch, state)
        trigger = watching(cancel_on_kill=True)
        trigger.task_instance = SimpleNamespace(dag_id="d", task_id="t", run_id="r", map_index=3)

        asyncio.run(trigger.on_kill())

        assert cancelled == [("riffusion_test", "1", None)]

    def airflow_says(self, monkeypatch, state):
        def get_task_states(**which):
            if isinstance(state, Exception):
                raise state
            assert which == {"dag_id": "d", "task_ids": ["t"], "run_ids": ["r"], "map_index": 3}
            return {"r": {"t_3": state}}

        monkeypatch.setattr(
            "airflow.sdk.execution_time.task_runner.RuntimeTaskInstance.get_task_states", get_task_states
        )

    def test_somebody_elses_job_is_not(self, cancelled):
        asyncio.run(watching().on_kill())

        assert cancelled == []

    def test_a_job_that_may_be_on_its_way_is_cancelled(self, cancelled):
        asyncio.run(submission(in_doubt=True).on_kill())

        assert cancelled == [("riffusion_test", None, "ref")]

    @pytest.mark.parametrize(("next_answer", "expected"), [(FULL, []), (RUNNING, ["ref"])])
    def test_who_looked_in_two_readings_cancels_only_what_a_later_one_shows(
        self, hook, monkeypatch, next_answer, expected
    ):
        hook.next_answers = [FULL, FULL, FULL]
        hook.answer = next_answer
        cancelled = []

        async def cancel_job(conn_id, *, reply_ref):
            cancelled.append(reply_ref)

        async def scenario():
            trigger = submission(in_doubt=True)
            waiting = asyncio.create_task(anext(trigger.run()))
            await asyncio.sleep(60)
            await cancel(waiting)
            await trigger.on_kill()

        monkeypatch.setattr("airflow_riffusion.triggers.submission.cancel_job", cancel_job)
        run(scenario())
        assert cancelled == expected

    def test_who_only_waits_for_a_slot_has_nothing_to_cancel(self, cancelled):
        asyncio.run(submission().on_kill())

        assert cancelled == []
