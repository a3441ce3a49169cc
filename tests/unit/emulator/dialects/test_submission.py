from __future__ import annotations

import pytest

SUBMIT = "/v1/riffusion/music/create-prompt"


@pytest.mark.parametrize(
    ("submission", "complaint"),
    [
        ({}, "prompt: Field required"),
        ({"prompt": ""}, "prompt: must not be empty"),
        ({"prompt": " \n"}, "prompt: must not be empty"),
        ({"prompt": None}, "prompt: "),
        ({"prompt": 5}, "prompt: "),
        ({"prompt": "x", "instrumental": "yes"}, "instrumental: "),
        ({"prompt": "x", "user_id": "three"}, "user_id: no such account"),
        ({"prompt": "x", "user_id": 1}, "user_id: "),
        ({"prompt": "x", "maxJobs": 0}, "maxJobs: "),
        ({"prompt": "x", "maxJobs": 11}, "maxJobs: "),
        ({"prompt": "x", "maxJobs": "2"}, "maxJobs: "),
        ({"prompt": "x", "maxJobs": True}, "maxJobs: "),
        ({"prompt": "x", "replyRef": "r" * 1025}, "replyRef: "),
        ({"prompt": "x", "replyUrl": "https://example.com/" + "r" * 1024}, "replyUrl: "),
        ({"prompt": "x", "replyUrl": "ftp://example.com/"}, "replyUrl: must be an http:// or https:// URL"),
        ({"prompt": "x", "replyUrl": "example.com"}, "replyUrl: must be an http:// or https:// URL"),
        ({"prompt": "x", "replyUrl": "http://"}, "replyUrl: must be an http:// or https:// URL"),
        ({"prompt": "x", "replyUrl": ""}, "replyUrl: must be an http:// or https:// URL"),
        ([], "a JSON object is expected"),
        ("a prompt", "a JSON object is expected"),
        (None, "a JSON object is expected"),
    ],
)
def test_create_prompt_invalid_field_answers_400_with_the_reason(client, service, submission, complaint):
    answer = client.post(SUBMIT, json=submission)
    assert (answer.status_code, answer.json()["code"]) == (400, 400)
    assert answer.json()["error"].startswith(complaint)
    assert service.jobs() == []


@pytest.mark.parametrize(
    ("body", "complaint"),
    [
        (b'{"prompt": "cut off', "the body is not valid JSON"),
        (b"", "a JSON object is expected"),
        (b'{"prompt": "\\ud800"}', "prompt: must be text"),
        (b'{"prompt": "x", "user_id": "\\ud800"}', "user_id: must be text"),
        (b'{"prompt": "x", "replyRef": "\\ud800"}', "replyRef: must be text"),
        (b'{"prompt": "x", "replyUrl": "http://\\ud800/"}', "replyUrl: must be text"),
        (b'{"prompt": "x", "maxJobs": NaN}', "maxJobs: "),
        (b"\xff\xfe", "the body is not valid JSON"),
        (b"\xff", "There was an error parsing the body"),
        (b'{"prompt": "x", "maxJobs": ' + b"9" * 5000 + b"}", "There was an error parsing the body"),
        (b"[" * 100_000, "There was an error parsing the body"),
    ],
)
def test_create_prompt_bad_json_answers_400(client, body, complaint):
    answer = client.post(SUBMIT, content=body, headers={"Content-Type": "application/json"})
    assert answer.json()["code"] == answer.status_code == 400
    assert answer.json()["error"].startswith(complaint)


def test_create_prompt_other_content_type_answers_400(client):
    answer = client.post(SUBMIT, content=b'{"prompt": "x"}', headers={"Content-Type": "text/plain"})
    assert answer.json()["error"].startswith("a JSON object is expected as body, with Content-Type")


def test_create_prompt_longest_reply_fields_are_taken(client, service):
    url = "https://example.com/".ljust(1024, "u")
    client.post(SUBMIT, json={"prompt": "x", "replyUrl": url, "replyRef": "r" * 1024})
    assert [len(job.reply_url) for job in service.jobs()] == [1024]
