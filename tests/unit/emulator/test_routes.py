from __future__ import annotations

import pytest

from airflow_riffusion.emulator.dialects import DIALECTS

AVAILABLE = "/v1/riffusion/scheduler/available"
SCHEDULER = "/v1/riffusion/scheduler"
SUBMIT = "/v1/riffusion/music/create-prompt"


def test_available_lists_jobs_and_accounts(client, service, clock):
    service.submit("a prompt", user_id="two", reply_ref="mine", reply_url="https://example.com/done?key=1")
    clock.advance(5)
    assert client.get(AVAILABLE).json() == {
        "executing": [
            {
                "job_id": "job-1",
                "user_id": "two",
                "started": "2025-02-12T01:55:16.128Z",
                "elapsed": "00:05",
                "replyUrl": "https://example.com/done?key=1",
                "replyRef": "mine",
            }
        ],
        "available": [
            {"user_id": "one", "maxJobs": 2, "executing": 0, "available": 2},
            {"user_id": "two", "maxJobs": 2, "executing": 1, "available": 1},
        ],
    }


def test_scheduler_lists_executing_jobs(client, service):
    service.submit("a prompt", user_id="one")
    assert client.get(SCHEDULER).json() == [
        {"job_id": "job-1", "user_id": "one", "started": "2025-02-12T01:55:16.128Z", "elapsed": "00:00"}
    ]


def test_scheduler_path_with_slash_is_the_same(client):
    assert client.get(f"{SCHEDULER}/").json() == []


def test_create_prompt_answers_with_job_and_account(client):
    answer = client.post(SUBMIT, json={"prompt": "a prompt", "user_id": "two"})
    assert (answer.status_code, answer.json()) == (200, {"job_id": "job-1", "user_id": "two"})


def test_create_prompt_known_fields_are_kept(client, service):
    client.post(
        SUBMIT,
        json={
            "prompt": "a prompt",
            "instrumental": True,
            "replyUrl": "http://127.0.0.1:1/done",
            "replyRef": "mine",
            "maxJobs": 2,
            "model": "a field that is not known here",
        },
    )
    (job,) = service.jobs()
    assert (job.prompt, job.instrumental, job.reply_url, job.reply_ref) == (
        "a prompt",
        True,
        "http://127.0.0.1:1/done",
        "mine",
    )


@pytest.mark.parametrize(
    ("dialect", "field", "answer"),
    [
        ("tempolor", "user_id", {"job_id": "job-1", "user_id": "two"}),
        ("kling", "email", {"id": "job-1", "email": "two"}),
        ("ltxstudio", "email", {"jobId": "job-1", "email": "two"}),
    ],
)
def test_create_prompt_of_each_service_takes_its_names(client_for, dialect, field, answer):
    submission = {"prompt": "a prompt", field: "two"}
    assert client_for(dialect).post(f"/v1/{dialect}/music/create-prompt", json=submission).json() == answer


def test_create_prompt_full_account_answers_429(client, service):
    service.submit("a prompt", user_id="one")
    service.submit("a prompt", user_id="one")
    answer = client.post(SUBMIT, json={"prompt": "a prompt", "user_id": "one"})
    assert (answer.status_code, answer.json()["code"]) == (429, 429)


@pytest.mark.parametrize("dialect", DIALECTS)
def test_accounts_of_each_service_are_listed(client_for, service, dialect):
    service.log_out("two")
    accounts = client_for(dialect).get(f"/v1/{dialect}/accounts").json()
    assert [(name, "error" in account) for name, account in accounts.items()] == [
        ("one", False),
        ("two", True),
    ]


def test_create_prompt_expired_login_answers_596(client, service):
    service.log_out("one")
    answer = client.post(SUBMIT, json={"prompt": "a prompt", "user_id": "one"})
    assert (answer.status_code, answer.json()["code"]) == (596, 596)


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


def test_cancel_executing_job_answers_204_and_frees_its_slot(client, service):
    service.submit("a prompt", user_id="one")
    answer = client.delete(f"{SCHEDULER}/job-1")
    assert (answer.status_code, answer.content, service.read().jobs) == (204, b"", ())


def test_cancel_unknown_job_answers_404(client):
    answer = client.delete(f"{SCHEDULER}/job-1")
    assert (answer.status_code, answer.json()) == (
        404,
        {"error": "Unable to locate running job_id", "code": 404},
    )


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "Bearer",
        "Bearer ",
        "Bearer   ",
        "Basic dXNlcjo=",
        "user:1234-abcDEF",
        "Bearer wrong",
        "Bearer \xe9",
    ],
)
@pytest.mark.parametrize("path", [AVAILABLE, "/emulator/stats", "/nowhere"])
def test_token_missing_or_wrong_answers_401(client_for, header, path):
    client = client_for(token="user:1234-abcDEF")
    del client.headers["Authorization"]
    headers = {} if header is None else {"Authorization": header.encode("latin-1")}
    answer = client.get(path, headers=headers)
    assert (answer.status_code, answer.json()) == (401, {"error": "Unauthorized", "code": 401})


def test_token_wrong_with_bad_body_answers_401(client_for):
    answer = client_for(token="right", sends="wrong").post(SUBMIT, content=b"not JSON")
    assert answer.status_code == 401


def test_token_right_is_accepted(client_for):
    assert client_for(token="user:1234-abcDEF", sends="user:1234-abcDEF").get(AVAILABLE).status_code == 200


def test_token_not_set_accepts_any(client_for):
    assert client_for(token=None, sends="whatever").get(AVAILABLE).status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/", 404),
        ("GET", "/v1/kling/scheduler/available", 404),
        ("GET", "/docs", 404),
        ("DELETE", f"{SCHEDULER}/a/b", 404),
        ("PUT", AVAILABLE, 405),
        ("GET", SUBMIT, 405),
    ],
)
def test_unknown_path_or_method_answers_with_an_error_object(client, method, path, status):
    answer = client.request(method, path)
    assert (answer.status_code, answer.json()["code"]) == (status, status)
