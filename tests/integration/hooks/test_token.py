from __future__ import annotations

import json

import pytest

from airflow_riffusion.exceptions import (
    RiffusionError,
    RiffusionUnavailable,
)
from airflow_riffusion.hooks.riffusion import RiffusionHook

TOKEN = "user:1234-abcDEF"


def test_netrc_does_not_replace_it(connect, answering, contract, monkeypatch, tmp_path):
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login somebody password else\n")
    monkeypatch.setenv("NETRC", str(netrc))
    server = answering(contract())

    RiffusionHook(connect(server.url)).get_capacity()

    assert f"Authorization: Bearer {TOKEN}".encode() in server.requests[0]


def test_no_proxy_sees_it_over_plain_http(connect, answering, contract, monkeypatch):
    server, proxy = answering(contract()), answering(contract())
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, proxy.url)

    RiffusionHook(connect(server.url)).get_capacity()

    assert (len(server.requests), len(proxy.requests)) == (1, 0)


def test_a_borrowed_session_takes_it_to_no_other_host(connect, answering, contract):
    server, elsewhere = answering(contract()), answering(b"{}")
    session = RiffusionHook(connect(server.url)).get_conn()

    session.get(f"{elsewhere.url}/x")

    assert b"Authorization" not in elsewhere.requests[0]


def test_a_borrowed_session_follows_no_redirect(connect, answering):
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
def test_an_answer_that_echoes_it_does_not_get_it_into_the_error(connect, answering, status, body):
    hook = RiffusionHook(connect(answering(body, status).url))

    with pytest.raises(RiffusionError) as caught:
        hook.get_capacity()

    error = caught.value
    shown = f"{error} {error!r} {error.detail} {vars(error)}"
    assert "abcDE" not in shown
    assert error.__cause__ is None


def test_a_reading_that_echoes_it_is_read_without_it(connect, answering, capfd):
    job = {"job_id": "1", "replyRef": TOKEN}
    account = {"user_id": TOKEN, "available": TOKEN}
    body = json.dumps({"executing": [job], "available": [account]}).encode()

    capacity = RiffusionHook(connect(answering(body).url)).get_capacity()

    assert TOKEN not in json.dumps(capacity.to_xcom()) + str(capacity.warnings)
    assert TOKEN not in "".join(capfd.readouterr())


def test_an_answer_stays_whole_though_a_token_for_an_emulator_is_a_part_of_its_words(connect, answering):
    body = json.dumps({"executing": [], "available": [{"user_id": "max", "maxJobs": 3, "available": 2}]})

    capacity = RiffusionHook(connect(answering(body.encode()).url, password="x")).get_capacity()

    assert str(capacity) == "2 of 3 slots free on 1 account"


def test_the_hook_and_its_errors_and_logs_do_not_show_it(connect, answering, naps, capfd):
    hook = RiffusionHook(connect(answering(b"", "503 x").url), retries=1)

    with pytest.raises(RiffusionUnavailable) as caught:
        hook.get_capacity()

    logged = "".join(capfd.readouterr())
    assert "Trying again" in logged
    assert TOKEN not in f"{hook!r} {hook.settings!r} {caught.value!r} {logged}"
