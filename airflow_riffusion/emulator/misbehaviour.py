"""How a fault answers in place of the service, or keeps its answer back."""

from __future__ import annotations

from http.client import responses
from typing import TYPE_CHECKING

from starlette.responses import JSONResponse, Response, StreamingResponse

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from airflow_riffusion.emulator.faults import Fault

CLOSE_CONNECTION = "airflow_riffusion.emulator.close_connection"
"""The ASGI extension with which a request can close its connection."""

JOB_ERROR = "airflow_riffusion.emulator.job_error"
"""The key of a request's scope for the error of the submitted job, if a fault lets it fail."""

HUGE_BYTES = 60_000_000

_JSON = "application/json"
_CUT_JSON = b'{"executing": [], "available": [{"user_id": "'
_ERROR_PAGE = (
    "<!DOCTYPE html>\n<html><body><h1>Bad Gateway</h1><p>The origin did not answer.</p></body></html>\n"
)


async def misbehave(fault: Fault, scope: Scope, receive: Receive, send: Send) -> None:
    """Answer a request with a fault's own answer, or drop it."""
    if fault.drop:
        await _close_connection(scope, receive)
    elif fault.body == "cut":
        announced = str(2 * len(_CUT_JSON)).encode()
        headers = [(b"content-type", _JSON.encode()), (b"content-length", announced), *_retry_after(fault)]
        await send({"type": "http.response.start", "status": fault.status or 200, "headers": headers})
        await send({"type": "http.response.body", "body": _CUT_JSON, "more_body": True})
        await _close_connection(scope, receive)
    else:
        response = _response(fault)
        response.raw_headers.extend(_retry_after(fault))
        await response(scope, receive, send)


async def lose_answer(
    app: ASGIApp, scope: Scope, receive: Receive, delay: Callable[[], Awaitable[None]]
) -> None:
    """Serve a request, and close its connection in place of the answer, after a delay."""

    async def discard(_message: Message) -> None:
        pass

    await app(scope, receive, discard)
    await delay()
    await _close_connection(scope, receive)


def keep_back(send: Send, delay: Callable[[], Awaitable[None]]) -> Send:
    """Wrap ``send`` so that the answer begins after a delay."""

    async def send_later(message: Message) -> None:
        if message["type"] == "http.response.start":
            await delay()
        await send(message)

    return send_later


def error_answer(status: int, message: str, **more: str) -> JSONResponse:
    """Make an error in the service's own shape."""
    return JSONResponse({"error": message, "code": status, **more}, status)


def _response(fault: Fault) -> Response:
    status = fault.status or 200
    if status in (204, 304):
        return Response(status_code=status)
    match fault.body:
        case None:
            return error_answer(status, responses.get(status, "Error"))
        case "truncated":
            return Response(_CUT_JSON, status, media_type=_JSON)
        case "html":
            return Response(_ERROR_PAGE, status, media_type="text/html")
        case "empty":
            return Response(b"", status, media_type=_JSON)
        case "huge":
            return StreamingResponse(_huge_json(), status, media_type=_JSON)
        case text:
            return Response(text, status, media_type=_JSON)


async def _huge_json() -> AsyncIterator[bytes]:
    """Yield a well-formed capacity answer of :data:`HUGE_BYTES`, nearly all of it padding."""
    head, padding, tail = b'{"executing": [], "available": [], "padding": "', b"x" * 50_000, b'"}'
    yield head
    left = HUGE_BYTES - len(head) - len(tail)
    while left > 0:
        yield padding[:left]
        left -= len(padding)
    yield tail


async def _close_connection(scope: Scope, receive: Receive) -> None:
    close = scope.get("extensions", {}).get(CLOSE_CONNECTION)
    if close is None:
        raise RuntimeError("this fault closes the connection: have EmulatorServer serve the app")
    close()
    # The server logs an unfinished answer as an error unless it has seen the connection close.
    while (await receive())["type"] != "http.disconnect":
        pass


def _retry_after(fault: Fault) -> list[tuple[bytes, bytes]]:
    return [] if fault.retry_after is None else [(b"retry-after", str(fault.retry_after).encode())]
