"""A peer that sends the API token back where only the HTTP library looks: it must not come out again."""

from __future__ import annotations

import pytest

from airflow_riffusion.exceptions import RiffusionError
from airflow_riffusion.hooks.riffusion import RiffusionHook

TOKEN = "user:1234-abcDEF"


@pytest.fixture
def error_of(raw_server, connect):
    """Return a function that returns the error which a raw answer makes."""

    def ask(answer: bytes, token: str = TOKEN) -> RiffusionError:
        server = raw_server(lambda connection: connection.sendall(answer))
        with pytest.raises(RiffusionError) as raised:
            RiffusionHook(connect(server.url, password=token)).get_capacity()
        return raised.value

    return ask


def redirect(location: str) -> bytes:
    return f"HTTP/1.1 302 Found\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n".encode()


def chunk_size(size: str) -> bytes:
    return f"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{size}\r\n".encode()


@pytest.mark.parametrize(
    "answer",
    [
        f"Authorization: Bearer {TOKEN}\r\n\r\n".encode(),
        chunk_size(TOKEN),
        redirect(f"http://{TOKEN}/"),
        redirect(f"http://{TOKEN}.example.com/"),
    ],
    ids=["status line", "chunk size", "redirect", "redirect to a part"],
)
def test_error_with_echoed_token_shows_asterisks(error_of, answer):
    error = error_of(answer)

    assert "abcDEF" not in f"{error} {error.detail}"
    assert "***" in str(error)


def test_error_with_escaped_token_does_not_show_it(error_of):
    error = error_of(chunk_size(r"user:1234\abcDEF"), token=r"user:1234\abcDEF")

    assert "abcDEF" not in f"{error} {error.detail}"


@pytest.mark.parametrize(
    "answer",
    [b"\x1b[2J\x1b]0;gone\x07 HTTP?\r\n\r\n", redirect("http://\x1b[2Jgone/")],
    ids=["status line", "redirect"],
)
def test_error_with_control_characters_is_printable(error_of, answer):
    error = error_of(answer)

    assert str(error).isprintable()
    assert (error.detail or "").isprintable()


def test_error_with_endless_status_line_is_shortened(error_of):
    assert len(error_of(b"x" * 10_000 + b"\r\n\r\n").detail) <= 201
