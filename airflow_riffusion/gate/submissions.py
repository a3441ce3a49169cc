"""The submissions of all tasks at a gate: so many at a time, and at the service's pace."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from functools import partial
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
    from typing import Any

    from airflow_riffusion.core.capacity import Capacity, ExecutingJob
    from airflow_riffusion.gate.source import ReadingSource
    from airflow_riffusion.hooks.riffusion import RiffusionHook

    Submit = Callable[[Callable[[RiffusionHook], Any]], Awaitable[Any]]

_MOST_AT_ONCE = 32
# Where a pause is to be kept: one gets ready while another waits for its end. Not more, as claims expire.
_MOST_GETTING_READY = 2
# Seconds, as the first of two submissions may take longer on its way than the second.
_MARGIN = 0.5


class Submissions:
    """Sends submissions, and notes which of their jobs a reading shows before the answer is there."""

    def __init__(self, source: ReadingSource) -> None:
        self._source = source
        self._threads = ThreadPoolExecutor(_MOST_AT_ONCE, thread_name_prefix="riffusion-submit")
        self._turns = asyncio.Semaphore(_MOST_AT_ONCE)
        self._getting_ready = asyncio.Semaphore(_MOST_GETTING_READY)
        self._sending = asyncio.Lock()
        self._last_sent_at = float("-inf")
        self._expected: dict[str, ExecutingJob | None] = {}

    @asynccontextmanager
    async def turn(self, pause: float) -> AsyncIterator[Submit]:
        """Wait for a thread; return what sends a submission, at least so many seconds after the last one."""
        async with self._turns, AsyncExitStack() as until_sent:
            if pause:
                await until_sent.enter_async_context(self._getting_ready)

            async def until_due() -> None:
                if pause:
                    await self._keep(pause)
                await until_sent.aclose()

            yield partial(self._source.call, threads=self._threads, until_due=until_due)

    async def _keep(self, pause: float) -> None:
        async with self._sending:
            await asyncio.sleep(max(0.0, self._last_sent_at + pause + _MARGIN - _now()))
            self._last_sent_at = _now()

    @contextmanager
    def expecting(self, reply_ref: str) -> Iterator[Callable[[], ExecutingJob | None]]:
        """Note whether a reading shows a job while its submission is on its way: the answer may be lost."""
        self._expected[reply_ref] = None
        try:
            yield lambda: self._expected.get(reply_ref)
        finally:
            self._expected.pop(reply_ref, None)  # Two may have the same, by mistake.

    def observe(self, reading: Capacity) -> None:
        """Look for the jobs that are expected."""
        self._expected |= {job.reply_ref: job for job in reading.jobs if job.reply_ref in self._expected}


def _now() -> float:
    return asyncio.get_running_loop().time()
