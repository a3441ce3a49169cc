from __future__ import annotations

import pytest

from airflow_riffusion.core.outcome import Accepted, Outcome, State
from airflow_riffusion.services.tempolor import SERVICE
from tests.readings import parsed

ONE, TWO = "user:12345-tempolor:67890-job:abc", "user:12345-tempolor:67890-job:def"


def test_tempolor_listed_job_has_the_account_in_its_id():
    reading = parsed({"executing": [{"job_id": ONE}]}, "tempolor")

    assert reading.jobs[0].user_id == "67890"


def test_tempolor_submission_answer_names_both_jobs():
    assert SERVICE.accepted({"jobs": [ONE, TWO], "unlimited": True}) == Accepted((ONE, TWO), "67890")


@pytest.mark.parametrize("status", [0, 9, "5", None])
def test_tempolor_low_status_is_running(status):
    assert SERVICE.outcome({"status": status, "status_final": False}).state is State.RUNNING


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ({"status": 12}, "status 12"),
        ({"status": 12, "status_name": "BLOCKED"}, "BLOCKED"),
        ({"status": 12, "status_name": "FAILED", "error": "no credits"}, "no credits"),
        ({"status_name": "FAILED", "status_final": True}, "FAILED"),
    ],
)
def test_tempolor_failed_status_says_why(answer, reason):
    assert SERVICE.outcome(answer) == Outcome(State.FAILED, reason)


@pytest.mark.parametrize("answer", [{"status": 30}, {"status": 31, "progress": 100}, {"status_final": True}])
def test_tempolor_high_status_is_done(answer):
    assert SERVICE.outcome(answer) == Outcome(State.DONE)


def test_tempolor_audio_is_asked_for_on_its_own():
    assert SERVICE.audio_endpoint(ONE) == f"music/download/{ONE}"


def test_tempolor_empty_list_of_jobs_is_a_refusal():
    assert SERVICE.refusal({"jobs": []}) == "the list of jobs is empty"
