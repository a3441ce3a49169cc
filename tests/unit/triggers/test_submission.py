"""The trigger that makes a job: what it is stored with, and the one event that it ends with."""

from __future__ import annotations

import asyncio
import json
from types import SimpleNamespace

import pytest
from airflow.triggers.base import TaskSuccessEvent

from airflow_riffusion.core.note import JobNote
from airflow_riffusion.core.request import SlotRequest
from airflow_riffusion.exceptions import RiffusionJobFailed, RiffusionRejected, RiffusionUnavailable
from airflow_riffusion.gate import outcome
from airflow_riffusion.gate.submitter import Submitter
from airflow_riffusion.triggers import submission as module
from airflow_riffusion.triggers.submission import SubmissionTrigger
from airflow_riffusion.xcoms import JOB_KEY
from tests.readings import job, reading
from tests.versions import needs_airflow_3
from tests.virtual_time import run
from tests.xcoms import MemoryXComs

FREE = reading(a=(1, 1))
RUNNING = reading(job("1", "a", "ref"), a=(0, 1))
NOTE = JobNote("ref", accepted=True, job_ids=("1",), user_id="a", submitted_at=1.0)
TASK = SimpleNamespace(dag_id="d", task_id="t", run_id="r", map_index=3)


def trigger(**arguments):
    return SubmissionTrigger.of(
        "riffusion_test",
        SlotRequest(since=1.0),
        poke_interval=10,
        endpoint="music/create-prompt",
        json={"prompt": "polka"},
        reply_ref="ref",
        **arguments,
    )


def event_of(trigger):
    """Return a trigger's one event, and after how many seconds it came."""

    async def scenario():
        began = asyncio.get_running_loop().time()
        (event,) = [event async for event in trigger.run()]
        return event.payload, asyncio.get_running_loop().time() - began

    return run(scenario())


@pytest.fixture
def steps(monkeypatch):
    """Return what each step of the job does in place of what it should: an error, a note or a result."""
    steps = SimpleNamespace(submit=NOTE, watch=NOTE, fetch=None, stopped=0)

    def answer(name):
        given = getattr(steps, name)
        if isinstance(given, Exception):
            raise given
        return given

    async def submit(submitter):
        submitter.note = answer("submit")

    async def watch(*arguments):
        return answer("watch")

    async def fetch(reader):
        answer("fetch")
        return NOTE.to_xcom(None)

    async def stop(submitter):
        steps.stopped += 1

    monkeypatch.setattr(Submitter, "submit", submit)
    monkeypatch.setattr(Submitter, "stop", stop)
    monkeypatch.setattr(outcome, "watch", watch)
    monkeypatch.setattr(outcome.OutcomeReader, "fetch", fetch)
    return steps


def test_submission_trigger_is_stored_becomes_the_same_again():
    stored = trigger(job=NOTE.to_json(), in_doubt=True, result_endpoint="music/?id={job_id}")

    path, kwargs = stored.serialize()

    assert path == "airflow_riffusion.triggers.submission.SubmissionTrigger"
    assert SubmissionTrigger(**json.loads(json.dumps(kwargs))).serialize() == (path, kwargs)


def test_submission_trigger_whole_job_ends_with_the_tasks_xcom(hook, monkeypatch):
    MemoryXComs(monkeypatch)
    hook.submission_answers = [{"job_id": "1", "user_id": "a"}]
    hook.outcomes = [{"status": "completed"}]
    hook.next_answers = [FREE, RUNNING]
    hook.answer = FREE

    payload, _ = event_of(trigger(result_endpoint="music/?id={job_id}"))

    assert payload["status"] == "done"
    assert (
        payload["result"].items()
        >= {
            "job_id": "1",
            "user_id": "a",
            "reply_ref": "ref",
            "submissions": 1,
            "result": {"status": "completed"},
        }.items()
    )
    assert payload["job"]["ran_seconds"] is not None


def test_submission_trigger_without_waiting_for_the_end_ends_when_the_job_is_accepted(steps):
    steps.watch = AssertionError("it is not watched")

    payload, _ = event_of(trigger(wait_for_completion=False))

    assert (payload["status"], payload["result"]["job_id"]) == ("done", "1")


@pytest.mark.parametrize(
    ("step", "error", "status"),
    [
        ("submit", RiffusionRejected("400 Bad Request"), "rejected"),
        ("submit", RiffusionUnavailable("3 submissions in a row failed"), "failed"),
        ("watch", RiffusionRejected("401 Unauthorized"), "unknown"),
        ("fetch", RiffusionRejected("404 Not Found"), "unknown"),
        ("fetch", RiffusionRejected("410 Gone", status=410), "rejected"),
        ("fetch", RiffusionJobFailed("Job 1 failed: too loud"), "failed"),
    ],
)
def test_submission_trigger_error_ends_with_what_it_means(steps, step, error, status):
    setattr(steps, step, error)

    payload, _ = event_of(trigger(result_endpoint="music/?id={job_id}"))

    assert payload["status"] == status
    assert str(error) in payload["message"]
    assert payload["job"]["accepted"] == (step != "submit")


@pytest.mark.parametrize("result_endpoint", ["music/?id={id}", "../accounts", "", 3])
def test_submission_trigger_result_endpoint_was_rendered_wrong_submits_nothing(steps, result_endpoint):
    steps.submit = AssertionError("it must not submit")

    payload, _ = event_of(trigger(result_endpoint=result_endpoint))

    assert payload["status"] == "unread"
    assert "result_endpoint" in payload["message"]


@pytest.mark.parametrize(("try_number", "status"), [(1, "done"), (2, "unread")])
def test_submission_trigger_started_here_leaves_later_tries_to_a_worker(
    steps, monkeypatch, try_number, status
):
    MemoryXComs(monkeypatch)
    started = SubmissionTrigger(endpoint="music", json={}, riffusion_conn_id="riffusion_test")
    started.task_instance = SimpleNamespace(**vars(TASK), try_number=try_number)

    assert event_of(started)[0]["status"] == status


def test_submission_trigger_worker_deferred_it_lets_that_go_first(steps):
    ended_at_once = trigger()
    ended_at_once.task_instance = TASK

    assert event_of(ended_at_once)[1] == pytest.approx(8, abs=0.01)


class TestEndFromTrigger:
    @pytest.fixture
    def xcoms(self, monkeypatch):
        return MemoryXComs(monkeypatch)

    @pytest.fixture
    def deferred(self, monkeypatch):
        """Return for how many looks Airflow still has the task as deferred."""
        looks = []

        async def is_deferred(ti):
            looks.append(ti)
            return {1: True, 2: None}.get(len(looks), False)

        monkeypatch.setattr(module, "is_deferred", is_deferred)
        return looks

    def ended(self, **arguments):
        ends = trigger(end_from_trigger=True, **arguments)
        ends.task_instance = TASK

        async def scenario():
            events = [event async for event in ends.run()]
            await asyncio.sleep(60)
            return events

        return run(scenario())

    def test_end_from_trigger_job_is_done_ends_the_task_with_its_xcom(self, steps, xcoms, deferred):

        (event,) = self.ended()

        assert isinstance(event, TaskSuccessEvent)
        assert xcoms["return_value"] == NOTE.to_xcom(None)

    def test_end_from_trigger_note_is_deleted_when_airflow_has_the_end(self, steps, xcoms, deferred):
        xcoms[JOB_KEY] = NOTE.to_json()

        self.ended()

        assert (JOB_KEY in xcoms, len(deferred)) == (False, 3)

    def test_end_from_trigger_without_xcom_pushes_none(self, steps, xcoms, deferred):

        self.ended(do_xcom_push=False)

        assert xcoms.written == []

    def test_end_from_trigger_job_has_failed_ends_in_a_worker(self, steps, xcoms):
        steps.watch = RiffusionJobFailed("Job 1 failed: too loud")

        (event,) = self.ended()

        assert event.payload["status"] == "failed"


class TestOnKill:
    def killed(self, task_instance):
        killed = trigger()
        killed.task_instance = task_instance

        async def scenario():
            async for _ in killed.run():
                pass
            await killed.on_kill()

        run(scenario())

    def airflow_says(self, monkeypatch, state):
        def get_task_states(**which):
            if isinstance(state, Exception):
                raise state
            assert which == {"dag_id": "d", "task_ids": ["t"], "run_ids": ["r"], "map_index": 3}
            return {"r": {"t_3": state}}

        monkeypatch.setattr(
            "airflow.sdk.execution_time.task_runner.RuntimeTaskInstance.get_task_states", get_task_states
        )

    def test_on_kill_outside_of_a_task_stops_the_job(self, steps):
        self.killed(None)

        assert steps.stopped == 1

    @needs_airflow_3
    def test_on_kill_another_triggerer_has_the_task_stops_nothing(self, steps, monkeypatch):
        self.airflow_says(monkeypatch, "deferred")

        self.killed(TASK)

        assert steps.stopped == 0

    @needs_airflow_3
    @pytest.mark.parametrize("state", ["failed", "success", None, OSError("no database")])
    def test_on_kill_person_has_ended_the_task_stops_the_job(self, steps, monkeypatch, state):
        self.airflow_says(monkeypatch, state)

        self.killed(TASK)

        assert steps.stopped == 1

    def test_on_kill_before_it_has_begun_stops_nothing(self, steps):
        asyncio.run(trigger().on_kill())

        assert steps.stopped == 0
