from __future__ import annotations

import json

import pytest

from airflow_riffusion.hooks.riffusion import RiffusionHook

BODY = json.dumps(
    {
        "a": {"user_id": "a", "maxJobs": 4, "cookie": "sess-1234…"},
        "b": {"user_id": "b", "maxJobs": 2, "error": "sess-1234… expired"},
    }
).encode()


@pytest.fixture
def clock(monkeypatch):
    class Clock:
        now = 1000.0

        def monotonic(self):
            return self.now

    clock = Clock()
    monkeypatch.setattr("airflow_riffusion.hooks.accounts.time", clock)
    return clock


def test_hook_accounts_are_asked_for_once_until_the_answer_is_too_old(connect, answering, clock):
    server = answering(BODY)
    hook = RiffusionHook(connect(server.url))

    hook.configured_accounts()
    clock.now += 600
    configured = hook.configured_accounts()
    assert (configured.slots, configured.logged_out) == ({"a": 4}, ("b",))
    assert [request.split()[1] for request in server.requests] == [b"/v1/riffusion/accounts"]

    clock.now += 1
    hook.configured_accounts()
    hook.configured_accounts(max_age=0)
    assert len(server.requests) == 2


@pytest.mark.parametrize("status", ["404 Not Found", "401 x", "500 x", "200 OK"])
def test_hook_accounts_that_cannot_be_had_are_asked_for_again_after_a_minute(
    connect, answering, clock, caplog, status
):
    server = answering(b'{"error": "sess-1234"}', status)
    hook = RiffusionHook(connect(server.url))

    for _ in range(3):
        assert hook.configured_accounts() is None
    assert len(server.requests) == 1
    clock.now += 60
    assert hook.configured_accounts() is None
    assert len(server.requests) == 2
    said = caplog.text
    assert said.count("Which accounts the service has can't be found out: ") == 1
    assert "sess" not in said


def test_hook_retry_after_of_the_accounts_is_heeded(connect, answering, clock):
    server = answering(b"", "429 x", Retry_After="300")
    hook = RiffusionHook(connect(server.url))
    for _ in range(3):
        hook.configured_accounts()
        clock.now += 149

    assert len(server.requests) == 1


def test_hook_accounts_that_are_logged_out_are_named_in_the_log_and_nothing_else_is(
    connect, answering, caplog
):
    hook = RiffusionHook(connect(answering(BODY).url))
    hook.configured_accounts()
    hook.configured_accounts(max_age=-1)

    said = caplog.text
    assert said.count("Connection 'riffusion_test': account b needs its login renewed at useapi.net.") == 1
    assert "sess" not in said


def test_hook_accounts_of_another_service_are_not_mixed_up(connect, answering, contract):
    hook = RiffusionHook(connect(answering(contract()).url))
    assert len(hook.get_capacity().accounts) == 2

    connect(answering(b'{"executing": [], "available": []}').url)
    hook.forget_connection()
    assert hook.get_capacity().accounts == ()


def test_hook_accounts_of_another_token_are_not_mixed_up(connect, answering):
    server = answering(BODY)
    hook = RiffusionHook(connect(server.url))
    hook.configured_accounts()

    connect(server.url, password="user:1234-another")
    hook.forget_connection()
    hook.configured_accounts()
    assert len(server.requests) == 2


def test_hook_accounts_are_asked_for_once_whatever_its_retries(connect, answering, naps):
    server = answering(b"", "500 x")

    assert RiffusionHook(connect(server.url), retries=3).configured_accounts() is None
    assert len(server.requests) == 1


def test_hook_connection_test_counts_full_accounts(connect, raw_server):
    def respond(connection):
        body = BODY if b"/accounts " in server.requests[-1] else b'{"available": []}'
        head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        connection.sendall(head.encode() + body)

    server = raw_server(respond)
    assert RiffusionHook(connect(server.url)).test_connection() == (
        True,
        "0 of 4 slots free on 1 account",
    )
