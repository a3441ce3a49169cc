from __future__ import annotations

import json

import pytest

from airflow_riffusion.core.accounts import ConfiguredAccounts, KnownAccounts
from airflow_riffusion.core.capacity import CapacityFormatError
from tests.readings import configured, job, parsed, reading


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
        silent = parsed({"available": [{"user_id": "a", "available": 1}]})
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


class TestIdleAccounts:
    """Services that list only accounts with running jobs."""

    def known(self, *logged_out, **slots):
        known = KnownAccounts(are_idle=True)
        known.learn(configured(*logged_out, **slots))
        return known

    def busy(self, *job_ids, running=1, email="a"):
        jobs = [{"jobid": each} for each in job_ids]
        return parsed({email: {"running": running, "maxJobs": 3, "jobs": jobs}}, "flowmusic")

    def available(self, known, reading):
        return {account.user_id: account.available for account in known.complete(reading).accounts}

    def test_accounts_without_jobs_are_idle(self):
        assert self.available(self.known(a=3, b=4), self.busy()) == {"a": 2, "b": 4}

    def test_accounts_of_an_idle_service_are_all_free(self):
        assert self.available(self.known(a=3, b=4), parsed({}, "flowmusic")) == {"a": 3, "b": 4}

    def test_accounts_that_need_their_login_take_no_jobs_though_one_runs(self):
        known = self.known("a", b=4)

        assert self.available(known, self.busy()) == {"b": 4, "a": 0}
        assert known.complete(self.busy()).logged_out == ("a",)

    def test_accounts_with_an_unknown_number_of_slots_have_none_free(self):
        assert self.available(self.known(b=None), parsed({}, "flowmusic")) == {"b": 0}

    def test_accounts_are_counted_by_their_jobs_where_readings_have_nothing_else(self):
        jobs = [{"jobid": "1", "email": "a"}, {"jobid": "2", "email": "a"}, {"jobid": "3", "email": "b"}]

        assert self.available(self.known(a=4, b=1), parsed({"jobs": jobs}, "acemusic")) == {"a": 2, "b": 0}

    def test_accounts_are_all_reduced_by_a_job_without_an_account(self):
        reading = parsed({"jobs": [{"jobid": "1"}]}, "acemusic")

        assert self.available(self.known(a=4, b=1), reading) == {"a": 3, "b": 0}

    def test_accounts_that_are_completed_twice_stay_the_same(self):
        known = self.known(a=3, b=4)
        once = known.complete(self.busy())

        assert known.complete(once) == once

    def test_unknown_accounts_are_those_that_only_the_reading_shows(self):
        assert self.known(a=3).unknown(self.busy(email="new")) == {"new"}
