from __future__ import annotations

import pytest

from airflow_riffusion.core.outcome import checked_result_endpoint, failure, fill_in, refusal, scrub


@pytest.mark.parametrize("answer", [{"job_id": "1"}, {}, {"error": None}, [], "text"])
def test_refusal_nothing_is_said_is_none(answer):
    assert refusal(answer) is None


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ({"error": "no such model"}, "no such model"),
        ({"error": {"code": 7, "message": "no such model"}}, "no such model"),
        ({"is_flagged": True, "reason": "violence"}, "the prompt was moderated: violence"),
        ({"is_flagged": True, "error": "violence"}, "the prompt was moderated: violence"),
    ],
)
def test_refusal_error_in_the_answer_is_the_reason(answer, reason):
    assert refusal(answer) == reason


@pytest.mark.parametrize(
    ("result", "reason"),
    [
        ({"status": "failed"}, "failed"),
        ({"status": "ERROR"}, "ERROR"),
        ({"status": "completed", "error": "too loud"}, "too loud"),
        ({"error": {"message": "too loud"}}, "too loud"),
        ([{"status": "completed"}, {"error": "too loud"}], "too loud"),
        ({"error": "x" * 1000}, "x" * 500),
        ({"status": "completed"}, None),
        ({}, None),
        ([], None),
        (None, None),
    ],
)
def test_failure_outcome_says_that_the_job_failed_is_the_reason(result, reason):
    assert failure(result) == reason


def test_scrub_callback_urls_lose_their_secrets_at_any_depth():
    said = {
        "songs": [{"replyUrl": "https://me:pw@x.io/a?token=1", "title": "a?b"}],
        "reply_url": "https://x.io/?t",
    }

    assert scrub(said) == {
        "songs": [{"replyUrl": "https://x.io/a", "title": "a?b"}],
        "reply_url": "https://x.io/",
    }


def test_fill_in_quotes_what_is_filled_in():
    assert (
        fill_in("music/?u={user_id}&id={job_id}", job_id="a:1/2", user_id="b@c") == "music/?u=b@c&id=a:1%2F2"
    )


@pytest.mark.parametrize(
    ("endpoint", "said"),
    [
        ("music/?id={id}", "{job_id} and {user_id} filled in, not {id}"),
        ("music/?id={job_id", "can't be filled in"),
        ("", "result_endpoint: an endpoint is a path"),
        ("../accounts", "result_endpoint: an endpoint is a path"),
        (3, "result_endpoint must be text"),
    ],
)
def test_checked_result_endpoint_cant_be_asked_is_an_error(endpoint, said):
    with pytest.raises(ValueError, match=said):
        checked_result_endpoint(endpoint)


@pytest.mark.parametrize("endpoint", [None, "music/?id={job_id}", "music/latest"])
def test_checked_result_endpoint_can_be_asked_is_returned(endpoint):
    assert checked_result_endpoint(endpoint) == endpoint


@pytest.mark.parametrize(
    "answer",
    [
        {"is_flagged": True, "reason": None, "replyUrl": "https://me:pw@x.io/a?token=1"},
        {"error": {"code": 5, "request": {"replyUrl": "https://me:pw@x.io/a?token=1"}}},
    ],
)
def test_refusal_quotes_no_secret_of_a_callback_url(answer):
    assert "https://x.io/a" in refusal(answer)
    assert "pw" not in refusal(answer)
    assert "token" not in refusal(answer)
