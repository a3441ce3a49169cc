"""Readings of each service, over real HTTP."""

from __future__ import annotations

import json

import pytest

from airflow_riffusion.emulator import EmulatorServer
from airflow_riffusion.emulator.faults import Fault
from airflow_riffusion.exceptions import (
    RiffusionArgumentError,
    RiffusionBadResponse,
    RiffusionRejected,
    RiffusionUnavailable,
)
from airflow_riffusion.hooks.riffusion import RiffusionHook
from airflow_riffusion.services import SERVICES

ACCOUNTS = {"one:@example.com": 3, "two@example.com": 2}
SONGS = [name for name, service in SERVICES.items() if service.submit_endpoint is not None]
LISTS_BUSY_ACCOUNTS_ONLY = [name for name, service in SERVICES.items() if service.lists_busy_accounts_only]


@pytest.fixture(params=SERVICES)
def emulator(request, connect):
    # The connection has to say how many slots an account has on mureka, the same for all.
    accounts = dict.fromkeys(ACCOUNTS, 3) if request.param == "mureka" else ACCOUNTS
    with EmulatorServer(service=request.param, accounts=accounts, seed=1) as emulator:
        connect(emulator.url, extra={"service": request.param, "max_jobs": 3})
        yield emulator


@pytest.fixture
def hook(emulator):
    return RiffusionHook("riffusion_test")


def available(capacity):
    return {account.user_id: account.available for account in capacity.accounts}


def test_reading_of_an_idle_service_has_all_slots_free(emulator, hook):
    slots = {account.user_id: account.max_jobs for account in emulator.service.read().accounts}

    assert available(hook.get_capacity()) == slots


def test_reading_of_a_busy_service_has_its_jobs_and_what_is_left(emulator, hook):
    jobs = [emulator.service.submit("a prompt", user_id=account) for account in ("one:@example.com",) * 2]

    capacity = hook.get_capacity()

    assert {(job.job_id, job.user_id) for job in capacity.jobs} == {
        (str(job.job_id), job.user_id) for job in jobs
    }
    assert available(capacity)["one:@example.com"] == 1


def test_reading_of_a_full_service_has_no_slot_free(emulator, hook):
    for account in emulator.service.read().accounts:
        for _ in range(account.max_jobs):
            emulator.service.submit("a prompt", user_id=account.user_id)

    assert hook.get_complete_capacity().available == 0


def test_reading_leaves_out_the_slots_of_an_account_that_is_logged_out(emulator, hook):
    emulator.service.log_out("two@example.com")

    assert available(hook.get_complete_capacity()).get("two@example.com", 0) == 0


def test_test_connection_says_the_service_and_whose_login_needs_renewal(emulator, hook):
    for account in ACCOUNTS:
        emulator.service.log_out(account)

    works, said = hook.test_connection()

    assert works
    assert said.startswith(f"{hook.settings.service.title}: 0 of ")
    assert "need their logins renewed" in said


@pytest.mark.parametrize("emulator", LISTS_BUSY_ACCOUNTS_ONLY, indirect=True)
def test_readings_ask_for_the_accounts_once(emulator, hook):
    for _ in range(5):
        hook.get_capacity()

    requests = emulator.service.stats().requests_by_endpoint
    assert (requests["capacity"], requests["accounts"]) == (5, 1)


@pytest.mark.parametrize("emulator", LISTS_BUSY_ACCOUNTS_ONLY, indirect=True)
def test_reading_without_any_known_account_is_unavailable(emulator, hook):
    emulator.faults.add(Fault(endpoint="accounts", status=503))

    with pytest.raises(RiffusionUnavailable, match="503"):
        hook.get_capacity()


@pytest.mark.parametrize("emulator", ["flowmusic", "mureka"], indirect=True)
def test_reference_of_a_job_is_what_it_was_submitted_with(emulator, hook):
    job = emulator.service.submit("a prompt", reply_ref="mine")

    assert hook.reference_of(str(job.job_id)) == "mine"


@pytest.mark.parametrize("emulator", ["kling"], indirect=True)
def test_reference_of_a_job_where_no_page_says_it_is_an_error(emulator, hook):
    with pytest.raises(LookupError, match="no page of Kling says"):
        hook.reference_of("1")


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ({"status": 401}, RiffusionRejected),
        ({"status": 402}, RiffusionRejected),
        ({"status": 404}, RiffusionRejected),
        ({"status": 429, "retry_after": 30}, RiffusionUnavailable),
        ({"status": 500}, RiffusionUnavailable),
        ({"status": 596}, RiffusionRejected),
        ({"drop": True}, RiffusionUnavailable),
        ({"body": "cut"}, RiffusionUnavailable),
        ({"body": "truncated"}, RiffusionBadResponse),
        ({"body": "html"}, RiffusionBadResponse),
        ({"body": "empty"}, RiffusionBadResponse),
        ({"body": "[]"}, RiffusionBadResponse),
        ({"body": '{"error": {"code": 500, "message": "not now"}}'}, RiffusionBadResponse),
    ],
    ids=lambda value: "-".join(map(str, value.values())) if isinstance(value, dict) else "",
)
def test_reading_that_fails_means_the_same_with_each_service(emulator, hook, fault, error):
    emulator.faults.add(Fault(endpoint="capacity", **fault))

    with pytest.raises(error):
        hook.get_capacity()


@pytest.mark.parametrize("emulator", LISTS_BUSY_ACCOUNTS_ONLY, indirect=True)
def test_reading_while_the_accounts_fail_shows_those_that_were_known(emulator, hook):
    hook.get_capacity()
    emulator.faults.add(Fault(endpoint="accounts", status=503))
    hook.configured_accounts(max_age=-1)

    assert available(hook.get_capacity()).keys() == ACCOUNTS.keys()


@pytest.mark.parametrize("emulator", SONGS, indirect=True)
@pytest.mark.parametrize("account", ACCOUNTS)
def test_submit_makes_a_job_with_its_reference_on_the_account(emulator, hook, account):
    made = hook.submit({"prompt": "polka on the moon"}, user_id=account, reply_ref="mine")

    (job,) = emulator.service.jobs()
    assert (job.prompt, job.user_id, job.reply_ref) == ("polka on the moon", account, "mine")
    job_id = str(job.job_id)
    assert not hook.settings.service.has_ended(made.pop("answer"))
    assert made == {"job_id": job_id, "job_ids": [job_id], "user_id": account, "reply_ref": "mine"}


@pytest.mark.parametrize("emulator", SONGS, indirect=True)
@pytest.mark.parametrize("account", ACCOUNTS)
def test_submit_json_with_the_account_field_of_another_service_is_for_the_account(emulator, hook, account):
    others = {"user_id", "email", "account"} - {hook.settings.service.account_field}

    hook.submit({"prompt": "polka", **dict.fromkeys(others, account)}, user_id=account, reply_ref="mine")

    assert [job.user_id for job in emulator.service.jobs()] == [account]


@pytest.mark.parametrize("emulator", ["kling"], indirect=True)
def test_submit_to_a_service_without_songs_asks_for_the_endpoint(emulator, hook):
    with pytest.raises(RiffusionRejected, match="set endpoint"):
        hook.submit({"prompt": "polka"}, user_id="one:@example.com", reply_ref="mine")


@pytest.mark.parametrize("emulator", ["flowmusic"], indirect=True)
def test_submit_endpoint_that_is_given_is_asked(emulator, hook):
    with pytest.raises(RiffusionRejected, match=r"404 Not Found from .*/v1/flowmusic/music/lyrics"):
        hook.submit({"prompt": "x"}, user_id="one:@example.com", reply_ref="mine", endpoint="music/lyrics")


@pytest.mark.parametrize("emulator", ["flowmusic"], indirect=True)
@pytest.mark.parametrize(
    ("argument", "said"),
    [
        ({"json": "polka"}, "json must be a dict"),
        ({"json": {"prompt": object()}}, "json can't be sent"),
        ({"json": {"email": "two@example.com"}}, "json is for account two@example.com, and user_id is one:@"),
        ({"json": {"replyRef": "another"}}, "json's replyRef is 'another', and reply_ref is 'mine'"),
        (
            {"json": {"email": "two@example.com", "user_id": "one:@example.com"}},
            "json names more than one account: one:@example.com, two@example.com",
        ),
        ({"user_id": None}, "user_id must be text"),
        ({"reply_ref": None}, "reply_ref must be text"),
        ({"reply_ref": ""}, "reply_ref must be text"),
        ({"reply_ref": "x" * 1025}, "reply_ref must have at most 1024 characters"),
        ({"endpoint": 7}, "endpoint"),
    ],
)
def test_submit_argument_that_is_wrong_makes_no_job(emulator, hook, argument, said):
    right = {"json": {"prompt": "polka"}, "user_id": "one:@example.com", "reply_ref": "mine"}

    with pytest.raises(RiffusionArgumentError, match=said):
        hook.submit(**{**right, **argument})

    assert emulator.service.jobs() == []


@pytest.mark.parametrize("emulator", ["tempolor"], indirect=True)
def test_submit_answer_that_says_why_there_is_no_job_is_rejected(emulator, hook):
    emulator.faults.add(Fault(endpoint="submit", status=200, body='{"error": "moderated"}'))

    with pytest.raises(RiffusionRejected, match="TemPolor made no job of the submission: moderated"):
        hook.submit({"prompt": "polka"}, user_id="one:@example.com", reply_ref="mine")


@pytest.mark.parametrize("emulator", ["riffusion"], indirect=True)
@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ({}, {"job_id": None, "job_ids": [], "user_id": "one:@example.com", "answer": {}}),
        ({"job_id": 7, "user_id": "two@example.com"}, {"job_id": "7", "user_id": "two@example.com"}),
        ({"replyUrl": "https://a.b/c?key=secret"}, {"answer": {"replyUrl": "https://a.b/c"}}),
    ],
)
def test_submit_returns_what_the_answer_says_of_the_job(emulator, hook, answer, expected):
    emulator.faults.add(Fault(endpoint="submit", status=200, body=json.dumps(answer)))

    made = hook.submit({"prompt": "polka"}, user_id="one:@example.com", reply_ref="mine")

    assert made == {**made, **expected}
