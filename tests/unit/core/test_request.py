from __future__ import annotations

import pytest

from airflow_riffusion.core.request import Grant, SlotRequest, grant_line
from tests.readings import NOON, job, reading


def test_what_a_dag_author_leaves_out_is_what_a_request_has_by_itself():
    assert SlotRequest.checked() == SlotRequest()


def test_a_request_may_hold_nothing_and_name_the_reference_of_its_job():
    request = SlotRequest.checked(hold=0, reply_ref="ref")

    assert (request.hold, request.reply_ref) == (0, "ref")


def test_a_hold_that_cant_be_one_is_called_by_its_name():
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
def test_a_request_says_what_it_asks_for(arguments, said):
    assert str(SlotRequest(**arguments)) == said


def test_a_grant_is_told_in_one_line():
    granted = {"granted": {"a": 2, "b": 1}, "waited_seconds": 12.345, "grant_id": "g"}

    assert grant_line(granted) == (
        "Granted 2 slots on account a, 1 slot on account b after 12.3 s; the grant is g."
    )


def test_a_clock_that_was_set_back_makes_no_negative_wait():
    request = SlotRequest(since=NOON.timestamp() + 1)

    assert Grant("g", request, {"a": 1}, reading(a=1)).to_xcom()["waited_seconds"] == 0


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
