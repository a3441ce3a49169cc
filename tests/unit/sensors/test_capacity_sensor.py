from __future__ import annotations

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest
from airflow.exceptions import AirflowRescheduleException
from airflow.providers.common.compat.sdk import (
    DAG,
    AirflowException,
    AirflowFailException,
    AirflowSensorTimeout,
    AirflowSkipException,
    AirflowTaskTimeout,
    Asset,
    TaskDeferred,
)
from jinja2 import StrictUndefined, UndefinedError

from airflow_riffusion import compat
from airflow_riffusion.exceptions import RiffusionBadResponse, RiffusionRejected, RiffusionUnavailable
from airflow_riffusion.sensors.capacity import CapacitySensor
from tests.readings import FakeAccounts, configured, reading
from tests.versions import needs_airflow_3, needs_zero_worker_mode

FULL = reading(a=(0, 2))
FREE = reading(a=(1, 2), b=(2, 2))


def sensor(**fields):
    fields.setdefault("deferrable", False)
    return CapacitySensor(task_id="wait", **fields)


def context(first_reschedule=None):
    return {"ti": SimpleNamespace(get_first_reschedule_date=lambda context: first_reschedule)}


class TestArguments:
    @pytest.mark.parametrize("slots", [0, -1, "two", 1.5, "1.5", None, True])
    def test_capacity_sensor_slots_no_positive_whole_number_is_an_error(self, slots):
        with pytest.raises(ValueError, match="slots must be a positive whole number"):
            sensor(slots=slots)

    @pytest.mark.parametrize("name", ["poke_interval", "timeout"])
    @pytest.mark.parametrize("value", [float("nan"), float("inf"), 0, -1, "10", timedelta(0)])
    def test_capacity_sensor_interval_or_timeout_not_positive_seconds_is_an_error(self, name, value):
        with pytest.raises(ValueError, match=f"{name} must be seconds"):
            sensor(**{name: value})

    @pytest.mark.parametrize("hold", [float("nan"), float("inf"), -1, "long", None])
    def test_capacity_sensor_hold_not_zero_or_more_seconds_is_an_error(self, hold):
        with pytest.raises(ValueError, match="hold must be seconds"):
            sensor(hold=hold)

    def test_capacity_sensor_user_ids_as_text_is_an_error(self):
        with pytest.raises(ValueError, match="user_ids must be a list"):
            sensor(user_ids="a")

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("same_account", "false"),
            ("deferrable", "no"),
            ("riffusion_conn_id", ""),
            ("riffusion_conn_id", None),
        ],
    )
    def test_capacity_sensor_other_wrong_argument_is_an_error(self, name, value):
        with pytest.raises(ValueError, match=name):
            sensor(**{name: value})

    def test_capacity_sensor_slots_rendered_wrong_fail_before_any_request(self, answers):
        waiting = sensor(slots="{{ params.slots }}", user_ids="{{ params.accounts }}")
        waiting.slots, waiting.user_ids = "two", ["a"]

        with pytest.raises(AirflowFailException, match="slots must be"):
            waiting.execute(context())
        assert answers.asked == 0

    @pytest.mark.parametrize("mode", [{"deferrable": False}, {"mode": "reschedule"}, {"deferrable": True}])
    @pytest.mark.parametrize("asked", [{"slots": "two"}, {"user_ids": "['a']"}, {"riffusion_conn_id": ""}])
    class TestRenderedWrong:
        def rendered(self, mode, asked, **fields):
            waiting = sensor(**dict.fromkeys(asked, "{{ x }}"), **mode, **fields)
            for name, value in asked.items():
                setattr(waiting, name, value)
            return waiting

        def test_capacity_sensor_argument_rendered_wrong_fails_without_retry(self, mode, asked):
            with pytest.raises(AirflowFailException, match=f"{next(iter(asked))} must be"):
                self.rendered(mode, asked).execute(context())

        @pytest.mark.parametrize("setting", ["soft_fail", "never_fail"])
        def test_capacity_sensor_soft_fail_argument_rendered_wrong_skips_the_task(self, mode, asked, setting):
            with pytest.raises(AirflowSkipException, match=f"{next(iter(asked))} must be"):
                self.rendered(mode, asked, **{setting: True}).execute(context())

    def test_capacity_sensor_conn_id_rendered_to_a_number_is_taken_as_text(self):
        waiting = sensor(riffusion_conn_id="{{ conn }}", deferrable=True)
        waiting.riffusion_conn_id = 4711

        with pytest.raises(TaskDeferred) as caught:
            waiting.execute(context())
        assert caught.value.trigger.riffusion_conn_id == "4711"

    def test_capacity_sensor_mapped_with_wrong_argument_fails_without_retry(self):
        with DAG("d"):
            mapped = CapacitySensor.partial(task_id="wait").expand(slots=[1, "two"])

        with pytest.raises(AirflowFailException, match="slots must be"):
            mapped.unmap({"slots": "two"})

    def test_capacity_sensor_wrong_argument_of_airflow_fails_without_retry(self):
        with pytest.raises(AirflowFailException, match=r"mutually exclusive.*[^.]\.$"):
            sensor(soft_fail=True, never_fail=True)


class TestTemplates:
    def render(self, mapped=False, **fields):
        with DAG("d", template_undefined=StrictUndefined):
            waiting = sensor(slots="{{ nowhere }}", **fields)
        if mapped:
            waiting._do_render_template_fields(waiting, ["slots"], {}, waiting.get_template_env(), set())
        else:
            waiting.render_template_fields({})

    @pytest.mark.parametrize("mapped", [False, True])
    @pytest.mark.parametrize("deferrable", [False, True])
    def test_capacity_sensor_undefined_template_variable_fails_the_task(self, mapped, deferrable):
        with pytest.raises(UndefinedError, match="'nowhere' is undefined"):
            self.render(mapped, deferrable=deferrable)

    @pytest.mark.parametrize("mapped", [False, True])
    @pytest.mark.parametrize("deferrable", [False, True])
    def test_capacity_sensor_soft_fail_undefined_template_variable_skips_the_task(self, mapped, deferrable):
        with pytest.raises(AirflowSkipException, match="'nowhere' is undefined"):
            self.render(mapped, deferrable=deferrable, soft_fail=True)

    def test_capacity_sensor_slots_rendered_to_text_count_as_a_number(self, answers):
        answers.append(FREE)
        waiting = sensor(slots="{{ params.slots }}")
        waiting.slots = "2"

        assert waiting.execute(context())["granted"] == {"b": 2}

    def test_capacity_sensor_times_as_timedeltas_count_in_seconds(self):
        waiting = sensor(
            poke_interval=timedelta(seconds=5), timeout=timedelta(hours=1), hold=timedelta(minutes=3)
        )
        assert (waiting.poke_interval, waiting.timeout, waiting.hold) == (5, 3600, 180)


class TestPoking:
    def test_capacity_sensor_full_accounts_are_poked_until_slots_are_free(self, answers, clock):
        answers += [FULL, FULL, FREE]

        result = sensor(slots=2, poke_interval=10).execute(context())

        assert (result["user_id"], result["granted"]) == ("b", {"b": 2})
        assert result["waited_seconds"] == 20
        assert clock.naps == [10, 10]

    @pytest.mark.parametrize("mode", ["poke", "reschedule"])
    def test_capacity_sensor_poked_outside_of_a_run_waits_since_the_first_poke(self, answers, clock, mode):
        answers += [FULL, FREE]
        waiting = sensor(mode=mode)

        first = waiting.poke({})
        clock.now += 7

        assert first is False
        assert waiting.poke({}).xcom_value["waited_seconds"] == 7

    def test_capacity_sensor_unavailable_service_does_not_end_the_wait(self, answers):
        answers += [RiffusionUnavailable("503")] * 3 + [FREE]

        assert sensor().execute(context())["user_id"] == "b"

    def test_capacity_sensor_absurd_retry_after_is_capped_at_ten_minutes(self, answers, clock):
        answers += [RiffusionUnavailable("429", retry_after=1e9), FREE]

        sensor(poke_interval=10).execute(context())

        assert clock.naps == [600]

    def test_capacity_sensor_retry_after_longer_than_interval_delays_the_next_poke(self, answers, clock):
        answers += [RiffusionUnavailable("429", retry_after=95), FREE]

        sensor(poke_interval=10).execute(context())

        assert clock.naps == [95]

    def test_capacity_sensor_retry_after_longer_than_timeout_ends_with_the_timeout(self, answers, clock):
        answers += [FULL, RiffusionUnavailable("429", retry_after=500), FREE]
        began = clock.now

        with pytest.raises(AirflowSensorTimeout):
            sensor(poke_interval=10, timeout=60).execute(context())
        assert answers.asked == 2
        assert 60 < clock.now - began <= 70

    def test_capacity_sensor_rejection_fails_without_retry(self, answers):
        answers.append(RiffusionRejected("401"))

        with pytest.raises(AirflowFailException, match="401"):
            sensor().execute(context())

    def test_capacity_sensor_soft_fail_rejection_skips_the_task(self, answers):
        answers.append(RiffusionRejected("401"))

        with pytest.raises(AirflowSkipException):
            sensor(soft_fail=True).execute(context())

    def test_capacity_sensor_three_bad_answers_in_one_poke_are_a_rejection(self, answers, clock):
        answers.append(RiffusionBadResponse("200, but it is HTML"))

        with pytest.raises(RiffusionRejected, match="it is HTML"):
            sensor().execute(context())
        assert (answers.asked, clock.naps) == (3, [1, 1])

    @pytest.mark.parametrize("blank_at", [0, 1, 2])
    def test_capacity_sensor_bad_answers_and_an_empty_reading_do_not_end_the_wait(self, answers, blank_at):
        bad = RiffusionBadResponse("200, but it is HTML")
        answers += [*(reading() if at == blank_at else bad for at in range(3)), FREE]

        assert sensor().execute(context())["user_id"] == "b"

    def test_capacity_sensor_three_bad_answers_in_two_pokes_are_a_rejection(self, answers):
        answers += [reading(), RiffusionBadResponse("200, but it is HTML")]

        with pytest.raises(RiffusionRejected, match="it is HTML"):
            sensor().execute(context())
        assert answers.asked == 4  # two bad ones in the first poke, one in the second

    def test_capacity_sensor_good_answer_after_two_bad_ones_counts(self, answers):
        answers += [RiffusionBadResponse("HTML"), RiffusionBadResponse("HTML"), FREE]

        assert sensor().execute(context())["user_id"] == "b"

    @pytest.mark.parametrize(
        ("asked", "message"),
        [({"slots": 9}, "9 slots asked for"), ({"user_ids": ["x"]}, "no such account; it has a, b")],
    )
    def test_capacity_sensor_impossible_request_fails_after_three_readings(
        self, answers, clock, asked, message
    ):
        answers.append(FREE)
        answers.configured = configured(**FREE.slots)

        with pytest.raises(RiffusionRejected, match=message):
            sensor(**asked).execute(context())
        assert (answers.asked, clock.naps) == (3, [1, 1])

    @pytest.mark.parametrize("accounts", [configured(a=2, b=2), None], ids=["full", "unknown"])
    def test_capacity_sensor_empty_readings_of_full_accounts_do_not_end_the_wait(
        self, answers, clock, accounts
    ):
        answers += [*[reading()] * 20, FREE]
        answers.configured = accounts

        assert sensor().execute(context())["user_id"] == "b"
        assert (answers.asked, answers.accounts_asked) == (21, 20)
        assert set(clock.naps) == {5.0}

    def test_capacity_sensor_accounts_retry_after_delays_the_next_poke(self, answers, clock, monkeypatch):
        monkeypatch.setattr(FakeAccounts, "accounts_retry_after", 95.0)
        answers += [reading(), FREE]

        sensor(poke_interval=10).execute(context())

        assert clock.naps == [95]

    def test_capacity_sensor_logged_out_account_that_alone_could_serve_is_a_rejection(self, answers):
        answers.append(FREE)
        answers.configured = configured("x", **FREE.slots)

        with pytest.raises(RiffusionRejected, match="account x needs its login renewed"):
            sensor(user_ids=["x"]).execute(context())

    def test_capacity_sensor_timeout_fails_the_task(self, answers):
        answers.append(FULL)

        with pytest.raises(AirflowSensorTimeout):
            sensor(timeout=60).execute(context())

    @pytest.mark.parametrize("setting", ["soft_fail", "never_fail"])
    def test_capacity_sensor_soft_fail_timeout_skips_the_task(self, answers, setting):
        answers.append(FULL)

        with pytest.raises(AirflowSkipException):
            sensor(timeout=60, **{setting: True}).execute(context())

    @pytest.mark.parametrize("setting", [{}, {"soft_fail": True}, {"never_fail": True}])
    def test_capacity_sensor_execution_timeout_in_a_poke_fails_even_with_soft_fail(self, answers, setting):
        answers.append(AirflowTaskTimeout("300 s"))

        with pytest.raises(AirflowTaskTimeout, match="300 s"):
            sensor(**setting).execute(context())

    def test_capacity_sensor_user_ids_of_a_native_template_count_in_every_poke(self, answers):
        answers += [FULL, FREE]
        waiting = sensor(user_ids="{{ accounts }}")
        waiting.user_ids = map(str.lower, ["B"])

        assert waiting.execute(context())["granted"] == {"b": 1}


@needs_airflow_3  # the older one asks the database
def test_capacity_sensor_rescheduled_waited_seconds_count_from_the_first_poke(answers, clock):
    answers.append(FREE)
    began = datetime.fromtimestamp(clock.now - 300, tz=UTC)

    result = sensor(mode="reschedule").execute(context(first_reschedule=began))

    assert result["waited_seconds"] == 300


@needs_airflow_3
def test_capacity_sensor_reschedule_comes_after_the_worker_is_gone(answers):
    answers.append(FULL)
    before = datetime.now(tz=UTC)

    with pytest.raises(AirflowRescheduleException) as caught:
        sensor(mode="reschedule", poke_interval=1).execute(context())

    assert caught.value.reschedule_date >= before + timedelta(seconds=8)


class TestDeferring:
    def defer(self, **fields):
        with pytest.raises(TaskDeferred) as caught:
            sensor(deferrable=True, **fields).execute(context())
        return caught.value

    def test_capacity_sensor_deferred_passes_all_arguments_to_the_trigger(self, clock):
        deferred = self.defer(
            riffusion_conn_id="mine",
            slots=2,
            user_ids=["b", "a"],
            same_account=True,
            hold=60,
            poke_interval=7,
            priority_weight=5,
        )

        assert deferred.trigger.serialize() == (
            "airflow_riffusion.triggers.capacity.CapacityTrigger",
            {
                "riffusion_conn_id": "mine",
                "slots": 2,
                "user_ids": ["a", "b"],
                "same_account": True,
                "hold": 60.0,
                "poke_interval": 7.0,
                "priority": 5,
                "since": clock.now,
                "timeout": None,
                "end_from_trigger": False,
                "do_xcom_push": True,
                "multiple_outputs": False,
            },
        )
        assert deferred.method_name == "execute_complete"

    def test_capacity_sensor_deferred_shorter_timeout_limits_the_wait(self, clock):
        assert self.defer(timeout=90, execution_timeout=timedelta(hours=5)).timeout == timedelta(seconds=90)

    def test_capacity_sensor_deferred_shorter_execution_timeout_limits_the_wait(self, clock):
        assert self.defer(timeout=90, execution_timeout=timedelta(seconds=60)).timeout.total_seconds() == 60

    @pytest.mark.parametrize("reason", ["Trigger timeout", "Trigger/execution timeout"])
    class TestPastTimeout:
        def resume(self, reason, **fields):
            sensor(deferrable=True, **fields).resume_execution("__fail__", {"error": reason}, context())

        def test_capacity_sensor_deferred_past_timeout_fails_and_names_it(self, reason):
            with pytest.raises(AirflowSensorTimeout, match=r"within the timeout of 90 s\."):
                self.resume(reason, timeout=90, execution_timeout=timedelta(hours=5))

        @pytest.mark.parametrize("setting", ["soft_fail", "never_fail"])
        def test_capacity_sensor_soft_fail_deferred_past_timeout_skips_the_task(self, reason, setting):
            with pytest.raises(AirflowSkipException, match=r"within the timeout of 90 s\."):
                self.resume(reason, timeout=90, **{setting: True})

        @pytest.mark.parametrize("soft_fail", [False, True])
        def test_capacity_sensor_deferred_past_execution_timeout_fails_even_with_soft_fail(
            self, reason, soft_fail
        ):
            with pytest.raises(AirflowTaskTimeout, match=r"within the execution_timeout of 60 s\."):
                self.resume(reason, timeout=90, execution_timeout=timedelta(minutes=1), soft_fail=soft_fail)

    def test_capacity_sensor_failed_trigger_is_no_timeout(self):
        with pytest.raises(AirflowException, match="Trigger failure"):
            sensor(deferrable=True).resume_execution("__fail__", {"error": "Trigger failure"}, context())

    def test_capacity_sensor_deferrable_overrides_the_mode(self, clock):
        assert self.defer(mode="reschedule")

    @needs_zero_worker_mode
    def test_capacity_sensor_end_from_trigger_is_passed_to_the_trigger(self, clock):
        assert self.defer(end_from_trigger=True).trigger.end_from_trigger is True

    @needs_zero_worker_mode
    def test_capacity_sensor_end_from_trigger_with_outlets_ends_in_a_worker(self, clock):
        deferred = self.defer(end_from_trigger=True, outlets=[Asset("songs")])

        assert deferred.trigger.end_from_trigger is False

    def test_capacity_sensor_xcom_options_are_passed_to_the_trigger(self, clock):
        trigger = self.defer(do_xcom_push=False, multiple_outputs=True).trigger

        assert (trigger.do_xcom_push, trigger.multiple_outputs) == (False, True)

    def test_capacity_sensor_granted_event_becomes_the_xcom(self):
        xcom = {"available": 1, "granted": {"a": 1}, "grant_id": "g", "waited_seconds": 2.0}

        assert sensor().execute_complete({}, {"status": "granted", "result": xcom}) == xcom

    def test_capacity_sensor_rejected_event_fails_without_retry(self):
        with pytest.raises(AirflowFailException, match="401 Unauthorized"):
            sensor().execute_complete({}, {"status": "rejected", "message": "401 Unauthorized"})

    def test_capacity_sensor_unread_event_defers_with_arguments_read_in_the_worker(self, clock):
        waiting = sensor(deferrable=True, slots="{{ params.slots }}", timeout=90)
        waiting.slots = "2"  # as it is rendered in a worker

        with pytest.raises(TaskDeferred) as caught:
            waiting.execute_complete({}, {"status": "unread", "since": clock.now - 30, "message": "why"})

        trigger = caught.value.trigger
        assert (trigger.slots, trigger.since) == (2, clock.now - 30)
        assert caught.value.timeout == timedelta(seconds=60)

    @pytest.mark.parametrize(
        ("soft_fail", "ends"), [(False, AirflowFailException), (True, AirflowSkipException)]
    )
    def test_capacity_sensor_unread_event_and_wrong_arguments_fails_or_skips(self, soft_fail, ends):
        waiting = sensor(deferrable=True, slots="{{ params.slots }}", soft_fail=soft_fail)
        waiting.slots = "two"

        with pytest.raises(ends, match="slots must be a positive whole number, not 'two'"):
            waiting.execute_complete({}, {"status": "unread", "since": 1.0, "message": "why"})

    @pytest.mark.parametrize(
        "event", [None, "success", {}, {"status": "granted"}, {"status": "granted", "result": 3}]
    )
    def test_capacity_sensor_unknown_event_is_an_error(self, event):
        with pytest.raises(ValueError, match="sent an unknown event"):
            sensor().execute_complete({}, event)


@pytest.mark.parametrize("argument", ["start_from_trigger", "end_from_trigger"])
def test_capacity_sensor_zero_worker_mode_before_airflow_3_3_is_an_error(argument, monkeypatch):
    monkeypatch.setattr(compat, "HAS_ZERO_WORKER_MODE", False)

    with pytest.raises(ValueError, match=f"{argument} needs Airflow 3.3 or newer"):
        sensor(**{argument: True}, deferrable=True)
