from __future__ import annotations

import asyncio
import gzip
import json
import re
import threading

import pytest
from airflow.models import Connection

from airflow_riffusion.exceptions import (
    RiffusionBadResponse,
    RiffusionUnavailable,
)
from airflow_riffusion.hooks.riffusion import RiffusionHook

TOKEN = "user:1234-abcDEF"
PATH = "/v1/riffusion/scheduler/available"
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"


def test_get_capacity_sends_the_documented_request(connect, answering, contract):
    server = answering(contract())

    RiffusionHook(connect(server.url)).get_capacity()

    (request,) = server.requests
    lines = request.decode().split("\r\n")
    assert lines[0] == f"GET {PATH} HTTP/1.1"
    assert f"Authorization: Bearer {TOKEN}" in lines
    assert "Accept-Encoding: identity" in lines


@pytest.mark.parametrize("service", ["tempolor", "kling"])
def test_get_capacity_asks_the_service_of_the_connection(connect, answering, contract, service):
    server = answering(contract(service))

    capacity = RiffusionHook(connect(server.url, extra={"service": service})).get_capacity()

    assert server.requests[0].startswith(f"GET /v1/{service}/scheduler/available ".encode())
    assert capacity.service == service


def test_hook_test_connection_says_what_it_read(connect, answering, contract):
    hook = RiffusionHook(connect(answering(contract()).url))

    assert hook.test_connection() == (True, "Riffusion: 18 of 20 slots free on 2 accounts")


@pytest.mark.parametrize(
    ("body", "status", "fields", "says"),
    [
        (b"", "401 x", {}, r"401 Unauthorized from .*: check the API token in the connection\."),
        (b"", "200 OK", {}, r"The answer from .*: check the base URL in the connection, or wait .*"),
        (b"", "200 OK", {"extra": {"service": "spotify"}}, "service must be one of .*"),
    ],
)
def test_hook_test_connection_error_leaves_out_the_connection_id(
    connect, answering, body, status, fields, says
):
    connect(answering(body, status).url, **fields)

    good, message = RiffusionHook("riffusion_test").test_connection()

    assert not good
    assert re.fullmatch(says, message)


def test_hook_test_connection_failed_lookup_leaves_out_the_connection_id(connect, monkeypatch):
    def broken(self, conn_id):
        raise OSError("the vault is sealed")

    monkeypatch.setattr(RiffusionHook, "get_connection", broken)

    good, message = RiffusionHook(connect()).test_connection()

    assert (good, message) == (False, "The connection can't be looked up: OSError('the vault is sealed')")


def test_airflow_test_connection_wrong_token_returns_the_advice(connect, answering, monkeypatch):
    server = answering(b"", "401 x")
    connection = Connection(
        "zAwZ7n6C", "riffusion", password=TOKEN, host=server.url, extra='{"timeout": null}'
    )
    monkeypatch.setenv("AIRFLOW_CONN_ZAWZ7N6C", connection.get_uri())

    assert connection.test_connection() == (
        False,
        f"401 Unauthorized from {server.url}{PATH}: check the API token in the connection.",
    )


@pytest.mark.parametrize(
    "body",
    [b"", b"<html>Bad gateway</html>", b'{"executing": [', b'{"error": "x"}', b"[]", gzip.compress(b"{}")],
    ids=["empty", "html", "truncated", "error", "list", "gzip"],
)
def test_get_capacity_200_without_a_capacity_is_a_bad_response(connect, answering, body):
    server = answering(body)

    with pytest.raises(RiffusionBadResponse, match=f"The answer from {server.url}{PATH} is no capacity"):
        RiffusionHook(connect(server.url)).get_capacity()


def test_hook_unavailable_service_is_retried_as_often_as_set(connect, answering, naps):
    server = answering(b"", "503 x")

    with pytest.raises(RiffusionUnavailable):
        RiffusionHook(connect(server.url), retries=3).get_capacity()

    assert len(server.requests) == 4
    assert all(0.5 <= nap <= longest for nap, longest in zip(naps, (1, 2, 4), strict=True))


def test_hook_retries_wait_for_retry_after(connect, answering, naps):
    server = answering(b"", "429 x", Retry_After="20")

    with pytest.raises(RiffusionUnavailable):
        RiffusionHook(connect(server.url), retries=2).get_capacity()

    assert naps == [20, 20]


def test_hook_retry_after_above_30_s_is_not_waited_for(connect, answering, naps):
    server = answering(b"", "429 x", Retry_After="31")

    with pytest.raises(RiffusionUnavailable):
        RiffusionHook(connect(server.url), retries=2).get_capacity()

    assert (len(server.requests), naps) == (1, [])


def test_hook_unavailable_post_is_not_retried(connect, answering, naps):
    server = answering(b"", "503 x")
    hook = RiffusionHook(connect(server.url), retries=3)

    with pytest.raises(RiffusionUnavailable):
        hook.run("music/create-prompt", "POST", {"prompt": "jazz"})

    assert len(server.requests) == 1


def test_run_post_has_the_endpoint_and_the_token(connect, raw_server):
    answer = b'{"job_id": "j", "user_id": "u"}'
    server = raw_server(
        lambda connection: connection.sendall(HEAD + b"Content-Length: %d\r\n\r\n" % len(answer) + answer)
    )

    found = RiffusionHook(connect(server.url)).run("music/create-prompt", "post", {"prompt": "jazz"})

    assert found == {"job_id": "j", "user_id": "u"}
    request = server.requests[0].decode()
    assert request.startswith("POST /v1/riffusion/music/create-prompt HTTP/1.1\r\n")
    assert f"Authorization: Bearer {TOKEN}\r\n" in request


@pytest.mark.parametrize(("body", "expected"), [(b"", {}), (b"[1]", [1])])
def test_run_empty_answer_or_list_is_returned(connect, answering, body, expected):
    assert RiffusionHook(connect(answering(body).url)).run("scheduler/x", "DELETE") == expected


@pytest.mark.parametrize("body", [b"3", b'"text"', b"<html>"])
def test_run_answer_that_is_no_object_or_list_is_a_bad_response(connect, answering, body):
    with pytest.raises(RiffusionBadResponse):
        RiffusionHook(connect(answering(body).url)).run("scheduler")


def test_get_capacity_repeated_warning_is_logged_once(connect, answering, monkeypatch):
    body = json.dumps({"available": [{"user_id": "a", "available": "many"}]}).encode()
    hook = RiffusionHook(connect(answering(body).url))
    warnings = []
    monkeypatch.setattr(hook.log, "warning", lambda message, *values: warnings.append(message % values))

    for _ in range(3):
        hook.get_capacity()

    (warning,) = warnings
    assert "account 'a': available is 'many'" in warning


def test_get_capacity_after_100_warnings_logs_no_more(connect, answering, monkeypatch):
    accounts = [{"user_id": f"u{number}", "available": "many"} for number in range(150)]
    hook = RiffusionHook(connect(answering(json.dumps({"available": accounts}).encode()).url))
    warnings = []
    monkeypatch.setattr(hook.log, "warning", lambda message, *values: warnings.append(message % values))

    for _ in range(2):
        hook.get_capacity()

    assert len(hook._warnings) == 100
    assert ["is not logged" in warning for warning in warnings] == [False] * 100 + [True]


def test_aget_capacity_silent_service_does_not_block_the_event_loop(connect, raw_server, contract):
    answer = threading.Event()

    def when_told(connection):
        answer.wait(20)
        body = contract()
        connection.sendall(HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body)

    server = raw_server(when_told)

    async def scenario():
        reading = asyncio.create_task(RiffusionHook(connect(server.url)).aget_capacity())
        for _ in range(3):  # the loop goes on while the service is silent
            await asyncio.sleep(0.01)
        assert not reading.done()
        answer.set()
        return await reading

    assert asyncio.run(scenario()).available == 18


def test_hook_changed_connection_is_used_after_forget_connection(connect, answering, contract):
    server = answering(contract())
    hook = RiffusionHook(connect(server.url, password="old"))
    hook.get_capacity()
    connect(server.url, password="new")
    hook.get_capacity()
    hook.forget_connection()
    hook.get_capacity()

    tokens = [request.decode().partition("Bearer ")[2].split("\r\n")[0] for request in server.requests]
    assert tokens == ["old", "old", "new"]


def test_get_capacity_mocked_with_requests_mock_returns_its_answer(connect, requests_mock, contract):
    requests_mock.get(f"https://api.useapi.net{PATH}", content=contract())

    assert RiffusionHook(connect()).get_capacity().available == 18
