from __future__ import annotations

import pytest

from airflow_riffusion.emulator.dialects import TITLES, dialect_of

AVAILABLE = "/v1/riffusion/scheduler/available"
SCHEDULER = "/v1/riffusion/scheduler"
SUBMIT = "/v1/riffusion/music/create-prompt"

ENDPOINTS = {
    "riffusion": {
        "GET scheduler/available": "capacity",
        "GET accounts": "accounts",
        "GET scheduler": "jobs",
        "POST music/create-prompt": "submit",
        "GET music": "outcome",
        "DELETE scheduler/x": "stop",
    },
    "flowmusic": {
        "GET jobs": "capacity",
        "GET accounts": "accounts",
        "POST music": "submit",
        "GET jobs/x": "outcome",
        "DELETE jobs/x": "stop",
    },
    "tempolor": {
        "GET scheduler/available": "capacity",
        "GET accounts": "accounts",
        "POST music/song": "submit",
        "POST music/instrumental": "submit",
        "GET music/x": "outcome",
        "GET music/download/x": "audio",
        "DELETE scheduler/x": "stop",
    },
    "acemusic": {
        "GET jobs": "capacity",
        "GET accounts": "accounts",
        "POST music": "submit",
        "GET jobs/x": "outcome",
    },
    "mureka": {
        "GET jobs": "capacity",
        "GET accounts": "accounts",
        "POST music/create": "submit",
        "GET jobs/x": "outcome",
    },
    "pixverse": {
        "GET scheduler/available": "capacity",
        "GET accounts": "accounts",
        "POST music/create": "submit",
        "GET music/x": "outcome",
        "DELETE scheduler/x": "stop",
    },
    "kling": {
        "GET scheduler/available": "capacity",
        "GET accounts": "accounts",
        "DELETE scheduler/x": "stop",
    },
}
EVERY_ENDPOINT = sorted({endpoint for endpoints in ENDPOINTS.values() for endpoint in endpoints})


def ask(client_for, name, endpoint):
    method, _, path = endpoint.partition(" ")
    body = {"json": {"mode": "async"}} if method == "POST" else {}
    return client_for(name).request(method, f"{dialect_of(name).prefix}/{path}", **body)


@pytest.mark.parametrize(
    ("name", "endpoint"), [(name, endpoint) for name in TITLES for endpoint in ENDPOINTS[name]]
)
def test_endpoint_of_a_service_is_counted_by_its_name(client_for, service, name, endpoint):
    ask(client_for, name, endpoint)
    counted = service.stats().requests_by_endpoint
    assert {found for found, count in counted.items() if count} == {ENDPOINTS[name][endpoint]}


@pytest.mark.parametrize(
    ("name", "endpoint"),
    [(name, endpoint) for name in TITLES for endpoint in EVERY_ENDPOINT if endpoint not in ENDPOINTS[name]],
)
def test_endpoint_of_another_service_is_not_found(client_for, service, name, endpoint):
    answer = ask(client_for, name, endpoint)
    assert answer.status_code in (404, 405)
    assert service.stats().requests_by_endpoint["other"] == 1


def test_endpoint_in_a_fault_is_met_by_its_name(client_for, service):
    client = client_for("flowmusic")
    client.post("/emulator/faults", json={"endpoint": "outcome", "status": 503})
    statuses = [client.get(f"/v1/flowmusic/{path}").status_code for path in ("jobs", "jobs/x", "accounts")]
    assert statuses == [200, 503, 200]


@pytest.mark.parametrize("name", TITLES)
def test_title_of_the_description_is_the_services(client_for, name):
    assert client_for(name).get("/openapi.json").json()["info"]["title"] == f"{TITLES[name]} emulator"


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
