from __future__ import annotations

from datetime import timedelta

import pytest

from airflow_riffusion.request import Grant, SlotRequest, account_ids, is_template, seconds, whole_number
from tests.readings import NOON, job, reading


@pytest.mark.parametrize("value", [1, 7, "3", " 3 "])
def test_a_positive_whole_number_is_taken_also_as_text(value):
    assert whole_number("slots", value) == int(value)


@pytest.mark.parametrize("value", [0, -1, 1.0, "two", "0", "", True, None, [1], float("nan"), "9" * 5000])
def test_anything_else_is_no_number_of_slots(value):
    with pytest.raises(ValueError, match="slots must be a positive whole number"):
        whole_number("slots", value)


@pytest.mark.parametrize(("value", "expected"), [(1, 1.0), (0.5, 0.5), (timedelta(minutes=2), 120.0)])
def test_seconds_may_be_a_number_or_a_timedelta(value, expected):
    assert seconds("hold", value) == expected


@pytest.mark.parametrize(
    "value", [float("nan"), float("inf"), 1e300, -1, "10", None, True, timedelta(seconds=-1)]
)
def test_seconds_must_be_finite_and_not_negative(value):
    with pytest.raises(ValueError, match="hold must be seconds or a timedelta"):
        seconds("hold", value, zero=True)


def test_zero_seconds_only_where_it_means_something():
    assert seconds("hold", 0, zero=True) == 0
    with pytest.raises(ValueError, match="more than 0"):
        seconds("poke_interval", 0)


def test_account_ids_may_be_numbers_and_are_compared_as_text():
    assert account_ids(["a", 12345]) == {"a", "12345"}
    assert account_ids(None) is None


@pytest.mark.parametrize("value", ["a", "['a', 'b']", [], [""], [None], [1.5], 3, {"a": 1}])
def test_a_list_of_account_ids_is_needed(value):
    with pytest.raises(ValueError, match="user_ids must"):
        account_ids(value)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("{{ params.slots }}", True),
        (["a", "{{ x }}"], True),
        ("{% if x %}1{% endif %}", True),
        ("two", False),
        (2, False),
    ],
)
def test_a_template_is_recognised(value, expected):
    assert is_template(value) is expected


def test_the_grants_xcom_adds_what_was_granted_to_the_reading_of_the_accounts_asked_for():
    since = NOON.timestamp() - 1.23456
    request = SlotRequest(slots=3, user_ids=frozenset(["a", "b"]), since=since)
    seen = reading(job("1", "a"), a=2, b=1, c=5)

    xcom = Grant("g", request, {"a": 2, "b": 1}, seen).to_xcom()

    assert (xcom["available"], xcom["max_jobs"], xcom["best_user_id"]) == (3, 20, "a")
    assert xcom["user_id"] == "a"
    assert xcom["granted"] == {"a": 2, "b": 1}
    assert xcom["grant_id"] == "g"
    assert xcom["waited_seconds"] == 1.235
