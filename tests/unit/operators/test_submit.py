"""The operator's part of a job: what it asks the trigger for, and what it makes of the trigger's event."""

from __future__ import annotations

import json
from collections import UserList
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest
from airflow.providers.common.compat.sdk import (
    DAG,
    AirflowException,
    AirflowFailException,
    AirflowTaskTimeout,
    Asset,
    TaskDeferred,
)

from airflow_riffusion import clock, compat
from airflow_riffusion.core.note import JobNote
from airflow_riffusion.operators.submit import RiffusionSubmitOperator
from airflow_riffusion.xcoms import JOB_KEY
from tests.versions import needs_zero_worker_mode
from tests.xcoms import MemoryXComs

NOTE = JobNote("ref", submitted_by="x", submissions=1, accepted=True, job_ids=("1",), user_id="a")
ON_ITS_WAY = JobNote("ref", submitted_by="x", submissions=1)


@pytest.fixture(autouse=True)
def xcoms(monkeypatch):
    return MemoryXComs(monkeypatch)


class Store(dict):
    """Airflow's task state store."""

    set = dict.__setitem__

    def delete(self, key):
        self.pop(key, None)


def operator(**arguments):
    arguments.setdefault("json", {"prompt": "polka on the moon"})
    return RiffusionSubmitOperator(task_id="song", **arguments)


def context(try_number=1, *, max_tries=0, store=None):
    ti = SimpleNamespace(
        dag_id="d", run_id="r", task_id="song", map_index=3, try_number=try_number, max_tries=max_tries
    )
    return {"ti": ti, "task_state_store": store}


def deferral(task, ctx=None):
    """Return what a task defers with; it can be stored."""
    with pytest.raises(TaskDeferred) as caught:
        task.execute(ctx or context())
    json.dumps(caught.value.trigger.serialize())
    return caught.value


def event(status, note=NOTE, **fields):
    return {"status": status, "message": "so it is", "job": note.to_json(), **fields}


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
    def test_operator_impossible_argument_is_an_error_when_the_dag_is_parsed(self, name, value):
        with pytest.raises(ValueError, match=name):
            operator(**{name: value})

    def test_operator_outcome_without_waiting_for_the_end_is_an_error(self):
        with pytest.raises(ValueError, match="needs wait_for_completion"):
            operator(result_endpoint="music/?id={job_id}", wait_for_completion=False)

    def test_execute_templates_are_rendered_checks_them_again(self):
        task = operator(json="{{ a_song }}", slots="{{ slots }}")
        task.json, task.slots = ["a song"], "1"

        with pytest.raises(AirflowFailException, match="json must be a dict"):
            task.execute(context())

    def test_operator_mapped_over_texts_says_what_is_meant_and_is_not_retried(self):
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
            ({"json": {"user_id": "b"}, "user_ids": ["a"]}, "account b, which is not among user_ids"),
            ({"json": {"replyRef": True}}, "json's replyRef must"),
            ({"json": {"replyRef": "x" * 1025}}, "json's replyRef must"),
            ({"json": {"replyRef": ["ref"]}}, "json's replyRef must"),
            ({"json": {"replyRef": 20261101.1}}, "json's replyRef must"),
            ({"endpoint": ""}, "an endpoint is a path"),
            ({"endpoint": "../accounts"}, "an endpoint is a path"),
        ],
    )
    def test_execute_what_cant_be_sent_fails_before_it_waits(self, arguments, message):
        with pytest.raises(AirflowFailException, match=message):
            operator(**arguments).execute(context())

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
            ("result_endpoint", "music/?id={id}"),
        ],
    )
    def test_execute_template_rendered_wrong_fails_without_a_retry(self, name, rendered):
        task = operator(**{name: "{{ x }}"})
        setattr(task, name, rendered)

        with pytest.raises(AirflowFailException, match="an endpoint" if name == "endpoint" else name):
            task.execute(context())

    def test_execute_another_tasks_output_cant_be_fetched_may_be_retried(self):
        class Unreadable(UserList):
            def __iter__(self):
                raise ValueError("the bucket is away")

        for fields in ({"json": {"tags": Unreadable()}}, {"user_ids": Unreadable("a")}):
            task = operator()
            vars(task).update(fields)
            with pytest.raises(ValueError, match=r"^the bucket is away$") as caught:
                task.execute(context())
            assert not isinstance(caught.value, AirflowFailException)

    def test_execute_another_tasks_output_is_fetched_once(self):
        class Counting(UserList):
            fetched = 0

            def __iter__(self):
                Counting.fetched += 1
                return super().__iter__()

        deferral(operator(json={"tags": Counting(["sad"])}))

        assert Counting.fetched == 1


class TestExecute:
    def test_execute_hands_all_that_it_needs_to_the_trigger(self, monkeypatch):
        monkeypatch.setattr(clock, "epoch", lambda: 1_000_000.0)
        task = operator(
            riffusion_conn_id="mine",
            slots=2,
            user_ids=["b", "a"],
            same_account=True,
            hold=60,
            poke_interval=7,
            priority_weight=9,
            result_endpoint="music/?id={job_id}",
        )

        _, kwargs = deferral(task).trigger.serialize()

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
            "endpoint": None,
            "json": {"prompt": "polka on the moon"},
            "reply_ref": "d/r/song/3",
            "wait_for_completion": True,
            "result_endpoint": "music/?id={job_id}",
            "job": None,
            "in_doubt": False,
            "resubmit_in_doubt": False,
        }

    @pytest.mark.parametrize(
        ("given", "expected"),
        [("mine", "mine"), (42, "42"), (0, "0"), (None, "d/r/song/3"), ("", "d/r/song/3")],
    )
    def test_execute_reference_of_the_users_own_is_kept_as_text(self, given, expected):
        assert deferral(operator(json={"replyRef": given})).trigger.reply_ref == expected

    def test_execute_outputs_of_other_tasks_become_lists(self, lazy_sequence):
        task = operator(json={"tags": lazy_sequence(["sad", "slow"]), "deep": [{"pair": (1, 2)}]})

        assert deferral(task).trigger.json == {"tags": ["sad", "slow"], "deep": [{"pair": [1, 2]}]}

    def test_execute_what_native_templates_give_becomes_lists(self):
        task = operator(json={"tags": map(str.upper, ["sad"])}, user_ids=["a"])
        task.user_ids = map(str.lower, ["A"])  # as it is rendered

        trigger = deferral(task).trigger

        assert (trigger.json["tags"], trigger.user_ids) == (["SAD"], ["a"])

    def test_execute_accounts_of_a_mapped_task_become_a_list(self, lazy_sequence):
        assert deferral(operator(user_ids=lazy_sequence(["b", "a"]))).trigger.user_ids == ["a", "b"]

    @pytest.mark.parametrize("field", ["user_id", "email"])
    @pytest.mark.parametrize(
        ("named", "user_ids"), [(10001, ["10001"]), ("10001", [10001]), (10001, {10001}), (10001, None)]
    )
    def test_execute_account_is_named_waits_for_that_and_sends_it_as_given(self, field, named, user_ids):
        trigger = deferral(operator(json={field: named}, user_ids=user_ids)).trigger

        assert (trigger.user_ids, trigger.json[field]) == (["10001"], named)

    @pytest.mark.parametrize(("execution_timeout", "expected"), [(None, 300), (timedelta(seconds=240), 240)])
    def test_execute_defers_for_the_shorter_timeout(self, execution_timeout, expected):
        task = operator(timeout=300, execution_timeout=execution_timeout)

        assert deferral(task).timeout.total_seconds() == pytest.approx(expected, abs=1)

    def test_execute_retry_looks_for_its_job_first(self):
        assert deferral(operator(), context(try_number=2)).trigger.in_doubt is True


class TestEndFromTrigger:
    @needs_zero_worker_mode
    @pytest.mark.parametrize(("outlets", "ends"), [([], True), ([Asset("song")], False)])
    def test_end_from_trigger_ends_there_unless_the_task_has_outlets(self, outlets, ends):
        task = operator(end_from_trigger=True, outlets=outlets, do_xcom_push=False, multiple_outputs=True)

        trigger = deferral(task).trigger

        assert (trigger.end_from_trigger, trigger.do_xcom_push, trigger.multiple_outputs) == (
            ends,
            False,
            True,
        )

    def test_end_from_trigger_older_airflow_is_an_error_when_the_dag_is_parsed(self, monkeypatch):
        monkeypatch.setattr(compat, "HAS_ZERO_WORKER_MODE", False)

        with pytest.raises(ValueError, match=r"end_from_trigger needs Airflow 3\.3"):
            operator(end_from_trigger=True)


class TestExecuteComplete:
    def test_execute_complete_done_returns_the_result_and_deletes_the_note(self, xcoms):
        xcoms[JOB_KEY] = NOTE.to_json()

        assert operator().execute_complete(context(), event("done", result={"job_id": "1"})) == {
            "job_id": "1"
        }
        assert JOB_KEY not in xcoms

    @pytest.mark.parametrize("status", ["failed", "rejected"])
    def test_execute_complete_no_job_fails_with_the_message_and_deletes_the_note(self, xcoms, status):
        xcoms[JOB_KEY] = NOTE.to_json()

        with pytest.raises(AirflowException, match="so it is") as caught:
            operator().execute_complete(context(store=Store()), event(status))

        assert isinstance(caught.value, AirflowFailException) == (status == "rejected")
        assert JOB_KEY not in xcoms

    @pytest.mark.parametrize("strange", [{"status": "granted"}, {}, None, "done"])
    def test_execute_complete_strange_event_is_an_error(self, strange):
        with pytest.raises(ValueError, match="unknown event"):
            operator().execute_complete(context(), strange)

    def test_execute_complete_triggerer_cant_read_the_arguments_defers_with_them(self, xcoms):
        xcoms[JOB_KEY] = NOTE.to_json()  # of the try before
        unread = {"status": "unread", "since": 7.0, "message": "why"}

        with pytest.raises(TaskDeferred) as caught:
            operator().execute_complete(context(), unread)

        assert (caught.value.trigger.since, caught.value.trigger.reply_ref) == (7.0, "d/r/song/3")
        assert JOB_KEY not in xcoms

    def test_execute_complete_outcome_is_unknown_may_be_retried(self):
        with pytest.raises(AirflowException, match=r"so it is The next try asks for it again") as caught:
            operator().execute_complete(context(store=Store()), event("unknown"))
        assert not isinstance(caught.value, AirflowFailException)

    def test_execute_complete_job_has_failed_leaves_nothing_to_the_next_try(self):
        store = Store({JOB_KEY: NOTE.to_json() | {"max_tries": 0}})

        with pytest.raises(AirflowException):
            operator().execute_complete(context(store=store), event("failed", message="Job 1 failed"))
        assert JOB_KEY not in store

    def test_execute_complete_outcome_is_unknown_without_a_store_is_not_retried(self):
        with pytest.raises(AirflowFailException, match="so it is"):
            operator().execute_complete(context(), event("unknown"))

    @pytest.mark.parametrize(
        ("execution_timeout", "said"), [(240, "execution_timeout of 240 s"), (None, "timeout of 300 s")]
    )
    @pytest.mark.parametrize("reason", ["Trigger timeout", "Trigger/execution timeout"])
    def test_resume_execution_time_is_up_says_which_and_may_be_retried(self, reason, execution_timeout, said):
        limit = timedelta(seconds=execution_timeout) if execution_timeout else None
        task = operator(timeout=300, execution_timeout=limit)

        with pytest.raises(AirflowTaskTimeout, match=rf"within the {said}\."):
            task.resume_execution("__fail__", {"error": reason}, context())


class TestNextTry:
    """What the next try makes of the job that this one leaves."""

    @pytest.fixture
    def store(self):
        return Store()

    def next_try(self, store, *, max_tries=0):
        json.dumps(store)
        return deferral(operator(), context(2, max_tries=max_tries, store=store)).trigger.job

    @pytest.mark.parametrize("max_tries", [0, 1], ids=["retried", "cleared"])
    def test_next_try_outcome_was_unknown_goes_on_with_the_job(self, store, max_tries):
        with pytest.raises(AirflowException):
            operator().execute_complete(context(store=store), event("unknown"))

        assert self.next_try(store, max_tries=max_tries) == NOTE.to_json()

    @pytest.mark.parametrize(
        ("max_tries", "job"), [(0, NOTE.to_json()), (1, None)], ids=["retried", "cleared"]
    )
    def test_next_try_job_was_done_goes_on_with_it_only_if_the_worker_was_killed(self, store, max_tries, job):
        operator().execute_complete(context(store=store), event("done", result={}))

        assert self.next_try(store, max_tries=max_tries) == job

    def test_next_try_job_had_failed_makes_another(self, store):
        with pytest.raises(AirflowException):
            operator().execute_complete(context(store=store), event("failed"))

        assert self.next_try(store) is None

    @pytest.mark.parametrize(
        ("note", "job"), [(NOTE, NOTE.to_json()), (ON_ITS_WAY, None), (None, None)], ids=str
    )
    def test_next_try_trigger_had_failed_goes_on_with_an_accepted_job(self, store, xcoms, note, job):
        if note is not None:
            xcoms[JOB_KEY] = note.to_json()
        with pytest.raises(Exception, match=r"boom|Trigger failure"):
            operator().resume_execution("__fail__", {"error": "boom", "traceback": []}, context(store=store))

        assert self.next_try(store) == job

    @pytest.mark.parametrize(
        ("max_tries", "job"), [(0, NOTE.to_json()), (1, None)], ids=["retried", "cleared"]
    )
    def test_next_try_the_one_before_did_not_end_goes_on_only_in_a_retry(self, store, max_tries, job):
        with pytest.raises(AirflowException):
            operator().execute_complete(context(store=store), event("unknown"))
        assert self.next_try(store) is not None  # its worker is killed, or a person ends it

        assert self.next_try(store, max_tries=max_tries) == job

    def test_next_try_job_cant_be_kept_there_is_none(self, caplog):
        class Broken(Store):
            def set(self, key, value):
                raise OSError("no database")

        with pytest.raises(AirflowFailException, match="so it is"):
            operator().execute_complete(context(store=Broken()), event("unknown"))

        assert "no database" in caplog.text
