from __future__ import annotations

import pytest

AVAILABLE = "/v1/riffusion/scheduler/available"
RESULT = "/v1/riffusion/music"
SCHEDULER = "/v1/riffusion/scheduler"
SUBMIT = "/v1/riffusion/music/create-prompt"
MODERATED = {"endpoint": "submit", "job_error": "moderated"}


def result(client, job_id="job-1"):
    (shown,) = client.get(RESULT, params={"id": job_id}).json()
    return shown


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


def test_create_prompt_full_account_answers_429(client, service):
    service.submit("a prompt", user_id="one")
    service.submit("a prompt", user_id="one")
    answer = client.post(SUBMIT, json={"prompt": "a prompt", "user_id": "one"})
    assert (answer.status_code, answer.json()["code"]) == (429, 429)


def test_create_prompt_expired_login_answers_596(client, service):
    service.log_out("one")
    answer = client.post(SUBMIT, json={"prompt": "a prompt", "user_id": "one"})
    assert (answer.status_code, answer.json()["code"]) == (596, 596)


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


def test_result_executing_job_has_what_is_known(client, service):
    service.submit("a prompt", user_id="one")
    assert result(client) == {
        "id": "job-1",
        "author_id": "one",
        "status": "executing",
        "sound": "a prompt",
        "created_at": "2025-02-12T01:55:16.128Z",
    }


def test_result_completed_job_has_audio(client, service, clock):
    service.submit("a prompt", user_id="one")
    clock.advance(3600)
    assert result(client) == {
        "id": "job-1",
        "author_id": "one",
        "status": "completed",
        "sound": "a prompt",
        "created_at": "2025-02-12T01:55:16.128Z",
        "download_url": "http://testserver/emulator/audio/job-1.wav",
    }


def test_result_cancelled_job_has_no_audio(client, service, clock):
    service.submit("a prompt", user_id="one")
    clock.advance(5)
    service.cancel("job-1")
    assert result(client) == {
        "id": "job-1",
        "author_id": "one",
        "status": "cancelled",
        "sound": "a prompt",
        "created_at": "2025-02-12T01:55:16.128Z",
    }


def test_result_failed_job_has_its_error_and_no_audio(client, service, clock):
    service.submit("a prompt", user_id="one", error="moderated")
    clock.advance(20)
    assert result(client) == {
        "id": "job-1",
        "author_id": "one",
        "status": "failed",
        "error": "moderated",
        "sound": "a prompt",
        "created_at": "2025-02-12T01:55:16.128Z",
    }


@pytest.mark.parametrize("path", [RESULT, f"{RESULT}/"])
def test_result_path_with_slash_is_not_redirected(client, service, path):
    service.submit("a prompt", user_id="one")
    answer = client.get(path, params={"user_id": "one", "id": "job-1"}, follow_redirects=False)
    assert (answer.status_code, answer.json()[0]["status"]) == (200, "executing")


def test_result_without_account_is_found(client, service):
    service.submit("a prompt", user_id="one")
    assert client.get(RESULT, params={"id": "job-1"}).status_code == 200


@pytest.mark.parametrize("account", ["two", "three", ""])
def test_result_job_of_another_account_answers_404(client, service, account):
    service.submit("a prompt", user_id="one")
    answer = client.get(RESULT, params={"user_id": account, "id": "job-1"})
    error = {"error": "Unable to locate job_id", "code": 404}
    assert (answer.status_code, answer.json()) == (404, error)


def test_result_unknown_job_answers_404(client):
    answer = client.get(RESULT, params={"id": "job-1"})
    assert (answer.status_code, answer.json()) == (404, {"error": "Unable to locate job_id", "code": 404})


@pytest.mark.parametrize("query", ["", "?user_id=one", "?id=", "?job_id=job-1"])
def test_result_missing_id_answers_400(client, service, query):
    service.submit("a prompt", user_id="one")
    answer = client.get(f"{RESULT}/{query}")
    assert (answer.status_code, answer.json()["code"]) == (400, 400)
    assert answer.json()["error"].startswith("id: ")


def test_result_is_an_endpoint_of_its_own(client):
    client.post("/emulator/faults", json={"endpoint": "outcome", "status": 503})
    assert (client.get(f"{RESULT}/?id=job-1").status_code, client.get(SCHEDULER).status_code) == (503, 200)
    assert client.get("/emulator/stats").json()["requests_by_endpoint"]["outcome"] == 1


def test_job_error_submission_is_accepted(client):
    client.post("/emulator/faults", json=MODERATED)
    answer = client.post(SUBMIT, json={"prompt": "a prompt", "user_id": "one"})
    assert (answer.status_code, answer.json()) == (200, {"job_id": "job-1", "user_id": "one"})
    assert result(client)["status"] == "executing"


def test_job_error_is_hidden_until_the_job_has_failed(client, clock):
    client.post("/emulator/faults", json=MODERATED)
    client.post(SUBMIT, json={"prompt": "a prompt"})
    shown = []
    for _ in range(2):
        (job,) = client.get("/emulator/jobs").json()
        shown.append((job["status"], job["error"], result(client).get("error")))
        clock.advance(20)
    assert shown == [("executing", None, None), ("failed", "moderated", "moderated")]


def test_job_error_every_and_times_limit_the_failures(client, clock):
    client.post("/emulator/faults", json={**MODERATED, "every": 2, "times": 1})
    for _ in range(4):
        client.post(SUBMIT, json={"prompt": "a prompt"})
    clock.advance(20)
    statuses = [job["status"] for job in client.get("/emulator/jobs").json()]
    assert statuses == ["completed", "failed", "completed", "completed"]


def test_job_error_cancelled_job_has_not_failed(client, service, clock):
    service.submit("a prompt", error="moderated")
    service.cancel("job-1")
    clock.advance(20)
    assert (result(client)["status"], "error" in result(client)) == ("cancelled", False)
    assert (service.stats().cancelled, service.stats().failed) == (1, 0)
