"""The submissions of all tasks at a gate: so many at a time, and at the service's pace."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
    from typing import Any

    from airflow_riffusion.core.capacity import Capacity, ExecutingJob
    from airflow_riffusion.gate.source import ReadingSource
    from airflow_riffusion.hooks.riffusion import RiffusionHook

    Submit = Callable[[Callable[[RiffusionHook], Any]], Awaitable[Any]]

_MOST_AT_ONCE = 32


class Submissions:
    """Sends submissions, and notes which of their jobs a reading shows before the answer is there."""

    def __init__(self, source: ReadingSource) -> None:
        self._source = source
        self._threads = ThreadPoolExecutor(_MOST_AT_ONCE, thread_name_prefix="riffusion-submit")
        self._turns = asyncio.Semaphore(_MOST_AT_ONCE)
        self._pace = asyncio.Lock()
        self._next_at = float("-inf")
        self._expected: dict[str, ExecutingJob | None] = {}

    @asynccontextmanager
    async def turn(self, interval: float) -> AsyncIterator[Submit]:
        """Wait for one of the threads that submit, and until a submission is due."""
        async with self._turns, AsyncExitStack() as pace:
            if interval:
                await pace.enter_async_context(self._pace)
                await asyncio.sleep(max(0.0, self._next_at - _now()))

            async def submit(call: Callable[[RiffusionHook], Any]) -> Any:
                # Only now: what its task had to do first may have taken a while.
                self._next_at = _now() + interval
                await pace.aclose()
                return await self._source.call(call, threads=self._threads)

            yield submit

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
