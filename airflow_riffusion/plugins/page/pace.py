"""Asks at most so often, however many want to know."""

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


class Paced(Generic[T]):
    """
    The last answer to a question, asked anew when somebody wants to know, but no sooner than that may be.

    The question is asked in a thread, once at a time.

    :param ask: blocks, and answers. If it raises nevertheless, the last answer stays.
    :param pause: seconds from the end of asking until it may be asked again, by the answer; None for none.
    :param clock: seconds on any clock that never goes back.
    :param threads: where it is asked; without, in a thread of its own.
    """

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
        self._ask = ask
        self._pause = pause
        self._clock = clock
        self._threads = threads or Threads(1)
        self._asking: asyncio.Future[None] | None = None
        self._asked_at = float("-inf")

    @property
    def asking_for(self) -> float | None:
        """For how many seconds the question has been asked; None if it is answered."""
        return None if self._asking is None else self._clock() - self._asked_at

    async def latest(self, patience: float) -> T | None:
        """
        Return the last answer, asking first if it is time to.

        :param patience: seconds to wait for a new one. Then the old one has to do.
        :return: the answer; None if there never was one.
        """
        if self._asking is None and self._clock() >= self.due:
            self._begin()
        if self._asking is not None:
            await asyncio.wait((self._asking,), timeout=patience)
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
                with suppress(RuntimeError):  # The loop is closed: nobody wants to know any longer.
                    loop.call_soon_threadsafe(self._end, asking, answer)

        try:
            self._threads.run(work)
        except RuntimeError:  # That is what Python says on a machine that has no thread left.
            log.exception("The capacity page can't start a thread.")
            self._end(asking, None)

    def _end(self, asking: asyncio.Future[None], answer: T | None) -> None:
        self.answer = self.answer if answer is None else answer
        self.due = self._clock() + self._pause(answer)
        self._asking = None
        asking.set_result(None)
