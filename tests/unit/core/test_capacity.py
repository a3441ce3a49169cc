from __future__ import annotations

import pytest

from airflow_riffusion.services import SERVICES
from tests.readings import NOON, job, parsed, reading


def test_capacity_xcom_has_the_documented_fields(contract):
    xcom = SERVICES["riffusion"].read_capacity(contract(), observed_at=NOON).to_xcom()

    assert list(xcom) == [
        "available",
        "executing",
        "max_jobs",
        "best_user_id",
        "service",
        "observed_at",
        "accounts",
        "jobs",
    ]
    assert xcom["best_user_id"] == "<user_id_1>"
    assert xcom["observed_at"] == "2026-01-01T12:00:00+00:00"
    assert xcom["accounts"][1] == {
        "user_id": "<user_id_2>",
        "max_jobs": 10,
        "executing": 2,
        "available": 8,
    }
    assert xcom["jobs"][1] == {
        "job_id": "<job_id_2>",
        "user_id": "<user_id_2>",
        "started": "2025-02-12T01:57:11.228000+00:00",
        "elapsed_seconds": 35.0,
        "reply_url": None,
        "reply_ref": "<optional reference>",
    }


def test_job_field_that_is_missing_is_null_in_the_xcom():
    assert set(parsed({"executing": [{}]}).to_xcom()["jobs"][0].values()) == {None}


def test_job_that_has_just_started_has_run_for_zero_seconds():
    assert parsed({"executing": [{"elapsed": "00:00"}]}).to_xcom()["jobs"][0]["elapsed_seconds"] == 0


def test_capacity_for_users_has_only_their_accounts_and_jobs():
    capacity = reading({"job_id": "1", "user_id": "a"}, {"job_id": "2", "user_id": "b"}, a=3, b=5)

    only = capacity.for_users(["a", "unknown"])

    assert (only.available, only.max_jobs, [job.job_id for job in only.jobs]) == (3, 10, ["1"])


def test_capacity_for_all_users_is_unchanged():
    capacity = reading({"job_id": "1", "user_id": "a"}, a=3, b=5)

    assert capacity.for_users(None) == capacity


def test_capacity_jobs_count_as_executing_where_no_account_says_so():
    assert parsed({"executing": [{"job_id": "1"}, {"job_id": "2"}]}).executing == 2


def test_capacity_best_account_is_the_one_with_most_free_slots():
    assert reading(a=1, b=3, c=3).best_account().user_id == "b"
    assert reading(a=0, b=0).best_account() is None
    assert reading().best_account() is None


def test_capacity_without_free_slots_has_no_best_account_in_the_xcom():
    assert reading(a=0).to_xcom()["best_user_id"] is None


def test_capacity_as_text_says_how_many_slots_are_free(contract):
    assert str(SERVICES["riffusion"].read_capacity(contract(), observed_at=NOON)) == (
        "18 of 20 slots free on 2 accounts"
    )


def test_capacity_of_one_account_as_text_uses_the_singular():
    assert str(reading(a=1)) == "1 of 10 slots free on 1 account"


@pytest.mark.parametrize(
    ("seen", "lacks"),
    [
        (reading(a=1), False),
        (reading(job("1", "a"), a=(9, 10)), False),
        (reading(job("1"), a=(9, 10)), False),
        (reading(job("1"), job("2"), a=(9, 10)), True),
        (reading(), True),
        (reading(job("1", "b"), a=1), True),
        (reading(a=1).with_full_accounts({"a": 10, "b": 1}), True),
    ],
)
def test_capacity_that_lists_too_few_accounts_says_so(seen, lacks):
    assert seen.lacks_accounts is lacks
