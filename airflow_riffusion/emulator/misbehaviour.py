"""How a fault answers in place of the service, or keeps its answer back."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING

from starlette.responses import JSONResponse, Response, StreamingResponse

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from airflow_riffusion.emulator.faults import Fault

CLOSE_CONNECTION = "airflow_riffusion.emulator.close_connection"
"""The ASGI extension through which the server lends a request its connection, to close it."""

JOB_ERROR = "airflow_riffusion.emulator.job_error"
"""Where a request's scope says, as a fault wants it, with what text the submitted job shall fail."""

HUGE_BYTES = 60_000_000
"""The size of a ``huge`` body, in bytes."""

_JSON = "application/json"
_CUT_JSON = b'{"executing": [], "available": [{"user_id": "'
_ERROR_PAGE = (
    "<!DOCTYPE html>\n<html><body><h1>Bad Gateway</h1><p>The origin did not answer.</p></body></html>\n"
)


async def misbehave(fault: Fault, scope: Scope, receive: Receive, send: Send) -> None:
    """
    Answer a request as a fault says.

    :param fault: a fault that drops the connection or gives an answer of its own.
    :param scope: the request.
    :param receive: where the request's messages come from.
    :param send: where the answer's messages go.
    """
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


async def lose_answer(app: ASGIApp, scope: Scope, receive: Receive) -> None:
    """
    Have a request served, and close its connection in place of the answer.

    :param app: serves the request.
    :param scope: the request.
    :param receive: where the request's messages come from.
    """
    await app(scope, receive, _keep_back)
    await _close_connection(scope, receive)


async def _keep_back(_message: Message) -> None:
    pass


def error_answer(status: int, message: str) -> JSONResponse:
    """
    Make an answer in the service's own shape of an error.

    :param status: the HTTP status.
    :param message: what is wrong.
    :return: the answer.
    """
    return JSONResponse({"error": message, "code": status}, status)


def _response(fault: Fault) -> Response:
    status = fault.status or 200
    if status in (204, 304):
        return Response(status_code=status)
    match fault.body:
        case None:
            return error_answer(status, _phrase(status))
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
    # Only when the server has noticed is it content with an unfinished answer.
    while (await receive())["type"] != "http.disconnect":
        pass


def _retry_after(fault: Fault) -> list[tuple[bytes, bytes]]:
    return [] if fault.retry_after is None else [(b"retry-after", str(fault.retry_after).encode())]


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Error"
