from __future__ import annotations

import pytest

from airflow_riffusion.core.jobs import JobLedger, WantedJob
from tests.readings import job, reading

NONE = reading(a=1)


@pytest.fixture
def ledger():
    return JobLedger()


def sightings(ledger, *readings, now=0.0):
    """Return what each of the readings told, as (watcher, job's id or None)."""
    told = []
    for each in readings:
        seen = ledger.observe(each, now)
        told.append([(update.watcher_id, update.job and update.job.job_id) for update in seen])
    return told


def test_a_job_is_over_when_two_readings_in_a_row_miss_it(ledger):
    ledger.join("w", WantedJob(job_id="1"), unseen_until=0)
    there = reading(job("1", "a"), a=0)

    assert sightings(ledger, there, NONE, there, NONE, NONE, NONE) == [[], [], [], [], [("w", "1")], []]
    assert len(ledger) == 0


def test_a_job_is_found_by_its_reference_where_its_id_is_not_known(ledger):
    ledger.join("w", WantedJob(reply_ref="ref"), unseen_until=0)
    others = reading(job("1", "a", "another"), job("2", "a"), a=0)
    there = reading(job("1", "a", "another"), job("2", "a"), job("3", "a", "ref"), a=0)

    assert sightings(ledger, others, there, others, others) == [[], [], [], [("w", "3")]]


def test_a_job_whose_id_is_known_is_not_taken_for_another_with_its_reference(ledger):
    ledger.join("w", WantedJob(job_id="1", reply_ref="ref"), unseen_until=0)
    both, other = reading(job("1", "a", "ref"), job("2", "a", "ref"), a=0), reading(job("2", "a", "ref"), a=0)

    assert sightings(ledger, both, other, other) == [[], [], [("w", "1")]]


def test_a_job_without_id_is_not_taken_for_one_whose_id_is_unknown(ledger):
    ledger.join("w", WantedJob(reply_ref="ref", until_seen=True), unseen_until=100)

    assert sightings(ledger, reading({"user_id": "a"}, a=0)) == [[]]


def test_who_looks_for_a_job_is_told_at_first_sight(ledger):
    ledger.join("w", WantedJob(reply_ref="ref", until_seen=True), unseen_until=0)

    assert sightings(ledger, NONE, reading(job("1", "a", "ref"), a=0)) == [[], [("w", "1")]]


@pytest.mark.parametrize("until_seen", [True, False])
def test_a_job_that_is_never_seen_is_given_up_after_two_readings(ledger, until_seen):
    ledger.join("w", WantedJob(job_id="1", until_seen=until_seen), unseen_until=0)

    assert sightings(ledger, NONE, NONE) == [[], [("w", None)]]


def test_a_job_that_may_be_on_its_way_is_not_given_up(ledger):
    ledger.join("w", WantedJob(job_id="1"), unseen_until=100)

    assert sightings(ledger, NONE, NONE, NONE, now=99) == [[], [], []]
    assert sightings(ledger, NONE, now=100) == [[("w", None)]]


def test_a_job_that_was_seen_is_over_however_long_it_may_have_been_on_its_way(ledger):
    ledger.join("w", WantedJob(job_id="1"), unseen_until=100)

    assert sightings(ledger, reading(job("1", "a"), a=0), NONE, NONE, now=1) == [[], [], [("w", "1")]]


def test_several_may_watch_the_same_job(ledger):
    ledger.join("v", WantedJob(job_id="1", until_seen=True), unseen_until=0)
    ledger.join("w", WantedJob(job_id="1", until_seen=True), unseen_until=0)

    assert sightings(ledger, reading(job("1", "a"), a=0)) == [[("v", "1"), ("w", "1")]]


def test_who_left_is_told_nothing(ledger):
    ledger.join("w", WantedJob(job_id="1"), unseen_until=0)
    ledger.leave("w")
    ledger.leave("w")

    assert sightings(ledger, NONE, NONE) == [[], []]


def test_one_missed_job_of_several_is_in_doubt(ledger):
    ledger.join("v", WantedJob(job_id="1"), unseen_until=0)
    ledger.join("w", WantedJob(job_id="2"), unseen_until=0)
    both = reading(job("1", "a"), job("2", "a"), a=0)

    doubts = []
    for each in (both, reading(job("1", "a"), a=0), both):
        ledger.observe(each, now=0)
        doubts.append(ledger.in_doubt(now=0))

    assert doubts == [False, True, False]


def test_a_job_that_may_be_on_its_way_is_not_in_doubt(ledger):
    ledger.join("w", WantedJob(job_id="1"), unseen_until=100)
    ledger.observe(NONE, now=0)

    assert [ledger.in_doubt(now) for now in (99, 100)] == [False, True]


def test_a_job_is_shown_as_it_was_seen_last(ledger):
    ledger.join("w", WantedJob(job_id="1"), unseen_until=0)
    before = ledger.seen("w")
    there = reading(job("1", "a"), a=0)
    sightings(ledger, there, NONE)

    assert (before, ledger.seen("w")) == (None, there.jobs[0])


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        (WantedJob(job_id="1", reply_ref="ref"), "job 1"),
        (WantedJob(reply_ref="ref"), "a job with replyRef 'ref'"),
    ],
)
def test_a_job_is_called_by_its_id_or_else_by_its_reference(wanted, said):
    assert str(wanted) == said
