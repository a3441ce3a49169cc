from __future__ import annotations

import time

import pytest

from airflow_riffusion.core.capacity import ExecutingJob
from airflow_riffusion.gate.status import job_status, queue_status
from tests.readings import reading

FREE = reading(a=(1, 2))
JOB = ExecutingJob(job_id="1", user_id="a")


@pytest.fixture
def far_from_utc(monkeypatch):
    with monkeypatch.context() as patched:
        patched.setenv("TZ", "FAR-5")
        time.tzset()
        yield
    time.tzset()


@pytest.mark.parametrize(
    ("numbers", "says"),
    [
        ({"held": 0, "elsewhere": 0, "ahead": 0}, "0 held, 0 tasks ahead"),
        ({"held": 2, "elsewhere": 0, "ahead": 1}, "2 held, 1 task ahead"),
        ({"held": 0, "elsewhere": 1, "ahead": 2}, "0 held and 1 by other triggerers, 2 tasks ahead"),
    ],
)
def test_queue_status_of_a_reading_says_what_is_free_held_and_ahead(numbers, says):
    status = queue_status(FREE, None, since=0, **numbers)

    assert status == f"Still waiting since 00:00:00 UTC: 1 of 2 slots free on 1 account, {says}"


@pytest.mark.parametrize("last", [FREE, None])
def test_queue_status_after_an_error_says_why_no_reading_can_be_had(last):
    status = queue_status(last, "503 from the service.", since=0, held=1, elsewhere=1, ahead=1)

    assert status == "Still waiting since 00:00:00 UTC: no reading is possible: 503 from the service"


def test_queue_status_without_a_reading_says_that_there_is_none_yet():
    status = queue_status(None, None, since=0, held=0, elsewhere=0, ahead=0)

    assert status == "Still waiting since 00:00:00 UTC: no reading yet"


def test_queue_status_in_another_time_zone_is_in_utc(far_from_utc):
    status = queue_status(None, None, since=3600, held=0, elsewhere=0, ahead=0)

    assert status.startswith("Still waiting since 01:00:00 UTC")


@pytest.mark.parametrize(
    ("job", "last", "last_error", "says"),
    [
        (None, FREE, None, "The job was not seen executing yet: 1 of 2 slots free on 1 account"),
        (None, None, None, "The job was not seen executing yet: no reading yet"),
        (None, FREE, "503.", "The job was not seen executing yet: no reading is possible: 503"),
        (JOB, FREE, None, "Job 1 is executing on account a"),
        (JOB, FREE, "503.", "Job 1 is executing on account a: no reading is possible: 503"),
        (ExecutingJob(job_id="1"), FREE, None, "Job 1 is executing"),
    ],
)
def test_job_status_says_where_the_job_was_seen_and_why_there_is_no_reading(job, last, last_error, says):
    assert job_status(job, last, last_error) == says
