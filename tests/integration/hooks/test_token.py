from __future__ import annotations

import json

import pytest

from airflow_riffusion.exceptions import (
    RiffusionError,
    RiffusionUnavailable,
)
from airflow_riffusion.hooks.riffusion import RiffusionHook

TOKEN = "user:1234-abcDEF"


def test_token_beside_a_netrc_is_sent(connect, answering, contract, monkeypatch, tmp_path):
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login somebody password else\n")
    monkeypatch.setenv("NETRC", str(netrc))
    server = answering(contract())

    RiffusionHook(connect(server.url)).get_capacity()

    assert f"Authorization: Bearer {TOKEN}".encode() in server.requests[0]


def test_token_over_plain_http_is_sent_to_no_proxy(connect, answering, contract, monkeypatch):
    server, proxy = answering(contract()), answering(contract())
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, proxy.url)

    RiffusionHook(connect(server.url)).get_capacity()

    assert (len(server.requests), len(proxy.requests)) == (1, 0)


def test_session_request_to_another_host_has_no_token(connect, answering, contract):
    server, elsewhere = answering(contract()), answering(b"{}")
    session = RiffusionHook(connect(server.url)).get_conn()

    session.get(f"{elsewhere.url}/x")

    assert b"Authorization" not in elsewhere.requests[0]


def test_session_redirect_is_not_followed(connect, answering):
    elsewhere = answering(b"{}")
    server = answering(b"", "302 Found", Location=elsewhere.url)
    session = RiffusionHook(connect(server.url)).get_conn()

    assert session.get(f"{server.url}/x").status_code == 302
    assert elsewhere.requests == []


@pytest.mark.parametrize(
    ("status", "body"),
    [
        ("401 Unauthorized", json.dumps({"error": f"bad token {TOKEN}"}).encode()),
        ("500 Oops", f"trace: Authorization: Bearer {TOKEN}".encode()),
        ("500 Oops", (" " * 1985 + TOKEN).encode()),
        ("500 Oops", b"user%3A1234-abcDEF"),
        ("200 OK", json.dumps(f"bad token {TOKEN}").encode()),
        ("200 OK", json.dumps({"executing": f"bad token {TOKEN}"}).encode()),
    ],
)
def test_token_echoed_by_an_answer_is_not_in_the_error(connect, answering, status, body):
    hook = RiffusionHook(connect(answering(body, status).url))

    with pytest.raises(RiffusionError) as caught:
        hook.get_capacity()

    error = caught.value
    shown = f"{error} {error!r} {error.detail} {vars(error)}"
    assert "abcDE" not in shown
    assert error.__cause__ is None


def test_token_echoed_by_a_reading_is_removed(connect, answering, capfd):
    job = {"job_id": "1", "replyRef": TOKEN}
    account = {"user_id": TOKEN, "available": TOKEN}
    body = json.dumps({"executing": [job], "available": [account]}).encode()

    capacity = RiffusionHook(connect(answering(body).url)).get_capacity()

    assert TOKEN not in json.dumps(capacity.to_xcom()) + str(capacity.warnings)
    assert TOKEN not in "".join(capfd.readouterr())


def test_token_of_few_characters_is_not_replaced_in_answers(connect, answering):
    body = json.dumps({"executing": [], "available": [{"user_id": "max", "maxJobs": 3, "available": 2}]})

    capacity = RiffusionHook(connect(answering(body.encode()).url, password="x")).get_capacity()

    assert str(capacity) == "2 of 3 slots free on 1 account"


def test_token_of_a_failed_request_is_in_no_repr_error_or_log(connect, answering, naps, capfd):
    hook = RiffusionHook(connect(answering(b"", "503 x").url), retries=1)

    with pytest.raises(RiffusionUnavailable) as caught:
        hook.get_capacity()

    logged = "".join(capfd.readouterr())
    assert "Trying again" in logged
    assert TOKEN not in f"{hook!r} {hook.settings!r} {caught.value!r} {logged}"
