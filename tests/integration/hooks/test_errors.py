from __future__ import annotations

import json
import socket
import struct
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException

from airflow_riffusion.exceptions import (
    RiffusionRejected,
    RiffusionUnavailable,
)
from airflow_riffusion.hooks.riffusion import RiffusionHook

PATH = "/v1/riffusion/scheduler/available"
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"


def test_hook_wrong_token_is_rejected_with_advice_and_not_retried(connect, answering):
    server = answering(b'{"error": "Unauthorized", "code": 401}', "401 Unauthorized")
    hook = RiffusionHook(connect(server.url), retries=3)

    with pytest.raises(RiffusionRejected) as caught:
        hook.get_capacity()

    assert str(caught.value) == (
        f"401 Unauthorized from {server.url}{PATH} (Unauthorized): "
        "check the API token in connection 'riffusion_test'."
    )
    assert isinstance(caught.value, AirflowFailException)  # Airflow does not retry the task
    assert (caught.value.status, caught.value.detail) == (401, "Unauthorized")
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("status", "advice"),
    [
        ("400 Bad Request", ""),
        ("403 Forbidden", "check the API token"),
        ("404 Not Found", "check the base URL and the service ('riffusion') in connection 'riffusion_test'"),
        ("418 I'm a Teapot", ""),
        ("402 ", "there are no credits, or no subscription"),
        ("412 ", "there are no credits, or no subscription"),
        ("410 Gone", "it has expired"),
        ("422 ", "the prompt was moderated"),
        ("596 ", "renew its cookie at useapi.net"),
    ],
)
def test_hook_permanent_status_is_rejected_and_not_retried(connect, answering, status, advice):
    server = answering(b"", status)

    with pytest.raises(RiffusionRejected) as caught:
        RiffusionHook(connect(server.url), retries=3).get_capacity()

    assert caught.value.status == int(status[:3])
    assert advice in str(caught.value)
    assert len(server.requests) == 1


@pytest.mark.parametrize(("endpoint", "method"), [("music/creat", "POST"), ("music/?id=secret", "GET")])
def test_hook_404_of_another_endpoint_names_it_without_its_query(connect, answering, endpoint, method):
    server = answering(b"", "404 Not Found")

    with pytest.raises(RiffusionRejected) as caught:
        RiffusionHook(connect(server.url)).run(endpoint, method)

    path = endpoint.partition("?")[0]
    assert str(caught.value) == (
        f"404 Not Found from {server.url}/v1/riffusion/{path}: "
        f"check the endpoint '{path}' and the service ('riffusion') in connection 'riffusion_test'."
    )


@pytest.mark.parametrize(
    "status",
    ["408 Request Timeout", "429 Too Many Requests", "500 x", "502 x", "503 x", "504 x"],
)
def test_hook_temporary_status_is_unavailable(connect, answering, status):
    with pytest.raises(RiffusionUnavailable) as caught:
        RiffusionHook(connect(answering(b"", status).url)).get_capacity()
    assert caught.value.status == int(status[:3])


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("30", 30),
        ("0", 0),
        ("1000000000", 1e9),
        ("soon", None),
        ("-5", None),
        ("", None),
        ("Mon, 01 Jan 2024 00:00:00 +99999999999999999999", None),
        ("Mon, 01 Jan 99999999999 00:00:00 GMT", None),
    ],
)
def test_hook_retry_after_is_read_in_seconds_or_ignored(connect, answering, header, seconds):
    server = answering(b"", "429 Too Many Requests", Retry_After=header)

    with pytest.raises(RiffusionUnavailable) as caught:
        RiffusionHook(connect(server.url)).get_capacity()

    assert caught.value.retry_after == seconds


@pytest.mark.parametrize("minutes", [10, -10])
def test_hook_retry_after_date_is_read_as_seconds_from_now(connect, answering, minutes):
    moment = datetime.now(tz=UTC) + timedelta(minutes=minutes)
    server = answering(b"", "503 x", Retry_After=format_datetime(moment, usegmt=True))

    with pytest.raises(RiffusionUnavailable) as caught:
        RiffusionHook(connect(server.url)).get_capacity()

    assert caught.value.retry_after == pytest.approx(max(0, minutes * 60), abs=30)


@pytest.mark.parametrize(
    ("moment", "seconds"), [(timedelta(seconds=45), 45), (timedelta(seconds=-45), 0), (None, None)]
)
def test_hook_retry_after_in_the_body_is_read_as_seconds_from_now(connect, answering, moment, seconds):
    moment = None if moment is None else (datetime.now(tz=UTC) + moment).isoformat()
    server = answering(json.dumps({"error": "full", "retryAfter": moment}).encode(), "429 Too Many Requests")

    with pytest.raises(RiffusionUnavailable) as caught:
        RiffusionHook(connect(server.url)).get_capacity()

    assert caught.value.retry_after == (seconds if not seconds else pytest.approx(seconds, abs=30))


@pytest.mark.parametrize(
    "body",
    [
        {"error": "no such model"},
        {"error": {"code": 404, "message": "no such model", "status": "NOT_FOUND"}},
        {"message": "no such model"},
    ],
)
def test_hook_error_is_quoted_also_if_it_is_nested(connect, answering, body):
    server = answering(json.dumps(body).encode(), "404 Not Found")

    with pytest.raises(RiffusionRejected) as caught:
        RiffusionHook(connect(server.url)).run("music")

    assert caught.value.detail == "no such model"


def test_hook_redirect_is_rejected_and_not_followed(connect, answering):
    elsewhere = answering(b"{}")
    server = answering(b"", "302 Found", Location=f"{elsewhere.url}/x?token=secret")

    with pytest.raises(RiffusionRejected, match=f"redirects to {elsewhere.url}, which is not followed"):
        RiffusionHook(connect(server.url)).get_capacity()
    assert elsewhere.requests == []


@pytest.mark.parametrize("location", ["http://[bad", "//user:secret@", "\xe9", "", "/relative?secret"])
def test_hook_redirect_to_an_odd_location_is_rejected_without_secrets(connect, answering, location):
    server = answering(b"", "302 Found", Location=location)

    with pytest.raises(RiffusionRejected, match="which is not followed") as caught:
        RiffusionHook(connect(server.url)).get_capacity()
    assert "secret" not in str(caught.value)


def test_hook_truncated_answer_is_unavailable(connect, raw_server):
    server = raw_server(lambda connection: connection.sendall(HEAD + b'Content-Length: 500\r\n\r\n{"exec'))

    with pytest.raises(RiffusionUnavailable, match="No answer from"):
        RiffusionHook(connect(server.url)).get_capacity()


def test_hook_reset_connection_is_unavailable(connect, raw_server):
    def reset(connection):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    with pytest.raises(RiffusionUnavailable, match="No answer from"):
        RiffusionHook(connect(raw_server(reset).url)).get_capacity()


def test_hook_refused_connection_is_unavailable(connect):
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]

    with pytest.raises(RiffusionUnavailable, match="Connection refused"):
        RiffusionHook(connect(f"http://127.0.0.1:{port}")).get_capacity()


def test_hook_unknown_host_is_unavailable(connect, monkeypatch):
    def no_such_host(*args, **kwargs):
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", no_such_host)
    with pytest.raises(RiffusionUnavailable, match="Name or service not known"):
        RiffusionHook(connect("https://api.example.invalid")).get_capacity()
