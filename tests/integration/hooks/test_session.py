from __future__ import annotations

import gzip
import tracemalloc

import pytest
import requests

from airflow_riffusion.exceptions import (
    RiffusionBadResponse,
    RiffusionRejected,
    RiffusionUnavailable,
)
from airflow_riffusion.hooks.riffusion import RiffusionHook

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"


def test_session_compressed_redirect_is_not_unpacked(connect, answering):
    bomb = gzip.compress(bytes(200 * 1024 * 1024), compresslevel=1)
    server = answering(bomb, "302 Found", Location="/x", Content_Encoding="gzip")

    hook = RiffusionHook(connect(server.url))
    tracemalloc.start()
    try:
        with pytest.raises(RiffusionRejected):
            hook.get_capacity()
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 16 * 1024 * 1024


def test_session_trickling_tls_answer_is_ended_by_the_timeout(
    connect, raw_server, tls, certificate, monkeypatch
):
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))

    def trickle(connection):
        for byte in HEAD + b"".join(b"X-%d: x\r\n" % number for number in range(90)):
            connection.sendall(bytes([byte]))
            if server.pause(0.02):
                return

    server = raw_server(trickle, tls)
    with pytest.raises(RiffusionUnavailable, match=r"no complete answer within 0\.5 s"):
        RiffusionHook(connect(server.url, extra={"timeout": 0.5})).get_capacity()


@pytest.mark.parametrize("part", ["headers", "body", "chunks"])
def test_session_trickling_answer_is_ended_by_the_timeout(connect, raw_server, contract, part):
    body = contract()

    def trickle(connection):
        if part == "headers":
            slow = b"".join(b"X-%d: x\r\n" % number for number in range(90))
            before, after = HEAD, b"Content-Length: %d\r\n\r\n" % len(body) + body
        elif part == "body":
            before, slow, after = HEAD + b"Content-Length: %d\r\n\r\n" % len(body), body[:600], body[600:]
        else:
            slow = b"".join(b"1\r\n%c\r\n" % byte for byte in body)
            before, after = HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"0\r\n\r\n"
        connection.sendall(before)
        for byte in slow:
            connection.sendall(bytes([byte]))
            if server.pause(0.02):
                return
        connection.sendall(after)

    server = raw_server(trickle)
    with pytest.raises(RiffusionUnavailable, match=r"no complete answer within 0\.2 s"):
        RiffusionHook(connect(server.url, extra={"timeout": 0.2})).get_capacity()


def test_session_silent_server_is_left_after_the_timeout(connect, raw_server):
    server = raw_server(lambda connection: server.pause(20))

    with pytest.raises(RiffusionUnavailable, match=r"no complete answer within 0\.2 s"):
        RiffusionHook(connect(server.url, extra={"timeout": 0.2})).get_capacity()


@pytest.mark.parametrize("framing", ["length", "chunked", "one-endless-line"])
def test_session_huge_answer_is_cut_off_and_not_kept_in_memory(connect, raw_server, framing):
    size = 60 * 1024 * 1024
    block = b" " * 65536

    def flood(connection):
        connection.sendall(
            HEAD
            + {
                "length": b"Content-Length: %d\r\n\r\n" % size,
                "chunked": b"Transfer-Encoding: chunked\r\n\r\n%x\r\n" % size,
                "one-endless-line": b"Transfer-Encoding: chunked\r\n\r\n",
            }[framing]
        )
        for _ in range(size // len(block)):
            connection.sendall(block)

    hook = RiffusionHook(connect(raw_server(flood).url))
    tracemalloc.start()
    try:
        with pytest.raises((RiffusionBadResponse, RiffusionUnavailable)) as caught:
            hook.get_capacity()
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 16 * 1024 * 1024
    if framing != "one-endless-line":  # newer urllib3 has a limit of its own there
        assert "too large: more than 4 MiB" in str(caught.value)


def test_session_request_of_a_borrower_has_the_timeout(connect, raw_server):
    server = raw_server(lambda connection: server.pause(20))
    session = RiffusionHook(connect(server.url, extra={"timeout": 0.2})).get_conn()

    with pytest.raises(requests.Timeout):
        session.get(server.url)
