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
MODERATED = {"endpoint": "create-prompt", "job_error": "moderated"}


def result(client, job_id="job-1"):
    (told,) = client.get(RESULT, params={"id": job_id}).json()
    return told


def test_an_executing_job_is_told_with_what_is_known_of_it(client, service):
    service.submit("a song", user_id="one")
    assert result(client) == {
        "id": "job-1",
        "author_id": "one",
        "status": "executing",
        "sound": "a song",
        "created_at": "2025-02-12T01:55:16.128Z",
    }


def test_a_completed_job_is_told_with_its_audio(client, service, clock):
    service.submit("a song", user_id="one")
    clock.advance(3600)
    assert result(client) == {
        "id": "job-1",
        "author_id": "one",
        "status": "completed",
        "sound": "a song",
        "created_at": "2025-02-12T01:55:16.128Z",
        "download_url": "https://example.com/riffusion/job-1.m4a",
    }


def test_a_cancelled_job_is_told_without_audio(client, service, clock):
    service.submit("a song", user_id="one")
    clock.advance(5)
    service.cancel("job-1")
    assert result(client) == {
        "id": "job-1",
        "author_id": "one",
        "status": "cancelled",
        "sound": "a song",
        "created_at": "2025-02-12T01:55:16.128Z",
    }


def test_a_failed_job_is_told_with_its_error_and_without_audio(client, service, clock):
    service.submit("a song", user_id="one", error="moderated")
    clock.advance(20)
    assert result(client) == {
        "id": "job-1",
        "author_id": "one",
        "status": "failed",
        "error": "moderated",
        "sound": "a song",
        "created_at": "2025-02-12T01:55:16.128Z",
    }


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_result_has_the_same_shape_for_every_service(client_for, service, dialect):
    service.submit("a song", user_id="one")
    (told,) = client_for(dialect).get(f"/v1/{dialect}/music", params={"id": "job-1"}).json()
    assert (told["id"], told["author_id"], told["status"]) == ("job-1", "one", "executing")


def test_an_audio_address_takes_the_signs_of_any_id(clock):
    dialect = DIALECTS["ltxstudio"]
    service = SchedulerService({"a@b": 1}, new_job_id=dialect.new_job_id, clock=clock, random=Random(7))
    job = service.submit("a song")
    clock.advance(20)
    url = dialect.result(service.find(job.job_id))[0]["download_url"]
    assert re.fullmatch(r"https://example\.com/ltxstudio/email%3Aa%40b%3A[-0-9a-f]+-type%3Aimage\.m4a", url)


@pytest.mark.parametrize("path", [RESULT, f"{RESULT}/"])
def test_the_path_may_end_with_a_slash_and_is_not_redirected(client, service, path):
    service.submit("a song", user_id="one")
    answer = client.get(path, params={"user_id": "one", "id": "job-1"}, follow_redirects=False)
    assert (answer.status_code, answer.json()[0]["status"]) == (200, "executing")


def test_the_account_need_not_be_given(client, service):
    service.submit("a song", user_id="one")
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
def test_a_job_of_another_account_answers_404(
    client_for, service, dialect, account_field, job_field, account
):
    service.submit("a song", user_id="one")
    answer = client_for(dialect).get(f"/v1/{dialect}/music", params={account_field: account, "id": "job-1"})
    error = {"error": f"Unable to locate {job_field}", "code": 404}
    assert (answer.status_code, answer.json()) == (404, error)


def test_an_unknown_job_answers_404(client):
    answer = client.get(RESULT, params={"id": "job-1"})
    assert (answer.status_code, answer.json()) == (404, {"error": "Unable to locate job_id", "code": 404})


@pytest.mark.parametrize("query", ["", "?user_id=one", "?id=", "?job_id=job-1"])
def test_a_missing_id_answers_400(client, service, query):
    service.submit("a song", user_id="one")
    answer = client.get(f"{RESULT}/{query}")
    assert (answer.status_code, answer.json()["code"]) == (400, 400)
    assert answer.json()["error"].startswith("id: ")


def test_a_job_is_found_by_its_number_where_ids_are_numbers(clock):
    kling = DIALECTS["kling"]
    service = SchedulerService({"one": 1}, new_job_id=kling.new_job_id, clock=clock)
    service.submit("a song")
    assert service.find("100000001").status == "executing"


def test_a_reset_forgets_results(service):
    service.submit("a song")
    service.reset()
    with pytest.raises(UnknownJob):
        service.find("job-1")


def test_asking_for_a_result_is_an_endpoint_of_its_own(client):
    client.post("/emulator/faults", json={"endpoint": "result", "status": 503})
    assert (client.get(f"{RESULT}/?id=job-1").status_code, client.get(SCHEDULER).status_code) == (503, 200)
    assert client.get("/emulator/stats").json()["requests_by_endpoint"]["result"] == 1


def test_a_submission_whose_job_will_fail_is_accepted_as_usual(client):
    client.post("/emulator/faults", json=MODERATED)
    answer = client.post(SUBMIT, json={"prompt": "a song", "user_id": "one"})
    assert (answer.status_code, answer.json()) == (200, {"job_id": "job-1", "user_id": "one"})
    assert result(client)["status"] == "executing"


def test_a_job_that_will_fail_tells_so_only_when_it_has(client, clock):
    client.post("/emulator/faults", json=MODERATED)
    client.post(SUBMIT, json={"prompt": "a song"})
    told = []
    for _ in range(2):
        (job,) = client.get("/emulator/jobs").json()
        told.append((job["status"], job["error"], result(client).get("error")))
        clock.advance(20)
    assert told == [("executing", None, None), ("failed", "moderated", "moderated")]


def test_every_nth_job_fails_so_many_times_at_most(client, clock):
    client.post("/emulator/faults", json={**MODERATED, "every": 2, "times": 1})
    for _ in range(4):
        client.post(SUBMIT, json={"prompt": "a song"})
    clock.advance(20)
    statuses = [job["status"] for job in client.get("/emulator/jobs").json()]
    assert statuses == ["completed", "failed", "completed", "completed"]


def test_failed_jobs_are_counted_apart_from_completed_ones(service, clock):
    service.submit("a song", error="moderated")
    service.submit("a song")
    clock.advance(20)
    stats = service.stats()
    assert (stats.accepted, stats.completed, stats.failed, stats.executing) == (2, 1, 1, 0)


def test_a_failed_job_has_given_its_slot_back(service, clock):
    service.submit("a song", user_id="one", error="moderated")
    clock.advance(20)
    assert [account.available for account in service.read().accounts] == [2, 2]


def test_a_job_that_is_cancelled_before_it_fails_has_not_failed(client, service, clock):
    service.submit("a song", error="moderated")
    service.cancel("job-1")
    clock.advance(20)
    assert (result(client)["status"], "error" in result(client)) == ("cancelled", False)
    assert (service.stats().cancelled, service.stats().failed) == (1, 0)


def test_the_report_of_a_failed_job_tells_why(service, clock):
    service.submit("a song", user_id="one", error="moderated")
    clock.advance(20)
    (job,) = service.take_ended()
    assert DIALECTS["riffusion"].ended(job) == {
        "job_id": "job-1",
        "user_id": "one",
        "status": "failed",
        "error": "moderated",
    }
