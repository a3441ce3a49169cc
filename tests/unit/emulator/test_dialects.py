from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone
from random import Random

import pytest

from airflow_riffusion.core.capacity import AccountCapacity
from airflow_riffusion.emulator.clock import timestamp
from airflow_riffusion.emulator.dialects import ACCOUNT_SECRET, DIALECTS, elapsed
from airflow_riffusion.emulator.records import Job, Snapshot

STARTED = datetime(2025, 4, 18, 12, 34, 56, 789_000, tzinfo=UTC)


def job(**changes):
    fields = {
        "job_id": "the job",
        "user_id": "the account",
        "prompt": "a prompt",
        "started": STARTED,
        "over_at": STARTED + timedelta(minutes=5),
        "reply_url": "https://example.com/webhook",
        "reply_ref": "reference-id",
    }
    return Job(**{**fields, **changes})


def account(user_id, max_jobs=2, executing=0, *, listed=True):
    return AccountCapacity(
        user_id=user_id, max_jobs=max_jobs, executing=executing, available=max_jobs - executing, listed=listed
    )


def reading(*jobs):
    return reading_of(account("the account", 5, len(jobs)), jobs=jobs)


def reading_of(*accounts, jobs=(), login_errors=None):
    return Snapshot(STARTED + timedelta(seconds=225), jobs, accounts, login_errors or {})


def fields(record):
    return {name: type(value) for name, value in record.items()}


@pytest.mark.parametrize("service", DIALECTS)
def test_available_has_the_fields_of_the_real_service(service, contract):
    real = json.loads(contract(service))
    dialect = DIALECTS[service]
    ours = dialect.available(reading(job(job_id=dialect.new_job_id("the account", 1, Random(7)))))
    assert fields(ours) == fields(real)
    assert fields(ours["executing"][0]) == fields(real["executing"][0])
    assert fields(ours["available"][0]) == fields(real["available"][0])


@pytest.mark.parametrize(
    ("service", "answer"),
    [
        ("riffusion", {"job_id": "the job", "user_id": "the account"}),
        ("tempolor", {"job_id": "the job", "user_id": "the account"}),
        ("kling", {"id": "the job", "email": "the account"}),
        ("ltxstudio", {"jobId": "the job", "email": "the account"}),
    ],
)
def test_accepted_uses_the_names_of_its_service(service, answer):
    assert DIALECTS[service].accepted(job()) == answer


def test_available_unlisted_account_is_left_out():
    reading = reading_of(account("hidden", listed=False), account("listed"))
    assert [each["user_id"] for each in DIALECTS["riffusion"].available(reading)["available"]] == ["listed"]


@pytest.mark.parametrize(
    ("service", "field"),
    [("riffusion", "user_id"), ("tempolor", "user_id"), ("kling", "email"), ("ltxstudio", "email")],
)
def test_accounts_by_id_have_slots_login_and_error(service, field):
    accounts = DIALECTS[service].accounts(
        reading_of(account("a", 1, 1, listed=False), account("b"), login_errors={"b": "expired"})
    )
    assert list(accounts) == ["a", "b"]
    assert accounts["a"] == {field: "a", "maxJobs": 1, **DIALECTS[service].login}
    assert accounts["b"] == {field: "b", "maxJobs": 2, **DIALECTS[service].login, "error": "expired"}


@pytest.mark.parametrize("service", DIALECTS)
def test_accounts_have_a_secret_each(service):
    accounts = DIALECTS[service].accounts(reading_of(account("a"), account("b")))
    assert [ACCOUNT_SECRET in json.dumps(account) for account in accounts.values()] == [True, True]


def test_executing_job_without_reply_fields_lists_none():
    (listed,) = DIALECTS["riffusion"].executing(reading(job(reply_url=None, reply_ref=None)))
    assert set(listed) == {"job_id", "user_id", "started", "elapsed"}


def test_ended_job_without_reference_reports_none():
    report = DIALECTS["riffusion"].ended(job(status="completed", reply_ref=None))
    assert report == {"job_id": "the job", "user_id": "the account", "status": "completed"}


@pytest.mark.parametrize("service", DIALECTS)
def test_account_name_of_each_number_is_unique(service):
    assert len({DIALECTS[service].account_name(number) for number in range(1, 1001)}) == 1000


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "00:00"),
        (59.9, "00:59"),
        (237, "03:57"),
        (3599, "59:59"),
        (3600, "01:00:00"),
        (360_000, "100:00:00"),
    ],
)
def test_elapsed_from_one_hour_on_has_hours(seconds, text):
    assert elapsed(timedelta(seconds=seconds)) == text


def test_elapsed_below_zero_is_zero():
    assert elapsed(timedelta(seconds=-90)) == "00:00"


def test_timestamp_of_any_zone_is_utc_to_the_millisecond():
    moment = datetime(2025, 2, 12, 3, 55, 16, tzinfo=timezone(timedelta(hours=2)))
    assert timestamp(moment) == "2025-02-12T01:55:16.000Z"
