"""Asks a blocking question at a limited rate, for any number of callers."""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Generic, TypeVar

from airflow_riffusion.plugins.page.threads import Threads

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

log = logging.getLogger(__name__)


class Throttled(Generic[T]):
    """The last answer to a question, asked anew on demand, but not before a pause is over."""

    def __init__(
        self,
        ask: Callable[[], T],
        pause: Callable[[T | None], float],
        clock: Callable[[], float] = time.monotonic,
        threads: Threads | None = None,
    ) -> None:
        self.answer: T | None = None
        self.due = float("-inf")
        """When it may be asked again, on the clock."""
        # Blocks, so it runs in a thread, once at a time. If it raises, the last answer stays.
        self._ask = ask
        # Takes the answer, or None if asking failed; returns the seconds until the next question.
        self._pause = pause
        self._clock = clock
        self._threads = threads or Threads(1)
        self._asking: asyncio.Future[None] | None = None
        self._asked_at = float("-inf")

    @property
    def asking_for(self) -> float | None:
        """For how many seconds the question has been asked; None if it is answered."""
        return None if self._asking is None else self._clock() - self._asked_at

    async def latest(self, timeout: float) -> T | None:  # noqa: ASYNC109 - it does not raise
        """Return a new answer if one is due and comes in time, otherwise the last one, if any."""
        if self._asking is None and self._clock() >= self.due:
            self._begin()
        if self._asking is not None:
            await asyncio.wait((self._asking,), timeout=timeout)
        return self.answer

    def _begin(self) -> None:
        loop = asyncio.get_running_loop()
        self._asked_at = self._clock()
        self._asking = asking = loop.create_future()

        def work() -> None:
            answer = None
            try:
                answer = self._ask()
            finally:
                with suppress(RuntimeError):  # The loop is closed: nothing waits for the answer.
                    loop.call_soon_threadsafe(self._end, asking, answer)

        try:
            self._threads.run(work)
        except RuntimeError:  # Python raises it on a machine that has no thread left.
            log.exception("The capacity page can't start a thread.")
            self._end(asking, None)

    def _end(self, asking: asyncio.Future[None], answer: T | None) -> None:
        self.answer = self.answer if answer is None else answer
        self.due = self._clock() + self._pause(answer)
        self._asking = None
        asking.set_result(None)
