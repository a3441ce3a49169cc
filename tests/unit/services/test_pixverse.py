from __future__ import annotations

import pytest

from airflow_riffusion.core.outcome import Accepted, Audio, Outcome, State
from airflow_riffusion.services.pixverse import SERVICE
from tests.readings import parsed

JOB_ID = "user:12345-pixverse:one@example.com-music:987"


def test_pixverse_endpoints_begin_with_version_two():
    assert SERVICE.path == "v2/pixverse"


def test_pixverse_free_slots_are_the_smallest_of_its_numbers():
    account = {"email": "one@example.com", "maxJobs": 8, "executing": 3, "available": 2}

    assert parsed({"available": [account]}, "pixverse").available == 2


@pytest.mark.parametrize("field", ["id", "video_id"])
def test_pixverse_listed_job_has_the_account_in_its_id(field):
    (job,) = parsed({"executing": [{field: JOB_ID, "type": "music"}]}, "pixverse").jobs

    assert (job.job_id, job.user_id) == (JOB_ID, "one@example.com")


def test_pixverse_submission_answer_names_the_piece_of_music():
    assert SERVICE.accepted({"audio_id": JOB_ID}) == Accepted((JOB_ID,), "one@example.com")


def test_pixverse_outcome_is_known_of_music_only():
    assert SERVICE.outcome_endpoint("1", None, "music/create") == "music/1"
    assert SERVICE.outcome_endpoint("1", None, "videos/create") is None


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        ({"audio_status_final": False, "audio_status_name": "GENERATING"}, Outcome(State.RUNNING)),
        (
            {"audio_status_final": True, "audio_status_name": "COMPLETED", "url": "https://example.com/1"},
            Outcome(State.DONE, audio=(Audio("https://example.com/1"),)),
        ),
        (
            {"audio_status_final": True, "audio_status_name": "moderated"},
            Outcome(State.FAILED, "moderated"),
        ),
        (
            {"audio_status_final": True, "audio_status_name": "FAILED", "fail_reason": "too long"},
            Outcome(State.FAILED, "too long"),
        ),
        ({"audio_status_final": True}, Outcome(State.FAILED, "it ended without audio")),
    ],
)
def test_pixverse_outcome_ends_with_its_final_flag(answer, outcome):
    assert SERVICE.outcome(answer) == outcome
