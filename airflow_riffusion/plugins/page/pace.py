"""Asks at most so often, however many want to know."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


class Paced(Generic[T]):
    """
    The last answer to a question, asked anew when somebody wants to know, but no sooner than that may be.

    The question is asked in a thread of its own, one at a time. It is a daemon: a service that doesn't answer
    shall neither use up the threads that Airflow serves its own pages with, nor keep it from shutting down.

    :param ask: blocks, and answers; it must not raise.
    :param pause: seconds from the beginning of asking until it may be asked again, by the answer.
    :param clock: seconds on any clock that never goes back.
    """

    def __init__(
        self,
        ask: Callable[[], T],
        pause: Callable[[T], float],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.answer: T | None = None
        self._ask = ask
        self._pause = pause
        self._clock = clock
        self._asking: asyncio.Future[T] | None = None
        self._asked_at = self._due = float("-inf")

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
        if self._asking is None and self._clock() >= self._due:
            self._begin()
        if self._asking is not None:
            await asyncio.wait((self._asking,), timeout=patience)
        return self.answer

    def _begin(self) -> None:
        loop = asyncio.get_running_loop()
        self._asked_at = self._clock()
        self._asking = loop.create_future()
        self._asking.add_done_callback(self._end)
        asking = self._asking

        def work() -> None:
            answer = self._ask()
            if not loop.is_closed():
                loop.call_soon_threadsafe(asking.set_result, answer)

        threading.Thread(target=work, name="riffusion-capacity-page", daemon=True).start()

    def _end(self, asked: asyncio.Future[T]) -> None:
        self.answer = asked.result()
        self._due = self._asked_at + self._pause(self.answer)
        self._asking = None
