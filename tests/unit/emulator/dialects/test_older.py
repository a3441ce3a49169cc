from __future__ import annotations

import pytest

SERVICES = ["riffusion", "tempolor", "pixverse", "kling"]


@pytest.mark.parametrize("name", SERVICES)
def test_capacity_account_that_takes_no_jobs_is_left_out(play, name):
    played = play(name)
    played.service.log_out(played.accounts[0])
    listed = played.get("scheduler/available").json()["available"]
    assert [played.accounts[1] in account.values() for account in listed] == [True]


@pytest.mark.parametrize("name", SERVICES)
def test_capacity_job_with_reply_fields_has_them(play, name):
    played = play(name)
    played.service.submit("a prompt", reply_url="https://example.com/done", reply_ref="mine")
    (listed,) = played.get("scheduler/available").json()["executing"]
    assert (listed["replyUrl"], listed["replyRef"]) == ("https://example.com/done", "mine")
