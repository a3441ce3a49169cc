from __future__ import annotations

import json

import pytest

from airflow_riffusion.core.accounts import ConfiguredAccounts, KnownAccounts
from airflow_riffusion.core.capacity import Capacity, CapacityFormatError
from tests.readings import NOON, configured, job, reading


def parse(payload, account_field="user_id"):
    return ConfiguredAccounts.from_json(json.dumps(payload).encode(), account_field=account_field)


@pytest.mark.parametrize("field", ["user_id", "email"])
def test_accounts_id_is_what_the_service_calls_an_account(field):
    payload = {"key": {field: "a:b@x.com", "maxJobs": 4}, "other": {field: "c", "maxJobs": "3"}}

    assert parse(payload, field) == configured(**{"a:b@x.com": 4, "c": 3})


def test_accounts_entry_with_another_id_besides_goes_by_its_key():
    payload = {"a@x.com": {"user_id": "5f72c91e", "maxJobs": 4}}

    assert parse(payload, "email") == configured(**{"a@x.com": 4})


def test_accounts_entry_without_an_id_goes_by_its_key():
    assert parse({"a": {"maxJobs": 4}}) == configured(a=4)


def test_accounts_numeric_id_is_text():
    assert parse({"1": {"user_id": 10001, "maxJobs": 4}}) == configured(**{"10001": 4})


@pytest.mark.parametrize("max_jobs", [None, "many", [], -1.5, True])
def test_accounts_number_that_makes_no_sense_is_unknown(max_jobs):
    assert parse({"a": {"user_id": "a", "maxJobs": max_jobs}}).slots == {"a": None}


def test_accounts_entry_with_an_error_is_logged_out():
    payload = {"a": {"user_id": "a", "maxJobs": 4, "error": "expired"}, "b": {"user_id": "b", "error": ""}}

    assert parse(payload) == configured("a", b=None)


def test_accounts_none_are_configured_is_an_answer():
    assert parse({}) == configured()


@pytest.mark.parametrize(
    "body",
    [
        b"<html>secret</html>",
        b"",
        b"[]",
        b"null",
        b'"secret"',
        b'{"error": "secret", "code": 404}',
        b'{"error": {"code": 404, "message": "secret"}}',
        b'{"error": {"code": 404, "message": "secret", "account": "a"}}',
        b'{"accounts": {"a": {"user_id": "a"}}, "total": 1}',
        b'{"accounts": {"a": {"user_id": "a", "token": "secret"}}}',
        b'{"a": {"user_id": "a", "maxJobs": 4}, "b": "secret"}',
    ],
)
def test_accounts_answer_of_another_kind_proves_nothing_and_is_not_quoted(body):
    with pytest.raises(CapacityFormatError) as caught:
        ConfiguredAccounts.from_json(body, account_field="user_id")

    assert "secret" not in str(caught.value)


def test_accounts_nothing_but_ids_and_numbers_is_kept_of_an_answer():
    payload = {"a": {"user_id": "a", "maxJobs": 4, "cookie": "secret", "error": "secret"}}

    assert "secret" not in repr(parse(payload))


class TestKnownAccounts:
    def test_known_reading_that_lacks_none_is_returned_itself(self):
        whole = reading(a=1, b=2)

        assert KnownAccounts().complete(whole) is whole

    def test_known_account_that_was_listed_before_is_added_as_full(self):
        known = KnownAccounts()
        known.complete(reading(a=(1, 4), b=(2, 3)))
        completed = known.complete(reading(a=(1, 4)))

        assert (completed.available, completed.executing, completed.max_jobs) == (1, 6, 7)
        assert completed.to_xcom()["accounts"][1] == {
            "user_id": "b",
            "max_jobs": 3,
            "executing": 3,
            "available": 0,
        }
        assert completed.listed_slots == {"a": 4}

    def test_known_accounts_keep_their_places(self):
        known = KnownAccounts()
        known.complete(reading(a=1, b=1, c=1))
        known.learn(configured(d=10, c=10, b=10, a=10))

        assert list(known.complete(reading(b=1, c=1)).slots) == ["a", "b", "c", "d"]

    def test_known_account_that_two_answers_lack_is_forgotten(self):
        known = KnownAccounts()
        known.complete(reading(a=1, b=1))

        assert known.learn(configured(a=10)) == configured(a=10, b=10)
        assert known.learn(configured(a=10)) == configured(a=10)
        assert known.complete(reading()).slots == {"a": 10}

    def test_known_accounts_are_none_only_if_two_answers_say_so(self):
        known = KnownAccounts()

        assert known.learn(configured()) is None
        assert known.learn(configured()) == configured()

    def test_known_number_of_slots_outlasts_a_reading_without_it(self):
        known = KnownAccounts()
        known.learn(configured(a=4))
        silent = Capacity.parse(
            {"available": [{"user_id": "a", "available": 1}]}, service="riffusion", observed_at=NOON
        )
        known.complete(silent)

        assert known.complete(reading()).slots == {"a": 4}

    def test_known_account_of_unknown_size_executes_what_is_seen_on_it(self):
        known = KnownAccounts()
        known.learn(configured(a=None))

        (account,) = known.complete(reading(job("1", "a"), job("2", "a"))).accounts
        assert (account.max_jobs, account.executing, account.available) == (None, 2, 0)

    def test_known_logged_out_account_is_noted_until_it_is_listed_again(self):
        known = KnownAccounts()
        known.learn(configured("b", a=10))

        assert known.complete(reading(a=1)).notes == ("account b needs its login renewed at useapi.net",)
        assert known.complete(reading(a=1, b=1)).notes == ()
        assert known.complete(reading(a=1)).notes == ()

    def test_known_logged_out_account_gives_no_slots(self):
        known = KnownAccounts()
        known.complete(reading(a=1, b=1))

        assert known.learn(configured("b", a=10)) == configured("b", a=10)

        assert known.complete(reading(a=1)).slots == {"a": 10}
