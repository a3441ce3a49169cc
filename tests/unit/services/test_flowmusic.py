from __future__ import annotations

import pytest

from airflow_riffusion.core.capacity import CapacityFormatError
from airflow_riffusion.core.outcome import Audio, Outcome, State
from airflow_riffusion.services.flowmusic import SERVICE
from tests.readings import NOON

JOB_ID = "job:0b1c-user:1234-one@example.com-bot:flowmusic"


def parse(payload):
    return SERVICE.parse_capacity(payload, observed_at=NOON)


def test_flowmusic_capacity_reads_busy_accounts_and_their_jobs():
    reading = parse(
        {
            "one@example.com": {
                "running": 1,
                "maxJobs": 12,
                "jobs": [{"jobid": JOB_ID, "status": "pending", "created_at": "2026-11-26T10:00:00Z"}],
            }
        }
    )

    (account,) = reading.accounts
    assert (account.user_id, account.max_jobs, account.executing, account.available) == (
        "one@example.com",
        12,
        1,
        11,
    )
    (job,) = reading.jobs
    assert (job.job_id, job.user_id, job.reference_status) == (JOB_ID, "one@example.com", "unknown")
    assert job.started.isoformat() == "2026-11-26T10:00:00+00:00"


def test_flowmusic_account_with_more_jobs_than_slots_has_none_free():
    reading = parse({"one@example.com": {"running": 14, "maxJobs": 12, "jobs": []}})

    assert reading.available == 0


def test_flowmusic_account_without_max_jobs_takes_the_connections():
    payload = {"one@example.com": {"running": 1, "jobs": []}}

    assert SERVICE.parse_capacity(payload, observed_at=NOON, max_jobs=4).available == 3


@pytest.mark.parametrize("payload", [{"one@example.com": 3}, {"one@example.com": {"message": "hello"}}])
def test_flowmusic_capacity_of_another_shape_is_an_error(payload):
    with pytest.raises(CapacityFormatError):
        parse(payload)


def test_flowmusic_submission_answer_names_its_job():
    assert SERVICE.accepted({"jobid": JOB_ID, "status": "pending"}).job_ids == (JOB_ID,)


@pytest.mark.parametrize("status", ["pending", "processing", "anything", None])
def test_flowmusic_outcome_before_the_end_is_running(status):
    assert SERVICE.outcome({"jobid": JOB_ID, "status": status}) == Outcome(State.RUNNING)


def test_flowmusic_completed_outcome_has_the_audio_of_each_clip():
    clips = [
        {"audio_url": "https://example.com/1.m4a", "title": "Polka", "duration_s": 93.2},
        {"wav_url": "https://example.com/2.wav"},
        {"audio_url": "javascript:alert(1)"},
    ]

    outcome = SERVICE.outcome({"jobid": JOB_ID, "status": "completed", "clips": clips})

    assert outcome == Outcome(
        State.DONE,
        audio=(
            Audio("https://example.com/1.m4a", "Polka", 93.2),
            Audio("https://example.com/2.wav", None, None),
        ),
    )


def test_flowmusic_failed_outcome_has_the_services_reason():
    answer = {"jobid": JOB_ID, "status": "failed", "error": {"code": 3, "message": "no lyrics"}}

    assert SERVICE.outcome(answer) == Outcome(State.FAILED, "no lyrics")


def test_flowmusic_job_names_the_reference_that_it_was_submitted_with():
    assert SERVICE.reference_of({"request": {"prompt": "a", "replyRef": "mine"}}) == "mine"


def test_flowmusic_job_submitted_without_a_reference_has_none():
    assert SERVICE.reference_of({"request": {"prompt": "a"}}) is None


@pytest.mark.parametrize("answer", [{}, {"request": None}, "text"])
def test_flowmusic_job_without_its_request_does_not_tell_the_reference(answer):
    with pytest.raises(LookupError):
        SERVICE.reference_of(answer)


def test_flowmusic_account_that_lists_more_jobs_than_it_counts_has_as_many_slots_taken():
    reading = parse({"a": {"running": 0, "maxJobs": 2, "jobs": [{"jobid": "1"}, {"jobid": "2"}]}})

    assert reading.available == 0


def test_flowmusic_job_without_an_id_cant_be_asked_for_its_reference():
    assert (
        parse({"a": {"running": 1, "jobs": [{"status": "pending"}]}}).jobs[0].reference_status == "withheld"
    )
