"""The operator's own part of a song: what it asks for, and what it makes of what it is told."""

from __future__ import annotations

import json
from dataclasses import asdict
from types import SimpleNamespace

import pytest
from airflow.providers.common.compat.sdk import AirflowException, AirflowFailException, TaskDeferred

from airflow_riffusion.exceptions import RiffusionBadResponse, RiffusionRejected, RiffusionUnavailable
from airflow_riffusion.hooks import riffusion as hook_module
from airflow_riffusion.operators import submit as operator_module
from airflow_riffusion.operators.submit import RiffusionSubmitOperator
from airflow_riffusion.song import Song

ACCEPTED = {"job_id": "1", "user_id": "a"}
SEEN = {"job_id": "1", "user_id": "a", "started": None}


@pytest.fixture
def clock(monkeypatch):
    clock = SimpleNamespace(now=1_000_000.0)
    clock.time = lambda: clock.now
    monkeypatch.setattr(operator_module, "time", clock)
    return clock


@pytest.fixture(autouse=True)
def service(monkeypatch, clock):
    """Answers with what the test says, and remembers what it was asked."""

    class FakeHook:
        def __init__(self, conn_id, *, retries=0):
            self.settings = SimpleNamespace(account_field=service.account_field)

        def run(self, endpoint, method="GET", json=None):
            service.asked.append((method, endpoint, json))
            if isinstance(service.answer, Exception):
                raise service.answer
            return service.answer

        def cancel_job(self, job_id=None, reply_ref=None):
            service.cancelled.append((job_id, reply_ref))

    service = SimpleNamespace(answer=ACCEPTED, asked=[], cancelled=[], account_field="user_id")
    monkeypatch.setattr(hook_module, "RiffusionHook", FakeHook)
    return service


def song(**arguments):
    arguments.setdefault("json", {"prompt": "polka on the moon"})
    return RiffusionSubmitOperator(task_id="song", **arguments)


def context(try_number=1):
    ti = SimpleNamespace(dag_id="d", run_id="r", task_id="song", map_index=3, try_number=try_number)
    return {"ti": ti}


def deferral(method, *arguments):
    with pytest.raises(TaskDeferred) as caught:
        method(*arguments)
    json.dumps(caught.value.trigger.serialize())
    return caught.value


def granted(song, user_id="a"):
    return {
        "song": song,
        "status": "granted",
        "result": {"user_id": user_id, "granted": {user_id: 1}, "grant_id": "g", "waited_seconds": 1.0},
    }


def submitted(task, **fields):
    """Return how far a song has come whose job was submitted 100 s ago."""
    return {
        "reply_ref": "d/r/song/3",
        "since": 999_800.0,
        "submissions": 1,
        "waited_seconds": 100.0,
        "submitted_at": 999_900.0,
        "job_id": "1",
        "user_id": "a",
        **fields,
    }


class TestArguments:
    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("json", "a song"),
            ("json", None),
            ("slots", 0),
            ("hold", 0),
            ("poke_interval", -1),
            ("timeout", "long"),
            ("user_ids", "a"),
            ("wait_for_completion", "yes"),
            ("riffusion_conn_id", ""),
            ("result_endpoint", "music/?id={id}"),
        ],
    )
    def test_what_cant_work_is_an_error_when_the_dag_is_parsed(self, name, value):
        with pytest.raises(ValueError, match=name):
            song(**{name: value})

    def test_templates_are_checked_when_they_are_rendered(self):
        task = song(json="{{ a_song }}", slots="{{ slots }}")
        task.json, task.slots = ["a song"], "1"

        with pytest.raises(ValueError, match="json must be a dict"):
            task.execute(context())


class TestWaitingForASlot:
    def test_it_takes_everything_along(self):
        task = song(
            riffusion_conn_id="mine",
            slots=2,
            user_ids=["b", "a"],
            same_account=True,
            hold=60,
            poke_interval=7,
            priority_weight=9,
        )

        _, kwargs = deferral(task.execute, context()).trigger.serialize()

        assert kwargs == {
            "riffusion_conn_id": "mine",
            "slots": 2,
            "user_ids": ["a", "b"],
            "same_account": True,
            "hold": 60.0,
            "poke_interval": 7.0,
            "priority": 9,
            "since": 1_000_000.0,
            "timeout": None,
            "end_from_trigger": False,
            "song": asdict(Song("d/r/song/3", since=1_000_000.0)),
            "search": False,
            "not_before": 0.0,
        }

    def test_a_retry_looks_for_its_job_first(self):
        assert deferral(song().execute, context(try_number=2)).trigger.search is True

    def test_a_reference_of_the_users_own_is_kept(self):
        task = song(json={"prompt": "polka", "replyRef": "mine"})

        assert deferral(task.execute, context()).trigger.song["reply_ref"] == "mine"

    @pytest.mark.parametrize("field", ["user_id", "email"])
    def test_it_waits_for_the_account_that_is_named(self, field):
        assert deferral(song(json={field: "b"}).execute, context()).trigger.user_ids == ["b"]

    def test_the_timeout_counts_from_the_beginning(self, clock):
        task = song(timeout=300)
        began = deferral(task.execute, context())
        clock.now += 100

        later = deferral(task.submit, context(), granted(began.trigger.song))

        assert (began.timeout.total_seconds(), later.timeout.total_seconds()) == (300, 200)


class TestSubmitting:
    def start(self, task, **fields):
        return {**deferral(task.execute, context()).trigger.song, **fields}

    def test_it_submits_to_the_granted_account_under_its_reference(self, service):
        task = song()

        deferred = deferral(task.submit, context(), granted(self.start(task), "b"))

        assert service.asked == [
            (
                "POST",
                "music/create-prompt",
                {"user_id": "b", "replyRef": "d/r/song/3", "prompt": "polka on the moon"},
            )
        ]
        _, watched = deferred.trigger.serialize()
        assert (watched["job_id"], watched["reply_ref"], watched["cancel_on_kill"]) == (
            "1",
            "d/r/song/3",
            True,
        )

    def test_services_that_name_accounts_otherwise_are_told_so(self, service):
        service.account_field = "email"
        task = song()

        deferral(task.submit, context(), granted(self.start(task), "b@example.com"))

        assert service.asked[0][2]["email"] == "b@example.com"

    def test_without_waiting_for_the_end_it_returns_what_is_known(self, clock):
        task = song(wait_for_completion=False)
        began = self.start(task)
        clock.now += 12.3456

        assert task.submit(context(), granted(began)) == {
            "job_id": "1",
            "user_id": "a",
            "reply_ref": "d/r/song/3",
            "submissions": 1,
            "waited_seconds": 12.346,
            "ran_seconds": None,
            "result": None,
        }

    def test_a_refused_submission_goes_back_to_its_place(self, service, clock):
        service.answer = RiffusionUnavailable("429 Too Many Requests", status=429)
        task = song()
        began = self.start(task)
        clock.now += 50

        deferred = deferral(task.submit, context(), granted(began))

        assert (deferred.trigger.since, deferred.trigger.search) == (1_000_000.0, False)
        assert deferred.trigger.not_before == clock.now
        assert deferred.trigger.song["submissions"] == 1

    def test_one_that_is_refused_again_and_again_pauses(self, service, clock, monkeypatch):
        monkeypatch.setattr(operator_module.random, "uniform", lambda low, high: high)
        service.answer = RiffusionUnavailable("429 Too Many Requests", status=429)
        task = song(poke_interval=5)

        pauses = [
            deferral(
                task.submit, context(), granted(self.start(task, submissions=earlier))
            ).trigger.not_before
            - clock.now
            for earlier in (0, 1, 2, 3, 50)
        ]

        assert pauses == [0, 5, 15, 35, 300]

    def test_it_pauses_for_as_long_as_the_service_asks(self, service, clock):
        service.answer = RiffusionUnavailable("429 Too Many Requests", status=429, retry_after=42)
        task = song()

        deferred = deferral(task.submit, context(), granted(self.start(task)))

        assert deferred.trigger.not_before == clock.now + 42

    @pytest.mark.parametrize(
        "error",
        [
            RiffusionUnavailable("no complete answer within 30 s"),
            RiffusionUnavailable("503 Service Unavailable", status=503),
            RiffusionBadResponse("not JSON"),
        ],
    )
    def test_after_an_unclear_answer_it_looks_for_the_job(self, service, error):
        service.answer = error
        task = song()

        assert deferral(task.submit, context(), granted(self.start(task))).trigger.search is True

    def test_a_rejection_gives_the_slot_back_and_fails_it_without_a_retry(self, service):
        service.answer = RiffusionRejected("400 Bad Request (prompt: must not be empty).", status=400)
        task = song()

        deferred = deferral(task.submit, context(), granted(self.start(task)))

        assert (deferred.trigger.grant_id, deferred.method_name) == ("g", "finish")
        with pytest.raises(AirflowFailException, match="prompt"):
            task.finish(context(), {"status": "rejected", "message": deferred.trigger.message})

    def test_a_job_that_was_found_is_taken_up_and_no_other_is_made(self, service):
        task = song()
        found = {"status": "found", "job": {**SEEN, "started": "2026-01-01T12:00:00+00:00"}}

        deferred = deferral(task.submit, context(), {**found, "song": self.start(task)})

        assert service.asked == []
        assert deferred.trigger.song["job_id"] == "1"
        assert deferred.trigger.submitted_at == 1767268800.0

    def test_an_accepted_job_without_an_id_is_watched_by_its_reference(self, service):
        service.answer = {}
        task = song()

        deferred = deferral(task.submit, context(), granted(self.start(task)))

        assert (deferred.trigger.job_id, deferred.trigger.reply_ref) == (None, "d/r/song/3")

    def test_a_rejection_while_it_waited_fails_it(self):
        task = song()

        with pytest.raises(RiffusionRejected, match="401"):
            task.submit(context(), {"status": "rejected", "message": "401"})


class TestSeeingTheEnd:
    def test_it_tells_what_became_of_the_song(self, clock):
        task = song()
        over = {"status": "over", "job": SEEN, "at": clock.now}

        assert task.finish(context(), {**over, "song": submitted(task)}) == {
            "job_id": "1",
            "user_id": "a",
            "reply_ref": "d/r/song/3",
            "submissions": 1,
            "waited_seconds": 100.0,
            "ran_seconds": 100.0,
            "result": None,
        }

    def test_a_job_that_no_reading_showed_ran_for_nobody_knows_how_long(self, clock):
        task = song()

        outcome = task.finish(
            context(), {"status": "over", "job": None, "at": clock.now, "song": submitted(task)}
        )

        assert (outcome["job_id"], outcome["ran_seconds"]) == ("1", None)

    def test_the_outcome_is_asked_for_once(self, service, clock):
        service.answer = [{"status": "completed", "download_url": "https://example.com/1.m4a"}]
        task = song(result_endpoint="music/?user_id={user_id}&id={job_id}")
        over = {"status": "over", "job": None, "at": clock.now}

        outcome = task.finish(context(), {**over, "song": submitted(task, job_id="user:1/2")})

        assert outcome["result"] == service.answer
        assert service.asked == [("GET", "music/?user_id=a&id=user%3A1%2F2", None)]

    @pytest.mark.parametrize(
        "result", [{"status": "failed", "error": "moderated"}, [{"error": "moderated"}], {"status": "FAILED"}]
    )
    def test_an_outcome_that_says_it_failed_fails_the_task_with_its_message(self, service, clock, result):
        service.answer = result
        task = song(result_endpoint="music/?id={job_id}")

        with pytest.raises(AirflowException, match=r"Job 1 failed: (moderated|FAILED)"):
            task.finish(context(), {"status": "over", "job": SEEN, "at": clock.now, "song": submitted(task)})

    def test_an_outcome_that_cant_be_had_is_asked_for_later_not_paid_for_with_another_song(
        self, service, clock
    ):
        service.answer = RiffusionUnavailable("503 Service Unavailable", status=503)
        task = song(result_endpoint="music/?id={job_id}")

        deferred = deferral(
            task.finish, context(), {"status": "over", "job": SEEN, "at": clock.now, "song": submitted(task)}
        )

        assert deferred.trigger.job_id == "1"
        assert deferred.trigger.song["ran_seconds"] == 100.0

    def test_an_event_of_nobody_knows_whom_is_an_error(self):
        task = song()

        with pytest.raises(ValueError, match="none of its own"):
            task.finish(context(), {"status": "granted"})


def test_a_worker_that_is_told_to_end_while_it_submits_cancels_the_job(service, monkeypatch):
    task = song()
    began = deferral(task.execute, context()).trigger.song
    monkeypatch.setattr(hook_module.RiffusionHook, "run", lambda *_, **__: task.on_kill() or ACCEPTED)

    deferral(task.submit, context(), granted(began))
    task.on_kill()

    assert service.cancelled == [(None, "d/r/song/3")]
