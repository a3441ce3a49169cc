from __future__ import annotations

import pytest

from airflow_riffusion.core.capacity import ExecutingJob
from airflow_riffusion.core.jobs import JobLedger, WantedJob
from tests.readings import job, reading

NONE = reading(a=1)


@pytest.fixture
def ledger():
    return JobLedger()


def updates(ledger, *readings, now=0.0):
    """Return the updates of each reading, as (watcher, job id or None)."""
    return [
        [(update.watcher_id, update.job and update.job.job_id) for update in ledger.observe(each, now)]
        for each in readings
    ]


def test_jobs_job_that_two_readings_in_a_row_miss_is_over(ledger):
    ledger.join("w", WantedJob(job_ids=("1",)), unseen_until=0)
    there = reading(job("1", "a"), a=0)

    assert updates(ledger, there, NONE, there, NONE, NONE, NONE) == [[], [], [], [], [("w", "1")], []]
    assert len(ledger) == 0


def test_jobs_job_without_a_known_id_is_found_by_its_reference(ledger):
    ledger.join("w", WantedJob(reply_ref="ref"), unseen_until=0)
    others = reading(job("1", "a", "another"), job("2", "a"), a=0)
    there = reading(job("1", "a", "another"), job("2", "a"), job("3", "a", "ref"), a=0)

    assert updates(ledger, others, there, others, others) == [[], [], [], [("w", "3")]]


def test_jobs_job_with_a_known_id_is_not_another_with_its_reference(ledger):
    ledger.join("w", WantedJob(job_ids=("1",), reply_ref="ref"), unseen_until=0)
    both, other = reading(job("1", "a", "ref"), job("2", "a", "ref"), a=0), reading(job("2", "a", "ref"), a=0)

    assert updates(ledger, both, other, other) == [[], [], [("w", "1")]]


def test_jobs_listed_job_without_id_is_not_one_whose_id_is_unknown(ledger):
    ledger.join("w", WantedJob(reply_ref="ref", until_seen=True), unseen_until=100)

    assert updates(ledger, reading({"user_id": "a"}, a=0)) == [[]]


def test_jobs_watch_until_seen_ends_at_first_sight(ledger):
    ledger.join("w", WantedJob(reply_ref="ref", until_seen=True), unseen_until=0)

    assert updates(ledger, NONE, reading(job("1", "a", "ref"), a=0)) == [[], [("w", "1")]]


@pytest.mark.parametrize("until_seen", [True, False])
def test_jobs_job_that_is_never_seen_is_given_up_after_two_readings(ledger, until_seen):
    ledger.join("w", WantedJob(job_ids=("1",), until_seen=until_seen), unseen_until=0)

    assert updates(ledger, NONE, NONE) == [[], [("w", None)]]


def test_jobs_job_that_may_be_on_its_way_is_not_given_up(ledger):
    ledger.join("w", WantedJob(job_ids=("1",)), unseen_until=100)

    assert updates(ledger, NONE, NONE, NONE, now=99) == [[], [], []]
    assert updates(ledger, NONE, now=100) == [[("w", None)]]


def test_jobs_job_that_was_seen_may_be_over_before_unseen_until(ledger):
    ledger.join("w", WantedJob(job_ids=("1",)), unseen_until=100)

    assert updates(ledger, reading(job("1", "a"), a=0), NONE, NONE, now=1) == [[], [], [("w", "1")]]


def test_jobs_watches_of_the_same_job_end_together(ledger):
    ledger.join("v", WantedJob(job_ids=("1",), until_seen=True), unseen_until=0)
    ledger.join("w", WantedJob(job_ids=("1",), until_seen=True), unseen_until=0)

    assert updates(ledger, reading(job("1", "a"), a=0)) == [[("v", "1"), ("w", "1")]]


def test_jobs_watch_that_has_left_is_not_ended_again(ledger):
    ledger.join("w", WantedJob(job_ids=("1",)), unseen_until=0)
    ledger.leave("w")
    ledger.leave("w")

    assert updates(ledger, NONE, NONE) == [[], []]


def test_jobs_one_missed_job_of_several_is_in_doubt(ledger):
    ledger.join("v", WantedJob(job_ids=("1",)), unseen_until=0)
    ledger.join("w", WantedJob(job_ids=("2",)), unseen_until=0)
    both = reading(job("1", "a"), job("2", "a"), a=0)

    doubts = []
    for each in (both, reading(job("1", "a"), a=0), both):
        ledger.observe(each, now=0)
        doubts.append(ledger.in_doubt(now=0))

    assert doubts == [False, True, False]


def test_jobs_job_that_may_be_on_its_way_is_not_in_doubt(ledger):
    ledger.join("w", WantedJob(job_ids=("1",)), unseen_until=100)
    ledger.observe(NONE, now=0)

    assert [ledger.in_doubt(now) for now in (99, 100)] == [False, True]


def test_jobs_job_that_was_missed_is_known_as_seen_last(ledger):
    ledger.join("w", WantedJob(job_ids=("1",)), unseen_until=0)
    before = ledger.seen("w")
    there = reading(job("1", "a"), a=0)
    updates(ledger, there, NONE)

    assert (before, ledger.seen("w")) == (None, there.jobs[0])


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        (WantedJob(job_ids=("1",), reply_ref="ref"), "job 1"),
        (WantedJob(reply_ref="ref"), "a job with replyRef 'ref'"),
    ],
)
def test_wanted_job_is_called_by_its_id_or_else_by_its_reference(wanted, said):
    assert str(wanted) == said


def unnamed(*job_ids, status="withheld"):
    """Return a reading of jobs whose references are not known."""
    jobs = [ExecutingJob(job_id=each, user_id="a", reference_status=status) for each in job_ids]
    return NONE.model_copy(update={"jobs": tuple(jobs)})


def test_jobs_reading_with_a_job_that_was_not_asked_yet_tells_nothing(ledger):
    ledger.join("w", WantedJob(reply_ref="ref"), unseen_until=0)

    assert updates(ledger, *[unnamed("1", status="unknown")] * 5, NONE, NONE)[-2:] == [[], [("w", None)]]


def test_jobs_job_that_does_not_tell_its_reference_makes_the_end_ambiguous(ledger):
    ledger.join("w", WantedJob(reply_ref="ref"), unseen_until=0)
    ledger.observe(unnamed("1"), 0)

    (update,) = ledger.observe(unnamed("1"), 0)

    assert (update.job, update.ambiguous.job_id) == (None, "1")


def test_jobs_job_on_another_account_is_not_ambiguous(ledger):
    ledger.join("w", WantedJob(reply_ref="ref", user_ids=frozenset({"b"})), unseen_until=0)
    ledger.observe(unnamed("1"), 0)

    assert ledger.observe(unnamed("1"), 0)[0].ambiguous is None


def test_jobs_two_jobs_of_one_submission_are_over_when_both_are(ledger):
    ledger.join("w", WantedJob(job_ids=("1", "2")), unseen_until=0)
    second = reading(job("2", "a"), a=0)

    assert updates(ledger, second, second, NONE, NONE) == [[], [], [], [("w", "2")]]
