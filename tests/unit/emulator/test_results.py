from __future__ import annotations

import re
from random import Random

import pytest

from airflow_riffusion.emulator.dialects import DIALECTS
from airflow_riffusion.emulator.records import UnknownJob
from airflow_riffusion.emulator.service import SchedulerService

RESULT = "/v1/riffusion/music"
SCHEDULER = "/v1/riffusion/scheduler"
SUBMIT = "/v1/riffusion/music/create-prompt"
MODERATED = {"endpoint": "submit", "job_error": "moderated"}


def result(client, job_id="job-1"):
    (shown,) = client.get(RESULT, params={"id": job_id}).json()
    return shown


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
        "download_url": "https://example.com/riffusion/job-1.m4a",
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


@pytest.mark.parametrize("dialect", DIALECTS)
def test_result_of_any_service_has_the_same_fields(client_for, service, dialect):
    service.submit("a prompt", user_id="one")
    (shown,) = client_for(dialect).get(f"/v1/{dialect}/music", params={"id": "job-1"}).json()
    assert (shown["id"], shown["author_id"], shown["status"]) == ("job-1", "one", "executing")


def test_result_audio_url_quotes_the_job_id(clock):
    dialect = DIALECTS["ltxstudio"]
    service = SchedulerService({"a@b": 1}, new_job_id=dialect.new_job_id, clock=clock, random=Random(7))
    job = service.submit("a prompt")
    clock.advance(20)
    url = dialect.result(service.find(job.job_id))[0]["download_url"]
    assert re.fullmatch(r"https://example\.com/ltxstudio/email%3Aa%40b%3A[-0-9a-f]+-type%3Aimage\.m4a", url)


@pytest.mark.parametrize("path", [RESULT, f"{RESULT}/"])
def test_result_path_with_slash_is_not_redirected(client, service, path):
    service.submit("a prompt", user_id="one")
    answer = client.get(path, params={"user_id": "one", "id": "job-1"}, follow_redirects=False)
    assert (answer.status_code, answer.json()[0]["status"]) == (200, "executing")


def test_result_without_account_is_found(client, service):
    service.submit("a prompt", user_id="one")
    assert client.get(RESULT, params={"id": "job-1"}).status_code == 200


@pytest.mark.parametrize(
    ("dialect", "account_field", "job_field"),
    [
        ("riffusion", "user_id", "job_id"),
        ("tempolor", "user_id", "job_id"),
        ("kling", "email", "id"),
        ("ltxstudio", "email", "jobId"),
    ],
)
@pytest.mark.parametrize("account", ["two", "three", ""])
def test_result_job_of_another_account_answers_404(
    client_for, service, dialect, account_field, job_field, account
):
    service.submit("a prompt", user_id="one")
    answer = client_for(dialect).get(f"/v1/{dialect}/music", params={account_field: account, "id": "job-1"})
    error = {"error": f"Unable to locate {job_field}", "code": 404}
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


def test_find_job_with_numeric_id_takes_text(clock):
    kling = DIALECTS["kling"]
    service = SchedulerService({"one": 1}, new_job_id=kling.new_job_id, clock=clock)
    service.submit("a prompt")
    assert service.find("100000001").status == "executing"


def test_find_after_reset_raises_unknown_job(service):
    service.submit("a prompt")
    service.reset()
    with pytest.raises(UnknownJob):
        service.find("job-1")


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


def test_job_error_failed_job_is_counted_apart(service, clock):
    service.submit("a prompt", error="moderated")
    service.submit("a prompt")
    clock.advance(20)
    stats = service.stats()
    assert (stats.accepted, stats.completed, stats.failed, stats.executing) == (2, 1, 1, 0)


def test_job_error_failed_job_frees_its_slot(service, clock):
    service.submit("a prompt", user_id="one", error="moderated")
    clock.advance(20)
    assert [account.available for account in service.read().accounts] == [2, 2]


def test_job_error_cancelled_job_has_not_failed(client, service, clock):
    service.submit("a prompt", error="moderated")
    service.cancel("job-1")
    clock.advance(20)
    assert (result(client)["status"], "error" in result(client)) == ("cancelled", False)
    assert (service.stats().cancelled, service.stats().failed) == (1, 0)


def test_job_error_report_has_the_error(service, clock):
    service.submit("a prompt", user_id="one", error="moderated")
    clock.advance(20)
    (job,) = service.take_ended()
    assert DIALECTS["riffusion"].ended(job) == {
        "job_id": "job-1",
        "user_id": "one",
        "status": "failed",
        "error": "moderated",
    }
