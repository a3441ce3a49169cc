from __future__ import annotations

import pytest

from airflow_riffusion.core.backoff import Backoff


def longest(low, high):
    return high


def shortest(low, high):
    return low


def test_backoff_each_failure_doubles_the_longest_pause_up_to_a_limit():
    backoff = Backoff(10, uniform=longest)

    assert [backoff.failed(1000) - 1000 for _ in range(7)] == [20, 40, 80, 160, 300, 300, 300]


def test_backoff_pause_is_never_shorter_than_the_interval():
    backoff = Backoff(10, uniform=shortest)

    assert [backoff.failed(0) for _ in range(3)] == [10, 10, 10]


def test_backoff_interval_over_the_limit_stays_as_it_is():
    assert Backoff(3600, uniform=longest).failed(0) == 3600


def test_backoff_limit_that_is_the_interval_keeps_the_pause():
    backoff = Backoff(60, longest=60)

    assert [backoff.failed(0) for _ in range(3)] == [60, 60, 60]


def test_backoff_hundred_thousand_failures_are_no_overflow():
    backoff = Backoff(5, uniform=longest, failures=100_000)

    assert backoff.failed(0) == 300


@pytest.mark.parametrize(("retry_after", "pause"), [(None, 10), (0, 10), (3, 10), (95, 95), (1e9, 600)])
def test_backoff_retry_after_is_kept_up_to_ten_minutes(retry_after, pause):
    assert Backoff(10, uniform=shortest).failed(0, retry_after) == pause


def test_backoff_success_forgets_the_failures():
    backoff = Backoff(10, uniform=longest)
    backoff.failed(0, 500)
    backoff.succeeded()

    assert backoff.not_before == float("-inf")
    assert backoff.failed(0) == 20


@pytest.mark.parametrize(
    ("answers", "gives_up"),
    [("b", False), ("bb", False), ("bbb", True), ("bbub", False), ("bbsbb", False), ("ubbb", True)],
)
def test_backoff_gives_up_after_three_bad_answers_in_a_row(answers, gives_up):
    backoff = Backoff(10)
    for answer in answers:
        if answer == "s":
            backoff.succeeded()
        else:
            backoff.failed(0, bad_answer=answer == "b")

    assert backoff.gives_up is gives_up
