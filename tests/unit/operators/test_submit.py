"""The operator's own part of a song: what it asks for, and what it makes of what it is told."""

from __future__ import annotations

import json
from collections import UserList
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest
from airflow.providers.common.compat.sdk import (
    DAG,
    AirflowException,
    AirflowFailException,
    AirflowTaskTimeout,
    TaskDeferred,
)

from airflow_riffusion.core.song import Song
from airflow_riffusion.core.submission import Submission
from airflow_riffusion.exceptions import RiffusionBadResponse, RiffusionRejected, RiffusionUnavailable
from airflow_riffusion.hooks import riffusion as hook_module
from airflow_riffusion.operators import base as base_module
from airflow_riffusion.operators import submit as operator_module
from airflow_riffusion.operators.submit import RiffusionSubmitOperator

ACCEPTED = {"job_id": "1", "user_id": "a"}
SEEN = {"job_id": "1", "user_id": "a", "started": None}


@pytest.fixture
def clock(monkeypatch):
    clock = SimpleNamespace(now=1_000_000.0)
    clock.time = lambda: clock.now
    for module in (operator_module, base_module):
        monkeypatch.setattr(module, "time", clock)
    return clock


@pytest.fixture(autouse=True)
def service(monkeypatch, clock):
    """Answers with what the test says, and remembers what it was asked."""

    class FakeHook:
        def __init__(self, conn_id, *, retries=0):
            pass

        @property
        def settings(self):
            if service.settings_error:
                raise service.settings_error
            return SimpleNamespace(account_field=service.account_field)

        def run(self, endpoint, method="GET", json=None):
            service.asked.append((method, endpoint, json))
            if isinstance(service.answer, Exception):
                raise service.answer
            return service.answer

        def cancel_job(self, job_id=None, reply_ref=None):
            service.cancelled.append((job_id, reply_ref))

    service = SimpleNamespace(
        answer=ACCEPTED, asked=[], cancelled=[], account_field="user_id", settings_error=None
    )
    monkeypatch.setattr(hook_module, "RiffusionHook", FakeHook)
    return service


def song(**arguments):
    arguments.setdefault("json", {"prompt": "polka on the moon"})
    return RiffusionSubmitOperator(task_id="song", **arguments)


def context(try_number=1, *, max_tries=0, store=None):
    ti = SimpleNamespace(
        dag_id="d", run_id="r", task_id="song", map_index=3, try_number=try_number, max_tries=max_tries
    )
    return {"ti": ti, "task_state_store": store}


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
            ("result_endpoint", "music/?id={job_id"),
        ],
    )
    def test_what_cant_work_is_an_error_when_the_dag_is_parsed(self, name, value):
        with pytest.raises(ValueError, match=name):
            song(**{name: value})

    def test_an_outcome_can_only_be_had_of_a_job_that_is_waited_for(self):
        with pytest.raises(ValueError, match="needs wait_for_completion"):
            song(result_endpoint="music/?id={job_id}", wait_for_completion=False)

    def test_templates_are_checked_when_they_are_rendered(self):
        task = song(json="{{ a_song }}", slots="{{ slots }}")
        task.json, task.slots = ["a song"], "1"

        with pytest.raises(AirflowFailException, match="json must be a dict"):
            task.execute(context())

    def test_songs_that_are_mapped_over_texts_are_told_what_is_meant_and_not_tried_again(self):
        with DAG("d"):
            mapped = RiffusionSubmitOperator.partial(task_id="song").expand(json=["polka"])

        with pytest.raises(AirflowFailException, match=r'a dict such as {"prompt": "…"}, .*, not \'polka\''):
            mapped.unmap({"json": "polka"})

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"json": {"at": datetime(2026, 1, 1, tzinfo=UTC)}}, "json can't be sent as JSON"),
            ({"json": {"seed": float("nan")}}, "json can't be sent as JSON"),
            ({"json": {"cover": b"png"}}, "json can't be sent as JSON"),
            ({"json": {"user_id": True}}, "json's account must be text"),
            ({"json": {"email": ["a"]}}, "json's account must be text"),
            ({"endpoint": ""}, "an endpoint is a path"),
            ({"endpoint": "../accounts"}, "an endpoint is a path"),
        ],
    )
    def test_what_cant_be_sent_is_an_error_before_it_is_its_turn(self, arguments, message):
        with pytest.raises(AirflowFailException, match=message):
            song(**arguments).execute(context())

    def test_json_that_holds_itself_cant_be_sent(self):
        holds_itself = {}
        holds_itself["self"] = holds_itself

        with pytest.raises(ValueError, match="json can't be sent as JSON: it is nested too deep"):
            Submission.checked("music", holds_itself)

    @pytest.mark.parametrize(
        ("name", "rendered"),
        [
            ("slots", "two"),
            ("user_ids", "['a']"),
            ("riffusion_conn_id", ""),
            ("endpoint", ""),
            ("result_endpoint", ""),
            ("result_endpoint", 3),
            ("result_endpoint", "../accounts"),
        ],
    )
    def test_what_a_template_rendered_wrong_fails_without_a_retry(self, name, rendered):
        task = song(**{name: "{{ x }}"})
        setattr(task, name, rendered)

        with pytest.raises(AirflowFailException, match="an endpoint" if name == "endpoint" else name):
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
            "do_xcom_push": True,
            "multiple_outputs": False,
            "song": asdict(Song("d/r/song/3", since=1_000_000.0)),
            "pause": 0.0,
        }

    def test_a_retry_looks_for_its_job_first(self):
        assert deferral(song().execute, context(try_number=2)).trigger.song["in_doubt"] is True

    def test_a_reference_of_the_users_own_is_kept(self):
        task = song(json={"prompt": "polka", "replyRef": "mine"})

        assert deferral(task.execute, context()).trigger.song["reply_ref"] == "mine"

    @pytest.mark.parametrize("nothing", [None, ""])
    def test_an_empty_reference_is_none(self, service, nothing):
        task = song(json={"prompt": "polka", "replyRef": nothing})
        began = deferral(task.execute, context()).trigger.song

        deferral(task.submit, context(), granted(began))

        assert service.asked[0][2]["replyRef"] == began["reply_ref"] == "d/r/song/3"

    @pytest.mark.parametrize("given", [True, "x" * 1025, ["ref"], 20261101.1])
    def test_a_reference_that_cant_be_one_is_an_error(self, given):
        with pytest.raises(AirflowFailException, match="json's replyRef must"):
            song(json={"replyRef": given}).execute(context())

    @pytest.mark.parametrize(("given", "sent"), [(42, "42"), (0, "0")])
    def test_a_number_as_a_reference_is_sent_as_text(self, service, given, sent):
        task = song(json={"replyRef": given})
        began = deferral(task.execute, context()).trigger.song

        deferral(task.submit, context(), granted(began))

        assert service.asked[0][2]["replyRef"] == began["reply_ref"] == sent

    def test_what_other_tasks_give_is_sent_as_lists(self, service, lazy_sequence):
        task = song(json={"tags": lazy_sequence(["sad", "slow"]), "deep": [{"pair": (1, 2)}]})
        began = deferral(task.execute, context()).trigger.song

        deferral(task.submit, context(), granted(began))

        sent = service.asked[0][2]
        assert (sent["tags"], sent["deep"]) == (["sad", "slow"], [{"pair": [1, 2]}])
        json.dumps(sent)

    def test_what_native_templates_give_is_sent_as_lists(self, service):
        task = song(json={"tags": map(str.upper, ["sad"])}, user_ids=["a"])
        task.user_ids = map(str.lower, ["A"])  # as it is rendered
        began = deferral(task.execute, context()).trigger
        service.answer = RiffusionUnavailable("503")

        again = deferral(task.submit, context(), granted(began.song)).trigger

        assert service.asked[0][2]["tags"] == ["SAD"]
        assert began.user_ids == again.user_ids == ["a"]

    def test_another_tasks_output_that_cant_be_fetched_is_no_wrong_argument(self):
        class Unreadable(UserList):
            def __iter__(self):
                raise ValueError("the bucket is away")

        for fields in ({"json": {"tags": Unreadable()}}, {"user_ids": Unreadable("a")}):
            task = song()
            vars(task).update(fields)
            with pytest.raises(ValueError, match=r"^the bucket is away$") as caught:
                task.execute(context())
            assert not isinstance(caught.value, AirflowFailException)

    def test_submit_operator_fetches_another_tasks_output_once(self):
        class Counting(UserList):
            fetched = 0

            def __iter__(self):
                Counting.fetched += 1
                return super().__iter__()

        deferral(song(json={"tags": Counting(["sad"])}).execute, context())

        assert Counting.fetched == 1

    def test_the_accounts_may_come_from_a_mapped_task(self, lazy_sequence):
        task = song(user_ids=lazy_sequence(["b", "a"]))

        assert deferral(task.execute, context()).trigger.user_ids == ["a", "b"]

    @pytest.mark.parametrize(
        ("named", "user_ids"), [(10001, ["10001"]), ("10001", [10001]), (10001, {10001}), (10001, None)]
    )
    def test_accounts_are_compared_as_text_and_sent_as_given(self, service, named, user_ids):
        task = song(json={"user_id": named}, user_ids=user_ids)
        began = deferral(task.execute, context()).trigger

        deferral(task.submit, context(), granted(began.song, "10001"))

        assert began.user_ids == ["10001"]
        assert service.asked[0][2]["user_id"] == named

    def test_an_account_that_is_not_among_the_accounts_is_an_error(self):
        with pytest.raises(AirflowFailException, match="account b, which is not among user_ids"):
            song(json={"user_id": "b"}, user_ids=["a"]).execute(context())

    def test_an_empty_account_is_none(self, service):
        task = song(json={"user_id": ""})
        deferral(task.submit, context(), granted(deferral(task.execute, context()).trigger.song))

        assert service.asked[0][2]["user_id"] == "a"

    def test_a_result_endpoint_that_was_rendered_wrong_is_an_error_before_anything_is_submitted(self):
        task = song(result_endpoint="{{ endpoint }}")
        task.result_endpoint = "music/?id={id}"

        with pytest.raises(AirflowFailException, match="result_endpoint"):
            task.execute(context())

    @pytest.mark.parametrize("field", ["user_id", "email"])
    def test_it_waits_for_the_account_that_is_named(self, field):
        assert deferral(song(json={field: "b"}).execute, context()).trigger.user_ids == ["b"]

    def test_the_timeout_counts_from_the_beginning(self, clock):
        task = song(timeout=300)
        began = deferral(task.execute, context())
        clock.now += 100

        later = deferral(task.submit, context(), granted(began.trigger.song))

        assert (began.timeout.total_seconds(), later.timeout.total_seconds()) == (300, 200)

    def test_a_shorter_execution_timeout_counts_from_the_beginning_too(self, clock):
        task = song(timeout=300, execution_timeout=timedelta(seconds=240))
        began = deferral(task.execute, context())
        clock.now += 100

        later = deferral(task.submit, context(), granted(began.trigger.song))

        assert (began.timeout.total_seconds(), later.timeout.total_seconds()) == (240, 140)

    @pytest.mark.parametrize(
        ("execution_timeout", "said"), [(240, "execution_timeout of 240 s"), (None, "timeout of 300 s")]
    )
    @pytest.mark.parametrize("reason", ["Trigger timeout", "Trigger/execution timeout"])
    def test_which_time_was_up_is_said_and_a_retry_may_follow(self, reason, execution_timeout, said):
        limit = timedelta(seconds=execution_timeout) if execution_timeout else None
        task = song(timeout=300, execution_timeout=limit)

        with pytest.raises(AirflowTaskTimeout, match=rf"within the {said}\."):
            task.resume_execution("__fail__", {"error": reason}, context())


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

    def test_submit_on_a_worker_whose_clock_is_behind_has_not_waited(self, clock):
        task = song(wait_for_completion=False)
        began = self.start(task)
        clock.now -= 3600

        assert task.submit(context(), granted(began))["waited_seconds"] == 0.0

    def test_a_refused_submission_goes_back_to_its_place(self, service, clock):
        service.answer = RiffusionUnavailable("429 Too Many Requests", status=429)
        task = song()
        began = self.start(task)
        clock.now += 50

        deferred = deferral(task.submit, context(), granted(began))

        assert (deferred.trigger.since, deferred.trigger.song["in_doubt"]) == (1_000_000.0, False)
        assert deferred.trigger.pause == 0
        assert deferred.trigger.song["submissions"] == 1

    def test_one_that_is_refused_again_and_again_pauses(self, service, clock, monkeypatch):
        monkeypatch.setattr(operator_module.random, "uniform", lambda low, high: high)
        service.answer = RiffusionUnavailable("429 Too Many Requests", status=429)
        task = song(poke_interval=5)

        pauses = [
            deferral(task.submit, context(), granted(self.start(task, setbacks=earlier))).trigger.pause
            for earlier in (0, 1, 2, 3, 50)
        ]

        assert pauses == [0, 5, 15, 35, 300]

    def test_it_pauses_for_as_long_as_the_service_asks(self, service, clock):
        service.answer = RiffusionUnavailable("429 Too Many Requests", status=429, retry_after=42)
        task = song()

        deferred = deferral(task.submit, context(), granted(self.start(task)))

        assert deferred.trigger.pause == 42

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

        assert deferral(task.submit, context(), granted(self.start(task))).trigger.song["in_doubt"] is True

    @pytest.mark.parametrize(
        ("next_answer", "next_settings_error"),
        [
            (RiffusionUnavailable("429 Too Many Requests", status=429), None),
            (ACCEPTED, RiffusionUnavailable("The connection can't be looked up")),
        ],
    )
    def test_what_was_unclear_once_stays_so_until_the_job_is_found(
        self, service, next_answer, next_settings_error
    ):
        service.answer = RiffusionUnavailable("no complete answer within 30 s")
        task = song()
        unclear = deferral(task.submit, context(), granted(self.start(task))).trigger.song
        service.answer, service.settings_error = next_answer, next_settings_error

        again = deferral(song().submit, context(), granted(unclear))

        assert again.trigger.song["in_doubt"] is True

    def after(self, service, *answers):
        task = song()
        far = self.start(task)
        for service.answer in answers:
            far = deferral(task.submit, context(), granted(far)).trigger.song
        return deferral(task.submit, context(), granted(far))

    def test_after_three_answers_in_a_row_that_make_no_sense_and_made_no_job_it_fails_without_a_retry(
        self, service
    ):
        deferred = self.after(service, *[RiffusionBadResponse("not JSON")] * 3)

        assert deferred.method_name == "finish"
        assert "3 submissions in a row were answered with no JSON" in deferred.trigger.message
        assert len(service.asked) == 3

    def test_three_that_are_not_in_a_row_do_not(self, service):
        senseless = RiffusionBadResponse("not JSON")
        unavailable = RiffusionUnavailable("503 Service Unavailable", status=503)

        assert self.after(service, senseless, senseless, unavailable, senseless).method_name == "submit"

    def test_a_connection_that_cant_be_looked_up_sends_it_back_to_its_place(self, service):
        service.settings_error = RiffusionUnavailable("The connection can't be looked up")
        task = song()

        deferred = deferral(task.submit, context(), granted(self.start(task)))

        assert (deferred.trigger.song["in_doubt"], deferred.trigger.song["grant_id"]) == (False, "g")
        assert deferred.trigger.song["submissions"] == 0

    def test_a_connection_that_cant_work_gives_the_slot_back(self, service):
        service.settings_error = RiffusionRejected("The connection does not exist")
        task = song()

        assert deferral(task.submit, context(), granted(self.start(task))).trigger.grant_id == "g"

    def test_json_that_is_rendered_wrong_by_then_gives_the_slot_back(self, service):
        task = song()
        began = self.start(task)
        task.json = "polka"

        deferred = deferral(task.submit, context(), granted(began))

        assert (deferred.trigger.grant_id, service.asked) == ("g", [])
        assert "json must be a dict" in deferred.trigger.message

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
        assert deferred.trigger.song["submitted_at"] == 1767268800.0

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

    @pytest.mark.parametrize(("retry_after", "pause"), [(None, 5), (600, 605)])
    def test_an_outcome_that_cant_be_had_is_asked_for_later_not_paid_for_with_another_song(
        self, service, clock, retry_after, pause
    ):
        service.answer = RiffusionUnavailable("503", status=503, retry_after=retry_after)
        task = song(result_endpoint="music/?id={job_id}")
        over = {"status": "over", "job": SEEN, "at": clock.now, "song": submitted(task)}

        deferred = deferral(task.finish, context(), over)

        assert (deferred.trigger.job_id, deferred.timeout) == ("1", None)
        assert deferred.trigger.ask_again_after == pause
        assert deferred.trigger.song["ran_seconds"] == 100.0

    @pytest.mark.parametrize("limit", [{"timeout": 200}, {"execution_timeout": timedelta(seconds=200)}])
    def test_when_the_time_is_up_it_ends_without_its_outcome(self, service, clock, limit):
        service.answer = RiffusionUnavailable("503", status=503)
        task = song(result_endpoint="music/?id={job_id}", **limit)
        over = {"status": "over", "job": SEEN, "at": clock.now, "song": submitted(task)}

        assert task.finish(context(), over)["result"] is None

    @pytest.mark.parametrize(
        "error", [RiffusionBadResponse("not JSON"), RiffusionRejected("404 Not Found", status=404)]
    )
    def test_an_outcome_that_no_retry_can_bring_fails_it_without_one_and_names_the_argument(
        self, service, clock, error
    ):
        service.answer = error
        task = song(result_endpoint="music/?id={job_id}")
        over = {"status": "over", "job": SEEN, "at": clock.now, "song": submitted(task)}

        says = f"The outcome of job 1 can't be had from result_endpoint: {error}"
        with pytest.raises(AirflowFailException, match=says):
            task.finish(context(), over)

    def test_callback_secrets_do_not_get_into_the_xcom(self, service, clock):
        service.answer = [{"job": {"replyUrl": "https://user:secret@example.com/callback?key=secret"}}]
        task = song(result_endpoint="music/?id={job_id}")
        over = {"status": "over", "job": SEEN, "at": clock.now, "song": submitted(task)}

        result = task.finish(context(), over)["result"]

        assert result == [{"job": {"replyUrl": "https://example.com/callback"}}]

    def test_a_job_that_was_seen_before_ran_until_it_was_missed(self, clock):
        task = song()
        over = {"status": "over", "job": None, "at": clock.now, "song": submitted(task, seen=True)}

        assert task.finish(context(), over)["ran_seconds"] == 100.0

    def test_an_event_of_nobody_knows_whom_is_an_error(self):
        task = song()

        with pytest.raises(ValueError, match="none of its own"):
            task.finish(context(), {"status": "granted"})


class Store(dict):
    """Airflow's task state store."""

    set = dict.__setitem__
    delete = dict.__delitem__


class TestBeingKilledWhileItSubmits:
    def submit(self, service, monkeypatch, *, answer):
        task = song()
        began = deferral(task.execute, context()).trigger.song

        def run(*_, **__):
            task.on_kill()
            if isinstance(answer, Exception):
                raise answer
            return answer

        monkeypatch.setattr(hook_module.RiffusionHook, "run", run)
        return task, lambda: task.submit(context(), granted(began))

    def test_the_job_is_cancelled_also_if_its_answer_comes_only_then(self, service, monkeypatch):
        _, submit = self.submit(service, monkeypatch, answer=ACCEPTED)

        with pytest.raises(AirflowException, match="job 1 is cancelled"):
            submit()
        assert service.cancelled == [(None, "d/r/song/3"), ("1", "d/r/song/3")]

    def test_it_may_be_retried_for_not_only_people_end_workers(self, service, monkeypatch):
        _, submit = self.submit(service, monkeypatch, answer=ACCEPTED)

        with pytest.raises(AirflowException) as caught:
            submit()
        assert not isinstance(caught.value, AirflowFailException)

    def test_a_job_that_was_just_submitted_is_cancelled_and_not_remembered(self, service):
        class KillingStore(Store):
            def set(self, key, value):
                task.on_kill()
                self[key] = value

        task, store = song(), KillingStore()
        began = deferral(task.execute, context(store=store)).trigger.song

        with pytest.raises(AirflowException, match="job 1 is cancelled"):
            task.submit(context(store=store), granted(began))
        assert service.cancelled == [("1", "d/r/song/3")]
        assert store == {}

    def test_a_job_that_is_being_noted_is_not_cancelled_before_it_is_forgotten(self, service):
        class TimeIsUp(BaseException):
            """As Airflow's, for ``execution_timeout``."""

        class Hanging(Store):
            def set(self, key, value):
                self[key] = value
                raise TimeIsUp

        task, store = song(), Hanging()
        began = deferral(task.execute, context(store=store)).trigger.song
        with pytest.raises(TimeIsUp):
            task.submit(context(store=store), granted(began))

        task.on_kill()

        assert service.cancelled == []

    def test_once_it_is_deferred_the_trigger_cancels(self, service):
        task = song()
        deferral(task.submit, context(), granted(deferral(task.execute, context()).trigger.song))

        task.on_kill()

        assert service.cancelled == []

    def test_the_connection_is_not_looked_up_while_the_worker_may_be_talking_to_airflow(
        self, service, monkeypatch
    ):
        looked_up = []
        task = song()
        began = deferral(task.execute, context()).trigger.song

        def run(*_, **__):
            monkeypatch.setattr(hook_module.RiffusionHook, "__init__", lambda *_, **__: looked_up.append(1))
            task.on_kill()
            raise RiffusionUnavailable("no complete answer within 30 s")

        monkeypatch.setattr(hook_module.RiffusionHook, "run", run)
        deferral(task.submit, context(), granted(began))

        assert (service.cancelled, looked_up) == ([(None, "d/r/song/3")], [])

    @pytest.mark.parametrize(
        "error",
        [
            RiffusionUnavailable("503 Service Unavailable", status=503),
            RiffusionUnavailable("429 Too Many Requests", status=429),
            RiffusionRejected("403 Forbidden", status=403),
            OSError("no network"),
        ],
    )
    def test_what_goes_wrong_with_that_is_no_answer_to_the_submission(self, service, monkeypatch, error):
        def cancel_job(*_):
            raise error

        _, submit = self.submit(service, monkeypatch, answer=RiffusionUnavailable("no answer within 30 s"))
        monkeypatch.setattr(hook_module.RiffusionHook, "cancel_job", cancel_job)

        assert deferral(submit).trigger.song["in_doubt"] is True

    def test_it_does_not_use_the_session_that_is_in_the_middle_of_the_submission(self, service, monkeypatch):
        sessions = []

        def run(self, *_, **__):
            self._session = "in use"
            task.on_kill()
            return ACCEPTED

        task = song()
        began = deferral(task.execute, context()).trigger.song
        monkeypatch.setattr(hook_module.RiffusionHook, "run", run)
        monkeypatch.setattr(
            hook_module.RiffusionHook,
            "cancel_job",
            lambda self, *_: sessions.append(vars(self).get("_session")),
        )
        with pytest.raises(AirflowException, match="is cancelled"):
            task.submit(context(), granted(began))

        assert sessions[0] is None

    def test_a_store_that_refuses_does_not_keep_the_job_from_being_cancelled(self, service, monkeypatch):
        class Broken(Store):
            def delete(self, key):
                raise RuntimeError("404 Task instance not found")

        task, store = song(), Broken()
        began = deferral(task.execute, context(store=store)).trigger.song
        monkeypatch.setattr(hook_module.RiffusionHook, "run", lambda *_, **__: (task.on_kill(), ACCEPTED)[1])

        with pytest.raises(AirflowException, match="job 1 is cancelled"):
            task.submit(context(store=store), granted(began))
        assert service.cancelled[-1] == ("1", "d/r/song/3")

    def test_a_rejected_submission_leaves_nothing_to_cancel(self, service):
        service.answer = RiffusionRejected("400 Bad Request", status=400)
        task = song()
        deferral(task.submit, context(), granted(deferral(task.execute, context()).trigger.song))

        task.on_kill()

        assert service.cancelled == []

    def test_a_refused_submission_leaves_nothing_to_cancel(self, service):
        service.answer = RiffusionUnavailable("429 Too Many Requests", status=429)
        task = song()
        deferral(task.submit, context(), granted(deferral(task.execute, context()).trigger.song))

        task.on_kill()

        assert service.cancelled == []


class TestRetries:
    @pytest.fixture
    def store(self):
        task, store = song(), Store()
        began = deferral(task.execute, context(max_tries=2, store=store)).trigger.song
        deferral(task.submit, context(max_tries=2, store=store), granted(began))
        json.dumps(store)
        return store

    def test_a_job_of_an_earlier_try_is_seen_to_its_end_and_no_other_is_made(self, service, store):
        service.asked.clear()
        deferred = deferral(song(retries=2).execute, context(2, max_tries=2, store=store))

        assert (deferred.trigger.job_id, deferred.method_name) == ("1", "finish")
        assert deferred.trigger.song["submissions"] == 0
        assert service.asked == []

    def test_a_song_that_is_cleared_is_made_anew(self, store):
        deferred = deferral(song(retries=2).execute, context(2, max_tries=3, store=store))

        assert deferred.method_name == "submit"

    def test_a_retry_after_that_does_not_take_up_the_old_job_either(self, store):
        deferred = deferral(song(retries=2).execute, context(3, max_tries=3, store=store))

        assert deferred.method_name == "submit"

    def test_a_retry_after_that_takes_up_the_new_job(self, service, store):
        service.answer = {**ACCEPTED, "job_id": "2"}
        task = song(retries=2)
        began = deferral(task.execute, context(2, max_tries=3, store=store)).trigger.song
        deferral(task.submit, context(2, max_tries=3, store=store), granted(began))

        deferred = deferral(song(retries=2).execute, context(3, max_tries=3, store=store))

        assert (deferred.method_name, deferred.trigger.job_id) == ("finish", "2")

    def test_with_fewer_retries_in_a_changed_dag_the_job_is_still_known(self, store):
        assert deferral(song(retries=0).execute, context(2, max_tries=2, store=store)).method_name == "finish"

    def test_a_job_that_was_found_is_remembered_too(self, service):
        service.answer = RiffusionUnavailable("no complete answer within 30 s")
        task, store = song(), Store()
        began = deferral(task.execute, context(store=store)).trigger.song
        unclear = deferral(task.submit, context(store=store), granted(began)).trigger.song
        deferral(task.submit, context(store=store), {"status": "found", "job": SEEN, "song": unclear})

        assert deferral(song().execute, context(2, store=store)).method_name == "finish"

    def test_a_song_that_failed_is_made_anew(self, service, store, clock):
        service.answer = {"status": "failed"}
        task = song(result_endpoint="music/?id={job_id}")
        over = {"status": "over", "job": SEEN, "at": clock.now, "song": submitted(task)}
        with pytest.raises(AirflowException, match="failed"):
            task.finish(context(max_tries=2, store=store), over)

        assert deferral(song().execute, context(2, max_tries=2, store=store)).method_name == "submit"

    def test_a_job_that_cant_be_noted_is_seen_to_its_end_all_the_same(self, caplog):
        class Broken(Store):
            def set(self, key, value):
                raise OSError("no database")

        task, store = song(), Broken()
        began = deferral(task.execute, context(store=store)).trigger.song

        assert deferral(task.submit, context(store=store), granted(began)).method_name == "finish"
        assert "no database" in caplog.text
