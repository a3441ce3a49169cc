from __future__ import annotations

import pytest

from airflow_riffusion.core.capacity import CapacityFormatError
from airflow_riffusion.core.outcome import Audio, Outcome, State
from airflow_riffusion.services.mureka import SERVICE
from tests.readings import NOON


def parse(payload):
    return SERVICE.parse_capacity(payload, observed_at=NOON, max_jobs=10)


BUSY = {
    "total": 3,
    "music": 2,
    "tts": 1,
    "accounts": {"a": {"total": 3, "music": 2, "tts": 1, "jobs": [{"jobid": "1", "verb": "create"}]}},
    "availableAccounts": ["a", "b"],
}


def test_mureka_slots_are_the_connections_less_the_running_songs():
    reading = parse(BUSY)

    assert {account.user_id: account.available for account in reading.accounts} == {"a": 8, "b": 10}


def test_mureka_job_is_on_the_account_that_lists_it():
    (job,) = parse(BUSY).jobs

    assert (job.job_id, job.user_id, job.reference_status) == ("1", "a", "unknown")


def test_mureka_account_that_is_not_configured_takes_no_jobs():
    reading = parse({**BUSY, "availableAccounts": ["b"]})

    assert {account.user_id: account.available for account in reading.accounts} == {"b": 10, "a": 0}


@pytest.mark.parametrize(
    "payload",
    [
        {"accounts": {}},
        {"accounts": [], "availableAccounts": "a"},
        {"accounts": {"a": 1}, "availableAccounts": ["a"]},
    ],
)
def test_mureka_capacity_of_another_shape_is_an_error(payload):
    with pytest.raises(CapacityFormatError):
        parse(payload)


def test_mureka_completed_outcome_has_the_audio_of_each_song():
    songs = [{"mp3_url": "https://example.com/1.mp3", "title": "Polka", "duration_milliseconds": 93_200}]

    outcome = SERVICE.outcome({"status": "completed", "response": {"songs": songs}})

    assert outcome == Outcome(State.DONE, audio=(Audio("https://example.com/1.mp3", "Polka", 93.2),))


def test_mureka_failed_outcome_has_the_details():
    outcome = SERVICE.outcome({"status": "failed", "errorDetails": "too long"})

    assert outcome == Outcome(State.FAILED, "too long")
