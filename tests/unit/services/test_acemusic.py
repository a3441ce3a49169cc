from __future__ import annotations

from airflow_riffusion.core.outcome import Audio, State
from airflow_riffusion.services.acemusic import SERVICE
from tests.readings import NOON


def test_acemusic_capacity_reads_the_running_jobs():
    payload = {
        "jobs": [
            {
                "jobid": "j1",
                "type": "music",
                "status": "processing",
                "email": "one@example.com",
                "created": "2026-11-26T10:00:00Z",
                "replyRef": "mine",
            }
        ]
    }

    (job,) = SERVICE.parse_capacity(payload, observed_at=NOON).jobs

    assert (job.job_id, job.user_id, job.reply_ref) == ("j1", "one@example.com", "mine")
    assert job.reference_status == "known"


def test_acemusic_answer_that_waited_for_the_song_has_ended():
    assert SERVICE.has_ended({"jobid": "j1", "status": "completed", "songs": []})


def test_acemusic_answer_that_did_not_wait_has_not_ended():
    assert not SERVICE.has_ended({"jobid": "j1", "status": "processing"})


def test_acemusic_outcome_prefers_the_address_that_lasts():
    songs = [{"playUrl": "https://example.com/hour", "audioUrl": "https://example.com/lasts"}]

    outcome = SERVICE.outcome({"status": "completed", "songs": songs})

    assert (outcome.state, outcome.audio) == (State.DONE, (Audio("https://example.com/lasts"),))


def test_acemusic_songs_without_a_status_are_the_end():
    assert SERVICE.has_ended({"songs": [{"audioUrl": "https://example.com/1"}]})


def test_acemusic_songs_of_a_job_that_runs_are_not_the_end():
    assert not SERVICE.has_ended({"jobid": "1", "status": "processing", "songs": [{"songId": "2"}]})
