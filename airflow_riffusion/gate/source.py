"""Where readings come from: the service, by a connection that may change at any time."""

from __future__ import annotations

import asyncio
import contextvars
import logging
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from copy import copy
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from airflow_riffusion.exceptions import RiffusionError, RiffusionRejected

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from airflow_riffusion.core.capacity import Capacity
    from airflow_riffusion.hooks.riffusion import RiffusionHook
    from airflow_riffusion.hooks.settings import ConnectionSettings

Returned = TypeVar("Returned")

log = logging.getLogger(__name__)

_CONNECTION_LIFETIME = 300.0
"""Seconds after which the connection is looked up again."""

_MOST_CALLS = 8
"""Requests at the same time, besides readings and submissions: each kind waits for no other."""


class ReadingSource:
    """Takes readings, and logs each kind of failure once until a reading succeeds again."""

    def __init__(self, hook: RiffusionHook) -> None:
        self.last_error: str | None = None
        self._hook = hook
        self._looked_up_at = float("-inf")
        self._failures: Counter[tuple[type, int | None]] = Counter()
        self._threads = ThreadPoolExecutor(_MOST_CALLS, thread_name_prefix="riffusion-call")

    async def read(self) -> Capacity:
        """Ask the service; if it rejects the request and the connection has changed, ask once more."""
        now = asyncio.get_running_loop().time()
        if now - self._looked_up_at >= _CONNECTION_LIFETIME:
            self._hook.forget_connection()
            self._looked_up_at = now
        settings = await self._hook.aload()
        try:
            reading = await self._hook.aget_capacity()
        except RiffusionRejected:
            self._hook.forget_connection()
            if await self._hook.aload() == settings:
                raise
            log.info("Connection '%s' has changed; asking again.", self._hook.riffusion_conn_id)
            reading = await self._hook.aget_capacity()
        self._succeeded()
        return reading

    async def call(
        self,
        function: Callable[[RiffusionHook], Returned],
        *,
        threads: ThreadPoolExecutor | None = None,
        until_due: Callable[[], Awaitable[None]] | None = None,
    ) -> Returned:
        """
        Call the hook in a thread; after a rejection once more, if the connection has changed meanwhile.

        ``until_due`` is awaited directly before each call.
        """
        settings = await self._hook.aload()
        self._hook.get_conn()
        # A copy shares the session, and keeps its settings while readings look the connection up again.
        hook = copy(self._hook)

        async def ask() -> Returned:
            if until_due is not None:
                await until_due()
            return await _in_thread(threads or self._threads, function, hook)

        try:
            return await ask()
        except RiffusionRejected:
            if not await self._has_changed(hook, settings):
                raise
            return await ask()

    @staticmethod
    async def _has_changed(hook: RiffusionHook, settings: ConnectionSettings) -> bool:
        hook.forget_connection()
        try:
            return await hook.aload() != settings
        except RiffusionError:
            return False  # The rejection tells more.

    def failed(self, error: Exception) -> None:
        """Log why there is no reading, with the traceback of the cause."""
        self.last_error = str(error) if isinstance(error, RiffusionError) else f"Unexpected {error!r}."
        cause = error.__cause__ if isinstance(error, RiffusionError) else error
        status = getattr(error, "status", None)
        kind = (type(cause or error), status)
        self._failures[kind] += 1
        if self._failures[kind] == 1:
            log.warning(
                "Connection '%s': %s Waiting goes on.",
                self._hook.riffusion_conn_id,
                self.last_error,
                exc_info=cause,
            )
        if status is None:
            # Nothing that answers like the service: perhaps the connection is being corrected.
            self._hook.forget_connection()

    def _succeeded(self) -> None:
        if self._failures:
            log.info(
                "Connection '%s' answers again, after %d readings that failed.",
                self._hook.riffusion_conn_id,
                self._failures.total(),
            )
        self.last_error = None
        self._failures.clear()


async def _in_thread(
    threads: ThreadPoolExecutor, function: Callable[[RiffusionHook], Returned], hook: RiffusionHook
) -> Returned:
    # As asyncio.to_thread does, so that what is logged goes into the caller's log.
    call = partial(contextvars.copy_context().run, function, hook)
    return await asyncio.get_running_loop().run_in_executor(threads, call)
