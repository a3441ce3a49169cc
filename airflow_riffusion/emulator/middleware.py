"""What every request passes before it reaches a route: counted, checked for its token, met by the faults."""

from __future__ import annotations

import asyncio
import hmac
from contextlib import suppress
from typing import TYPE_CHECKING

from airflow_riffusion.emulator.misbehaviour import JOB_ERROR, error_answer, lose_answer, misbehave

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.types import ASGIApp, Receive, Scope, Send

    from airflow_riffusion.emulator.faults import FaultList
    from airflow_riffusion.emulator.service import SchedulerService

CONTROL_PREFIX = "/emulator/"
"""Where the routes begin that control the emulator and are no part of the service."""

OPENAPI_PATH = "/openapi.json"
"""Where the description of all routes lies, open to everybody."""


class RequestMiddleware:
    """
    The ASGI middleware in front of all routes.

    :param app: the routes.
    :param service: counts the requests.
    :param faults: the faults in force.
    :param service_prefix: where the service's routes begin, with both slashes.
    :param token: returns the one API token to accept, or None for any.
    :param closing: set when the server closes; no request is delayed any longer then.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        service: SchedulerService,
        faults: FaultList,
        service_prefix: str,
        token: Callable[[], str | None],
        closing: asyncio.Event,
    ) -> None:
        self._app = app
        self._service = service
        self._faults = faults
        self._service_prefix = service_prefix
        self._token = token
        self._closing = closing

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request pass, or answer it here."""
        if scope["type"] != "http" or scope["path"] == OPENAPI_PATH:
            await self._app(scope, receive, send)
        elif scope["path"].startswith(CONTROL_PREFIX):
            if self._is_authorized(scope):
                await self._app(scope, receive, send)
            else:
                await error_answer(401, "Unauthorized")(scope, receive, send)
        else:
            await self._serve(scope, receive, send)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        # The service takes its paths with a slash at the end, too.
        scope = {**scope, "path": scope["path"].rstrip("/")}
        endpoint = self._endpoint(scope)
        self._service.count_request(endpoint)
        if not self._is_authorized(scope):
            self._service.count_unauthorized()
            await error_answer(401, "Unauthorized")(scope, receive, send)
            return
        fault = self._faults.meet(endpoint)
        if fault is None:
            await self._app(scope, receive, send)
            return
        await self._delay(fault.delay_seconds)
        scope = {**scope, JOB_ERROR: fault.job_error}
        if fault.stops:
            await misbehave(fault, scope, receive, send)
        elif fault.lose_answer:
            await lose_answer(self._app, scope, receive)
        else:
            await self._app(scope, receive, send)

    def _endpoint(self, scope: Scope) -> str:
        match scope["method"], scope["path"].removeprefix(self._service_prefix):
            case "GET", "scheduler/available":
                return "available"
            case "GET", "accounts":
                return "accounts"
            case "GET", "scheduler":
                return "scheduler"
            case "POST", "music/create-prompt":
                return "create-prompt"
            case "GET", "music":
                return "result"
            case "DELETE", path if path.startswith("scheduler/"):
                return "cancel"
            case _:
                return "other"

    def _is_authorized(self, scope: Scope) -> bool:
        header = next((value for name, value in scope["headers"] if name == b"authorization"), b"")
        scheme, _, token = header.partition(b" ")
        token = token.strip()
        if scheme.lower() != b"bearer" or not token:
            return False
        accepted = self._token()
        return accepted is None or hmac.compare_digest(token, accepted.encode())

    async def _delay(self, seconds: float) -> None:
        if seconds:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._closing.wait(), seconds)
