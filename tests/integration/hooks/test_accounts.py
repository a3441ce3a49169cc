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


def test_hook_accounts_asked_twice_sends_one_request(connect, answering):
    server = answering(BODY)
    hook = RiffusionHook(connect(server.url))

    for _ in range(2):
        configured = hook.configured_accounts()

    assert (configured.slots, configured.logged_out) == ({"a": 4}, ("b",))
    assert [request.split()[1] for request in server.requests] == [b"/v1/riffusion/accounts"]


@pytest.mark.parametrize("status", ["404 Not Found", "401 x", "500 x", "200 OK"])
def test_hook_accounts_that_fail_are_logged_once_without_the_answer(connect, answering, caplog, status):
    server = answering(b'{"error": "sess-1234"}', status)
    hook = RiffusionHook(connect(server.url))

    for _ in range(3):
        assert hook.configured_accounts() is None

    assert len(server.requests) == 1
    assert caplog.text.count("The service's accounts can't be read: ") == 1
    assert "sess" not in caplog.text


def test_hook_logged_out_accounts_are_logged_once_without_secrets(connect, answering, caplog):
    hook = RiffusionHook(connect(answering(BODY).url))
    hook.configured_accounts()
    hook.configured_accounts(max_age=-1)

    said = caplog.text
    assert said.count("Connection 'riffusion_test': account b needs its login renewed at useapi.net.") == 1
    assert "sess" not in said


def test_hook_accounts_of_another_base_url_are_not_mixed_up(connect, answering, contract):
    hook = RiffusionHook(connect(answering(contract()).url))
    assert len(hook.get_capacity().accounts) == 2

    connect(answering(b'{"executing": [], "available": []}').url)
    hook.forget_connection()
    assert hook.get_capacity().accounts == ()


def test_hook_accounts_of_another_token_are_asked_for_again(connect, answering):
    server = answering(BODY)
    hook = RiffusionHook(connect(server.url))
    hook.configured_accounts()

    connect(server.url, password="user:1234-another")
    hook.forget_connection()
    hook.configured_accounts()
    assert len(server.requests) == 2


def test_hook_accounts_that_fail_are_not_retried(connect, answering, naps):
    server = answering(b"", "500 x")

    assert RiffusionHook(connect(server.url), retries=3).configured_accounts() is None
    assert len(server.requests) == 1


def test_hook_test_connection_counts_full_accounts(connect, raw_server):
    def respond(connection):
        body = BODY if b"/accounts " in server.requests[-1] else b'{"available": []}'
        head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        connection.sendall(head.encode() + body)

    server = raw_server(respond)
    assert RiffusionHook(connect(server.url)).test_connection() == (
        True,
        "Riffusion: 0 of 4 slots free on 1 account; account b needs its login renewed at useapi.net",
    )
