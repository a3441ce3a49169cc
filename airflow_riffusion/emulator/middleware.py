"""What happens to every request before it reaches a route."""

from __future__ import annotations

import asyncio
import hmac
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from airflow_riffusion.emulator.audio import AUDIO_PREFIX
from airflow_riffusion.emulator.misbehaviour import (
    JOB_ERROR,
    error_answer,
    keep_back,
    lose_answer,
    misbehave,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.types import ASGIApp, Receive, Scope, Send

    from airflow_riffusion.emulator.faults import FaultList
    from airflow_riffusion.emulator.service import SchedulerService

CONTROL_PREFIX = "/emulator/"
OPENAPI_PATH = "/openapi.json"


@dataclass
class RequestMiddleware:
    """
    Counts requests, checks their token and applies faults.

    Those to ``/emulator/`` are only checked, and those for audio not even that.
    """

    app: ASGIApp
    service: SchedulerService
    faults: FaultList
    endpoint_of: Callable[[Scope], str]
    token: Callable[[], str | None]
    closing: asyncio.Event

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer it."""
        if scope["type"] != "http" or self._is_open(scope["path"]):
            await self.app(scope, receive, send)
        elif not scope["path"].startswith(CONTROL_PREFIX):
            await self._serve(scope, receive, send)
        elif self._is_authorized(scope):
            await self.app(scope, receive, send)
        else:
            await error_answer(401, "Unauthorized")(scope, receive, send)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        # The service takes its paths with a slash at the end, too.
        scope = {**scope, "path": scope["path"].rstrip("/")}
        endpoint = self.endpoint_of(scope)
        self.service.count_request(endpoint)
        if not self._is_authorized(scope):
            self.service.count_unauthorized()
            await error_answer(401, "Unauthorized")(scope, receive, send)
            return
        fault = self.faults.meet(endpoint)
        if fault is None:
            await self.app(scope, receive, send)
            return
        scope[JOB_ERROR] = fault.job_error
        delay = partial(self._delay, fault.delay_seconds)
        if fault.stops:
            await delay()
            await misbehave(fault, scope, receive, send)
        elif fault.lose_answer:
            await lose_answer(self.app, scope, receive, delay)
        else:
            await self.app(scope, receive, keep_back(send, delay))

    def _is_open(self, path: str) -> bool:
        return path == OPENAPI_PATH or path.startswith(AUDIO_PREFIX)

    def _is_authorized(self, scope: Scope) -> bool:
        header = next((value for name, value in scope["headers"] if name == b"authorization"), b"")
        scheme, _, token = header.partition(b" ")
        token = token.strip()
        if scheme.lower() != b"bearer" or not token:
            return False
        accepted = self.token()
        return accepted is None or hmac.compare_digest(token, accepted.encode())

    async def _delay(self, seconds: float) -> None:
        if seconds:
            with suppress(TimeoutError):
                await asyncio.wait_for(self.closing.wait(), seconds)
