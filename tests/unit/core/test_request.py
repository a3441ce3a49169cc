from __future__ import annotations

import pytest

from airflow_riffusion.core.request import Grant, SlotRequest, grant_line
from tests.readings import NOON, job, reading


def test_request_checked_without_arguments_has_the_defaults():
    assert SlotRequest.checked() == SlotRequest()


def test_request_checked_takes_a_hold_of_zero_and_a_reference():
    request = SlotRequest.checked(hold=0, reply_ref="ref")

    assert (request.hold, request.reply_ref) == (0, "ref")


def test_request_with_a_wrong_hold_is_an_error_that_names_it():
    with pytest.raises(ValueError, match=r"^hold must be"):
        SlotRequest.checked(hold="soon")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({}, "1 slot"),
        ({"same_account": True}, "1 slot"),
        ({"slots": 2}, "2 slots"),
        ({"slots": 2, "same_account": True}, "2 slots on one account"),
        ({"user_ids": frozenset("cabed")}, "1 slot of a, b, c, d, e"),
    ],
)
def test_request_as_text_says_what_it_asks_for(arguments, said):
    assert str(SlotRequest(**arguments)) == said


def test_grant_line_says_slots_waiting_time_and_id():
    granted = {"granted": {"a": 2, "b": 1}, "waited_seconds": 12.345, "grant_id": "g"}

    assert grant_line(granted) == (
        "Granted 2 slots on account a, 1 slot on account b after 12.3 s; the grant is g."
    )


def test_grant_after_the_clock_was_set_back_waited_zero_seconds():
    request = SlotRequest(since=NOON.timestamp() + 1)

    assert Grant("g", request, {"a": 1}, reading(a=1)).to_xcom()["waited_seconds"] == 0


def test_grant_xcom_has_the_reading_of_the_requested_accounts_and_the_grant():
    since = NOON.timestamp() - 1.23456
    request = SlotRequest(slots=3, user_ids=frozenset(["a", "b"]), since=since)
    seen = reading(job("1", "a"), a=2, b=1, c=5)

    xcom = Grant("g", request, {"a": 2, "b": 1}, seen).to_xcom()

    assert (xcom["available"], xcom["max_jobs"], xcom["best_user_id"]) == (3, 20, "a")
    assert xcom["user_id"] == "a"
    assert xcom["granted"] == {"a": 2, "b": 1}
    assert xcom["grant_id"] == "g"
    assert xcom["waited_seconds"] == 1.235
