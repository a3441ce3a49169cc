from __future__ import annotations

import pytest

from airflow_riffusion.core.accounts import ConfiguredAccounts
from airflow_riffusion.exceptions import RiffusionUnavailable
from airflow_riffusion.hooks.accounts import AccountDirectory
from tests.readings import parsed

ALICE = ConfiguredAccounts({"alice": 4})
BOTH = ConfiguredAccounts({"alice": 4, "bob": 2})
NONE = ConfiguredAccounts()
DOWN = RiffusionUnavailable("503 Service Unavailable.")


class Service:
    """Answers with what the test sets, and counts the requests; the test moves the clock (seconds)."""

    def __init__(self):
        self.answer = ALICE
        self.asked = 0
        self.now = 1000.0

    def ask(self):
        self.asked += 1
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


@pytest.fixture
def service():
    return Service()


@pytest.fixture
def directory(service):
    return AccountDirectory("mine", service.ask, lambda: service.now)


@pytest.mark.parametrize(("age", "expected"), [(0, ALICE), (600, ALICE), (600.1, BOTH)])
def test_directory_answer_up_to_max_age_is_reused(service, directory, age, expected):
    directory.configured(max_age=600)
    service.answer = BOTH
    service.now += age

    assert directory.configured(max_age=600) == expected


@pytest.mark.parametrize(("seconds", "asked"), [(0, 1), (59.9, 1), (60, 2)])
def test_directory_failed_request_is_repeated_after_a_minute(service, directory, seconds, asked):
    service.answer = DOWN
    assert directory.configured(max_age=600) is None
    service.now += seconds

    assert directory.configured(max_age=600) is None
    assert service.asked == asked


@pytest.mark.parametrize(("seconds", "asked"), [(299.9, 1), (300, 2)])
def test_directory_retry_after_longer_than_a_minute_is_waited_for(service, directory, seconds, asked):
    service.answer = RiffusionUnavailable("429 Too Many Requests.", retry_after=300)
    directory.configured(max_age=600)
    service.now += seconds
    directory.configured(max_age=600)

    assert (service.asked, directory.retry_after) == (asked, 300)


def test_directory_same_error_twice_is_logged_once(service, directory, caplog):
    service.answer = DOWN
    for _ in range(2):
        directory.configured(max_age=600)
        service.now += 60

    assert caplog.text.count("can't be read: 503 Service Unavailable.") == 1


def test_directory_first_answer_without_accounts_is_asked_for_again(service, directory):
    service.answer = NONE
    assert directory.configured(max_age=600) is None
    service.now += 60

    assert directory.configured(max_age=600) == NONE


class TestEnsureKnown:
    """Services whose readings list only accounts with running jobs."""

    @pytest.fixture
    def directory(self, service):
        return AccountDirectory("mine", service.ask, lambda: service.now, are_idle=True)

    def busy(self, *user_ids):
        return parsed({user_id: {"running": 1, "maxJobs": 4} for user_id in user_ids}, "flowmusic")

    def test_ensure_known_asks_at_most_once_a_minute(self, service, directory):
        for _ in range(13):
            directory.ensure_known(self.busy("alice"))
            service.now += 5

        assert service.asked == 1
        service.now += 5
        directory.ensure_known(self.busy("alice"))
        assert service.asked == 2

    def test_ensure_known_unknown_account_is_asked_about_once(self, service, directory):
        directory.ensure_known(self.busy("alice"))
        for _ in range(5):
            service.now += 5
            directory.ensure_known(self.busy("alice", "bob"))

        assert service.asked == 2

    def test_ensure_known_no_account_was_ever_known_is_the_error(self, service, directory):
        service.answer = DOWN

        with pytest.raises(RiffusionUnavailable, match="503"):
            directory.ensure_known(self.busy())

    def test_ensure_known_accounts_that_were_known_outlast_a_failure(self, service, directory):
        directory.ensure_known(self.busy())
        service.answer, service.now = DOWN, service.now + 61

        directory.ensure_known(self.busy())

        assert directory.complete(self.busy()).slots == {"alice": 4}
