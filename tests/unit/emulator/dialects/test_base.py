from __future__ import annotations

import json

import pytest

from airflow_riffusion.emulator.dialects import ACCOUNT_SECRET, TITLES, dialect_of

ACCOUNT_FIELDS = [
    ("riffusion", "user_id"),
    ("flowmusic", "email"),
    ("tempolor", "user_id"),
    ("acemusic", "email"),
    ("mureka", "account"),
    ("pixverse", "email"),
    ("kling", "email"),
]


@pytest.mark.parametrize(("name", "field"), ACCOUNT_FIELDS)
def test_accounts_have_names_and_errors_by_name(play, name, field):
    played = play(name)
    first, second = played.accounts
    played.service.log_out(second, "expired")
    accounts = played.get("accounts").json()
    assert [(key, account[field], account.get("error")) for key, account in accounts.items()] == [
        (first, first, None),
        (second, second, "expired"),
    ]


@pytest.mark.parametrize("name", [name for name in TITLES if name != "mureka"])
def test_accounts_have_their_slots(play, name):
    assert [account["maxJobs"] for account in play(name).get("accounts").json().values()] == [2, 2]


@pytest.mark.parametrize("name", TITLES)
def test_accounts_have_a_secret_each(play, name):
    accounts = play(name).get("accounts").json().values()
    assert [ACCOUNT_SECRET in json.dumps(account) for account in accounts] == [True, True]


@pytest.mark.parametrize("name", TITLES)
def test_account_name_of_each_number_is_unique(name):
    assert len({dialect_of(name).account_name(number) for number in range(1, 1001)}) == 1000


@pytest.mark.parametrize("name", [name for name in TITLES if name not in ("riffusion", "kling")])
def test_tracked_stopped_job_is_not_found(play, name):
    played = play(name)
    job_id = played.service.submit("a prompt").job_id
    outcome = f"{'jobs' if name in ('flowmusic', 'acemusic', 'mureka') else 'music'}/{job_id}"
    before = played.get(outcome).status_code
    played.service.cancel(job_id)
    assert (before, played.get(outcome).status_code) == (200, 404)


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("tempolor", "music"),
        ("flowmusic", "jobs"),
        ("acemusic", "jobs"),
        ("mureka", "jobs"),
        ("pixverse", "music"),
    ],
)
def test_outcome_unknown_job_answers_404(play, name, path):
    answer = play(name).get(f"{path}/no-such-job")
    assert (answer.status_code, answer.json()["code"]) == (404, 404)
    assert answer.json()["error"].startswith("Unable to locate ")


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("riffusion", "scheduler"),
        ("tempolor", "scheduler"),
        ("pixverse", "scheduler"),
        ("kling", "scheduler"),
        ("flowmusic", "jobs"),
    ],
)
def test_stop_executing_job_answers_204_and_frees_its_slot(play, name, path):
    played = play(name)
    job_id = played.service.submit("a prompt").job_id
    assert [played.delete(f"{path}/{job_id}").status_code for _ in range(2)] == [204, 404]
    assert played.service.stats().cancelled == 1
