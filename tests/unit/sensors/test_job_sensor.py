from __future__ import annotations

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest
from airflow.exceptions import AirflowRescheduleException
from airflow.providers.common.compat.sdk import (
    AirflowFailException,
    AirflowSensorTimeout,
    AirflowSkipException,
    AirflowTaskTimeout,
    TaskDeferred,
)

from airflow_riffusion.exceptions import RiffusionRejected, RiffusionUnavailable
from airflow_riffusion.sensors.job import JobSensor
from tests.readings import job, reading
from tests.versions import needs_airflow_3

RUNNING = reading(job("1", "a", "ref"), a=(0, 1))
OVER = reading(a=(1, 1))


def sensor(**fields):
    fields = {"job_id": "1", "deferrable": False, "poke_interval": 10, **fields}
    return JobSensor(task_id="wait", **fields)


def context(first_reschedule=None):
    return {"ti": SimpleNamespace(get_first_reschedule_date=lambda context: first_reschedule)}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"job_id": None}, "job_id or reply_ref is needed"),
        ({"job_id": ""}, "job_id or reply_ref is needed"),
        ({"job_id": ["1"]}, "job_id must be text"),
        ({"job_id": True}, "job_id must be text"),
        ({"job_id": 1.5}, "job_id must be text"),
        ({"job_id": None, "reply_ref": True}, "reply_ref must be text"),
        ({"hold": -1}, "hold"),
        ({"deferrable": "no"}, "deferrable"),
        ({"riffusion_conn_id": ""}, "riffusion_conn_id"),
    ],
)
def test_job_sensor_wrong_argument_is_an_error(fields, message):
    with pytest.raises(ValueError, match=message):
        sensor(**fields)


def test_job_sensor_job_id_rendered_to_nothing_fails_without_retry(answers):
    task = sensor(job_id="{{ job }}")
    task.job_id = None

    with pytest.raises(AirflowFailException, match="job_id or reply_ref is needed"):
        task.execute(context())


def test_job_sensor_soft_fail_job_id_rendered_to_nothing_skips_the_task():
    task = sensor(job_id="{{ job }}", soft_fail=True)
    task.job_id = None

    with pytest.raises(AirflowSkipException, match="job_id or reply_ref is needed"):
        task.execute(context())


class TestPoking:
    @pytest.mark.parametrize("which", [{}, {"job_id": None, "reply_ref": "ref"}])
    def test_job_sensor_job_missing_in_two_readings_in_a_row_is_over(self, answers, clock, which):
        answers += [RUNNING, RUNNING, OVER, RUNNING, OVER]

        assert sensor(**which).execute(context())["job_id"] == "1"
        assert (answers.asked, clock.naps) == (6, [10, 10, 1, 10, 1])

    def test_job_sensor_job_never_seen_is_over_after_the_hold(self, answers, clock):
        answers.append(OVER)
        began = clock.now

        assert sensor(hold=60).execute(context()) is None
        assert 60 <= clock.now - began <= 75
        assert answers.asked <= 9

    def test_job_sensor_poked_outside_of_a_run_waits_for_the_hold(self, answers, clock):
        answers.append(OVER)
        waiting = sensor(hold=60)

        first = waiting.poke({})
        clock.now += 60

        assert first is False
        assert waiting.poke({}).xcom_value is None

    def test_job_sensor_job_id_as_number_finds_the_job(self, answers):
        answers += [reading({"id": 1, "email": "a"}, a=(0, 1)), OVER]

        assert sensor(job_id=1).execute(context())["job_id"] == "1"

    def test_job_sensor_unavailable_service_does_not_end_the_wait(self, answers):
        answers += [RUNNING, RiffusionUnavailable("503"), OVER]

        assert sensor().execute(context())["job_id"] == "1"

    def test_job_sensor_rejection_fails_the_task(self, answers):
        answers.append(RiffusionRejected("401"))

        with pytest.raises(RiffusionRejected):
            sensor().execute(context())

    def test_job_sensor_timeout_fails_the_task(self, answers):
        answers.append(RUNNING)

        with pytest.raises(AirflowSensorTimeout):
            sensor(timeout=60).execute(context())


@needs_airflow_3  # the older one asks the database
class TestRescheduling:
    def test_job_sensor_executing_job_is_rescheduled(self, answers):
        answers.append(RUNNING)

        with pytest.raises(AirflowRescheduleException):
            sensor(mode="reschedule").execute(context())

    def test_job_sensor_rescheduled_hold_counts_from_the_first_poke(self, answers, clock):
        answers.append(OVER)
        first = datetime.fromtimestamp(clock.now - 60, tz=UTC)

        assert sensor(mode="reschedule", hold=60).execute(context(first)) is None
        assert answers.asked == 2


class TestDeferring:
    def defer(self, **fields):
        with pytest.raises(TaskDeferred) as caught:
            sensor(deferrable=True, **fields).execute(context())
        return caught.value

    def test_job_sensor_deferred_passes_all_arguments_to_the_trigger(self, clock):
        deferred = self.defer(riffusion_conn_id="mine", reply_ref="ref", hold=60, timeout=100)

        assert deferred.trigger.serialize()[1] == {
            "riffusion_conn_id": "mine",
            "job_id": "1",
            "reply_ref": "ref",
            "hold": 60.0,
            "poke_interval": 10.0,
        }
        assert (deferred.method_name, deferred.timeout.total_seconds()) == ("execute_complete", 100)

    def test_job_sensor_reply_ref_as_number_is_passed_as_text(self):
        assert self.defer(job_id=None, reply_ref=4711).trigger.reply_ref == "4711"

    def test_job_sensor_shorter_execution_timeout_limits_the_wait_and_is_named(self, clock):
        fields = {"timeout": 90, "execution_timeout": timedelta(seconds=60)}

        assert self.defer(**fields).timeout == timedelta(seconds=60)
        with pytest.raises(AirflowTaskTimeout, match="execution_timeout of 60 s"):
            sensor(**fields).resume_execution("__fail__", {"error": "Trigger timeout"}, context())

    @pytest.mark.parametrize("seen", [{"job_id": "1", "user_id": "a"}, None])
    def test_job_sensor_over_event_returns_the_job_as_last_seen(self, seen):
        event = {"status": "over", "job": seen, "at": 1.0}

        assert sensor(deferrable=True).execute_complete(context(), event) == seen

    def test_job_sensor_rejected_event_fails_the_task(self):
        with pytest.raises(RiffusionRejected, match="401"):
            sensor().execute_complete(context(), {"status": "rejected", "message": "401"})

    def test_job_sensor_unknown_event_is_an_error(self):
        with pytest.raises(ValueError, match="sent an unknown event"):
            sensor().execute_complete(context(), {"status": "granted"})
