from __future__ import annotations

import pytest

from airflow_riffusion.core.outcome import Accepted, Audio, Outcome, State
from airflow_riffusion.services.riffusion import SERVICE


def test_riffusion_submission_answer_names_job_and_account():
    assert SERVICE.accepted({"job_id": "1", "user_id": "a"}) == Accepted(("1",), "a")


def test_riffusion_moderated_prompt_is_refused_with_its_reason():
    assert SERVICE.refusal({"is_flagged": True, "reason": "rude"}) == "the prompt was moderated: rude"


def test_riffusion_outcome_is_asked_for_by_account_and_job():
    assert SERVICE.outcome_endpoint("1", "a@b", "music/create-prompt") == "music/?user_id=a@b&id=1"
    assert SERVICE.outcome_endpoint("1", None, "music/create-prompt") == "music/?id=1"


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        ([{"status": "executing"}], Outcome(State.RUNNING)),
        ([{"status": "failed", "error": "no lyrics"}], Outcome(State.FAILED, "no lyrics")),
        (
            [{"status": "completed", "download_url": "https://example.com/1.m4a"}],
            Outcome(State.DONE, audio=(Audio("https://example.com/1.m4a"),)),
        ),
        ([{"anything": "else"}], Outcome(State.DONE)),
    ],
)
def test_riffusion_outcome_is_read_leniently(answer, outcome):
    assert SERVICE.outcome(answer) == outcome
