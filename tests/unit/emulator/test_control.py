from __future__ import annotations

import pytest

from airflow_riffusion.emulator.dialects import TITLES

AVAILABLE = "/v1/riffusion/scheduler/available"
SUBMIT = "/v1/riffusion/music/create-prompt"


def test_stats_after_requests_count_them_and_their_jobs(client, clock):
    client.get(AVAILABLE)
    client.get("/v1/riffusion/accounts")
    client.get("/v1/riffusion/scheduler")
    for _ in range(3):
        client.post(SUBMIT, json={"prompt": "a prompt", "user_id": "one"})
    client.post(SUBMIT, json={"prompt": "a prompt", "user_id": "two"})
    client.delete("/v1/riffusion/scheduler/job-1")
    client.get("/v1/riffusion/unheard-of")
    client.get("/v1/riffusion/music/?id=job-1")
    clock.advance(20)
    client.post(SUBMIT, json={"prompt": "a prompt", "user_id": "two"})
    assert client.get("/emulator/stats").json() == {
        "slots": 4,
        "requests": 11,
        "requests_by_endpoint": {
            "capacity": 1,
            "accounts": 1,
            "jobs": 1,
            "submit": 5,
            "outcome": 1,
            "audio": 0,
            "stop": 1,
            "other": 1,
        },
        "unauthorized": 0,
        "refusals": 1,
        "accepted": 4,
        "completed": 2,
        "cancelled": 1,
        "executing": 1,
        "peak": 3,
        "peak_by_account": {"one": 2, "two": 1},
        "failed": 0,
        "other_clients": 0,
    }


def test_stats_control_request_is_not_counted(client):
    client.get("/emulator/stats")
    client.get("/emulator/jobs")
    assert client.get("/emulator/stats").json()["requests"] == 0


def test_stats_request_with_wrong_token_is_counted(client_for):
    client_for(token="right", sends="wrong").get(AVAILABLE)
    stats = client_for().get("/emulator/stats").json()
    assert (stats["requests"], stats["unauthorized"]) == (1, 1)


@pytest.mark.parametrize("dialect", TITLES)
def test_jobs_of_any_service_have_the_same_fields(client_for, service, clock, dialect):
    service.submit("first", user_id="one", reply_ref="mine")
    clock.advance(20)
    service.submit("second", user_id="two")
    assert client_for(dialect).get("/emulator/jobs").json() == [
        {
            "job_id": "job-1",
            "user_id": "one",
            "reply_ref": "mine",
            "prompt": "first",
            "started": "2025-02-12T01:55:16.128Z",
            "ended": "2025-02-12T01:55:36.128Z",
            "status": "completed",
            "error": None,
            "other_client": False,
        },
        {
            "job_id": "job-2",
            "user_id": "two",
            "reply_ref": None,
            "prompt": "second",
            "started": "2025-02-12T01:55:36.128Z",
            "ended": None,
            "status": "executing",
            "error": None,
            "other_client": False,
        },
    ]


def test_fault_with_status_answers_instead_of_the_service(client, service):
    client.post("/emulator/faults", json={"status": 503, "retry_after": "30"})
    answer = client.post(SUBMIT, json={"prompt": "a prompt"})
    assert (answer.status_code, answer.headers["Retry-After"], answer.json()) == (
        503,
        "30",
        {"error": "Service Unavailable", "code": 503},
    )
    assert service.jobs() == []


def test_fault_for_some_requests_leaves_others_alone(client):
    client.post("/emulator/faults", json={"endpoint": "capacity", "status": 503, "every": 2, "times": 1})
    assert [client.get(AVAILABLE).status_code for _ in range(4)] == [200, 503, 200, 200]


def test_fault_for_all_endpoints_leaves_control_routes_alone(client):
    client.post("/emulator/faults", json={"status": 503})
    assert client.get("/emulator/stats").status_code == 200


def test_stats_request_answered_by_a_fault_is_counted(client):
    client.post("/emulator/faults", json={"status": 503})
    client.get(AVAILABLE)
    assert client.get("/emulator/stats").json()["requests"] == 1


@pytest.mark.parametrize(
    ("fault", "status", "content_type", "text"),
    [
        ({"status": 401}, 401, "application/json", '{"error":"Unauthorized","code":401}'),
        ({"status": 596}, 596, "application/json", '{"error":"Error","code":596}'),
        ({"body": "empty"}, 200, "application/json", ""),
        ({"body": "[1, 2]", "status": 500}, 500, "application/json", "[1, 2]"),
        ({"body": "truncated"}, 200, "application/json", '{"executing": [], "available": [{"user_id": "'),
    ],
)
def test_fault_with_status_or_body_answers_with_it(client, fault, status, content_type, text):
    client.post("/emulator/faults", json=fault)
    answer = client.get(AVAILABLE)
    assert (answer.status_code, answer.headers["Content-Type"], answer.text) == (status, content_type, text)


def test_fault_with_html_answers_with_a_page(client):
    client.post("/emulator/faults", json={"body": "html", "status": 502})
    answer = client.get(AVAILABLE)
    assert (answer.headers["Content-Type"], answer.text[:15]) == (
        "text/html; charset=utf-8",
        "<!DOCTYPE html>",
    )


@pytest.mark.parametrize("status", [204, 304])
def test_fault_with_bodiless_status_sends_no_body(client, status):
    client.post("/emulator/faults", json={"status": status})
    answer = client.get(AVAILABLE)
    assert (answer.status_code, answer.content) == (status, b"")


def test_add_fault_returns_it_with_its_counters(client):
    answer = client.post("/emulator/faults", json={"status": 503, "every": 2})
    assert answer.status_code == 201
    assert answer.json() == {
        "fault": {
            "endpoint": None,
            "status": 503,
            "retry_after": None,
            "delay_seconds": 0,
            "body": None,
            "drop": False,
            "lose_answer": False,
            "job_error": None,
            "every": 2,
            "times": None,
        },
        "met": 0,
        "fired": 0,
    }


def test_list_faults_shows_how_often_each_fired(client):
    client.post("/emulator/faults", json={"status": 503, "every": 2})
    for _ in range(5):
        client.get(AVAILABLE)
    assert [(fault["met"], fault["fired"]) for fault in client.get("/emulator/faults").json()] == [(5, 2)]


def test_clear_faults_lifts_all(client):
    client.post("/emulator/faults", json={"status": 503})
    assert client.delete("/emulator/faults").status_code == 204
    assert (client.get("/emulator/faults").json(), client.get(AVAILABLE).status_code) == ([], 200)


@pytest.mark.parametrize(
    ("fault", "complaint"),
    [
        (b"{}", "a fault needs a status, body, delay_seconds, drop, lose_answer or job_error"),
        (b'{"delay_seconds": NaN}', "delay_seconds: "),
        (b'{"delay_seconds": 1e999}', "delay_seconds: "),
        (b'{"status": 503, "every": 0}', "every: "),
        (b'{"body": "\\ud800"}', "body: "),
        (b'{"\\ud800": 1}', "a JSON object is expected"),
        (b'{"' + b"k" * 10_000 + b'": 1}', "kkk"),
    ],
)
def test_add_fault_invalid_answers_400_and_is_not_in_force(client, fault, complaint):
    answer = client.post("/emulator/faults", content=fault, headers={"Content-Type": "application/json"})
    assert answer.status_code == 400
    assert answer.json()["error"].startswith(complaint)
    assert len(answer.content) < 1000
    assert client.get("/emulator/faults").json() == []


def test_log_in_after_log_out_takes_jobs_again(client):
    statuses = []
    for action in ("log-out", "log-in"):
        assert client.post(f"/emulator/accounts/one/{action}").status_code == 204
        statuses.append(client.post(SUBMIT, json={"prompt": "a prompt", "user_id": "one"}).status_code)
    assert statuses == [596, 200]


@pytest.mark.parametrize("action", ["log-out", "log-in"])
def test_log_out_or_in_unknown_account_answers_400(client, action):
    answer = client.post(f"/emulator/accounts/three/{action}")
    assert (answer.status_code, answer.json()["code"]) == (400, 400)
    assert "no such account" in answer.json()["error"]


def test_reset_forgets_jobs_counts_and_faults(client, service):
    client.post(SUBMIT, json={"prompt": "a prompt"})
    client.post("/emulator/faults", json={"status": 503})
    assert client.post("/emulator/reset").status_code == 204
    assert client.get("/emulator/faults").json() == []
    assert (service.stats().requests, service.jobs()) == (0, [])
