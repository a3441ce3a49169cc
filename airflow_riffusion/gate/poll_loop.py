"""One reading per interval for as long as somebody needs them, and none too soon for a failing service."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import random
from contextlib import suppress
from typing import TYPE_CHECKING, Protocol

from airflow_riffusion.core.ledger import READINGS_TO_CONFIRM
from airflow_riffusion.exceptions import (
    RiffusionBadResponse,
    RiffusionError,
    RiffusionRejected,
    RiffusionUnavailable,
)

if TYPE_CHECKING:
    from airflow_riffusion.core.capacity import Capacity
    from airflow_riffusion.hooks.riffusion import RiffusionHook

log = logging.getLogger(__name__)

SHORTEST_INTERVAL = 1.0
"""Seconds between two readings at the least, whatever was asked for."""

# All in seconds.
_LONGEST_BACKOFF = 300.0
_LONGEST_RETRY_AFTER = 600.0
_CONNECTION_LIFETIME = 300.0
_QUIET_BEFORE_FIRST_READING = 1.0
_LONGEST_GATHERING = 10.0


class Reader(Protocol):
    """Who needs the readings."""

    @property
    def poke_interval(self) -> float | None:
        """Seconds between readings; None to leave them as they are."""

    def needs_readings(self) -> bool:
        """Return whether there is anybody to read for."""

    def tried(self) -> None:
        """Learn that a reading was taken, or could not be."""

    def rested(self) -> None:
        """Learn that the readings have ended, because nobody needs them."""

    def wants_slots(self) -> bool:
        """Return whether somebody waits whom a reading may serve."""

    async def answered(self, reading: Capacity) -> None:
        """Take a reading; the next one comes no sooner than this is done."""

    def rejected(self, error: RiffusionRejected) -> None:
        """Learn that there will be no reading, and that waiting won't help."""


class PollLoop:
    """
    Takes readings for one reader, and knows how to wait for a service that fails.

    The loop runs from :meth:`keep_pace` until nobody needs readings. The time of the last request and how
    long a failing service is left alone outlive that.

    :param hook: asks the service.
    :param reader: who needs the readings.
    """

    def __init__(self, hook: RiffusionHook, reader: Reader) -> None:
        self.reading: Capacity | None = None
        self.trouble: str | None = None
        self._hook = hook
        self._reader = reader
        self._born = _now()
        self._task: asyncio.Task[None] | None = None
        self._hurried: asyncio.Event | None = None
        self._interval = SHORTEST_INTERVAL
        self._jitter = 1.0
        self._at_once = self._again = self._answering = False
        self._read_at = self._polled_at = self._looked_up_at = self._not_before = float("-inf")
        self._failures = 0
        self._bad_responses = 0
        self._troubles_logged: set[tuple[type, int | None]] = set()

    @property
    def is_running(self) -> bool:
        """Whether there will be another reading."""
        return self._task is not None

    @property
    def outlook(self) -> str:
        """When the next reading comes, in words."""
        seconds = self._due() - _now()
        return f"next reading in {seconds:.0f} s" if seconds > 0 else "a reading is being taken"

    def gather(self) -> None:
        """Put a first reading off: a restarted triggerer gets its tasks back one by one, in no order."""
        if self._polled_at == float("-inf"):
            self._not_before = min(_now() + _QUIET_BEFORE_FIRST_READING, self._born + _LONGEST_GATHERING)

    def keep_pace(self) -> None:
        """Read as often as those want who need readings by now."""
        self._interval = self._reader.poke_interval or self._interval
        if self._hurried is not None:
            self._hurried.set()
        elif self._reader.needs_readings():
            self._hurried = asyncio.Event()
            # A context of its own, or the poll loop would write into the first waiter's task log.
            self._task = asyncio.create_task(self._poll(self._hurried), context=contextvars.Context())

    def read_at_once(self) -> None:
        """Let the next reading, and only that, come as soon as one may; one not a second old counts, too."""
        self._at_once = self._again = True
        self.keep_pace()

    async def read_again(self) -> Capacity:
        """
        Take another reading for a decision that needs one of this very moment.

        :raises RiffusionError: if it can't be had; whoever is answered may leave that to the loop.
        """
        self._polled_at = _now()
        self.reading = await self._take_reading()
        self._read_at = _now()
        return self.reading

    def stop(self) -> None:
        """End the loop; a request under way is not waited for, but what is made of an answer is."""
        if self._task is not None and not self._answering:
            self._task.cancel()
            self._task = self._hurried = None
        self._at_once = self._again = False

    async def _poll(self, hurried: asyncio.Event) -> None:
        """Take a reading per interval while there is need of them, never two within a second."""
        await self._sleep(hurried)
        while self._task is asyncio.current_task() and self._reader.needs_readings():
            await self._read()
            self._reader.tried()
            if self._reader.needs_readings():
                await self._sleep(hurried)
        if self._task is asyncio.current_task():
            self._task = self._hurried = None
            self._reader.rested()

    async def _sleep(self, hurried: asyncio.Event) -> None:
        """Sleep until the next poll is due; a newcomer may bring it forward."""
        self._jitter = random.uniform(1.0, 1.1)
        while not self._can_answer_again and (due := self._due()) > _now():
            hurried.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(due - _now()):
                    await hurried.wait()

    @property
    def _can_answer_again(self) -> bool:
        """Whether a newcomer can be served by the last reading: there is none after it that failed."""
        is_fresh = _now() - self._read_at < SHORTEST_INTERVAL
        return self._again and is_fresh and self.trouble is None

    def _due(self) -> float:
        interval = SHORTEST_INTERVAL if self._at_once else self._interval
        return max(self._polled_at + interval * self._jitter, self._not_before)

    async def _read(self) -> None:
        """Take one reading, or judge why there is none."""
        self._interval = self._reader.poke_interval or self._interval
        try:
            await (self._answer_again() if self._can_answer_again else self._answer_anew())
        except RiffusionRejected as error:
            self._rejected(error)
        except RiffusionBadResponse as error:
            self._bad_responses += 1
            if self._bad_responses >= READINGS_TO_CONFIRM:
                self._rejected(error.as_rejected())
            else:
                self._postpone(error)
        except RiffusionUnavailable as error:
            self._bad_responses = 0
            self._postpone(error, error.retry_after)
        except Exception as error:  # noqa: BLE001
            # Whatever this is, it must not leave the waiters behind without a poll loop.
            self._postpone(error)

    async def _answer_again(self) -> None:
        """Let the last reading serve a newcomer; if it doesn't, the next one is to come as soon as it may."""
        self._again = False
        assert self.reading is not None
        await self._answer(self.reading)
        self._at_once = self._at_once and self._reader.wants_slots()

    async def _answer_anew(self) -> None:
        self._polled_at = _now()
        self._at_once = self._again = False
        reading = await self._take_reading()
        self._is_well()
        self.reading, self._read_at = reading, _now()
        await self._answer(reading)

    async def _answer(self, reading: Capacity) -> None:
        self._answering = True
        try:
            await self._reader.answered(reading)
        finally:
            self._answering = False

    async def _take_reading(self) -> Capacity:
        """Ask the service; after a rejection once more, if the connection has changed meanwhile."""
        if self._polled_at - self._looked_up_at >= _CONNECTION_LIFETIME:
            self._hook.forget_connection()
            self._looked_up_at = self._polled_at
        settings = await self._hook.aload()
        try:
            return await self._hook.aget_capacity()
        except RiffusionRejected:
            self._hook.forget_connection()
            if await self._hook.aload() == settings:
                raise
            log.info("Connection '%s' has changed; asking again.", self._hook.riffusion_conn_id)
            return await self._hook.aget_capacity()

    def _is_well(self) -> None:
        if self.trouble is not None:
            log.info(
                "Connection '%s' answers again, after %d readings that failed.",
                self._hook.riffusion_conn_id,
                self._failures,
            )
        self.trouble = None
        self._troubles_logged.clear()
        self._failures = self._bad_responses = 0

    def _rejected(self, error: RiffusionRejected) -> None:
        self._bad_responses = 0
        self.stop()
        self._reader.rejected(error)

    def _postpone(self, error: Exception, retry_after: float | None = None) -> None:
        """Leave a failing service alone: as long as it asked for, and longer with each failure."""
        self.trouble = str(error) if isinstance(error, RiffusionError) else f"Unexpected {error!r}."
        self._log_trouble(error)
        if getattr(error, "status", None) is None:
            # No answer, or none of the service's: somebody may be mending the connection right now.
            self._hook.forget_connection()
        self._failures += 1
        longest = min(_LONGEST_BACKOFF, self._interval * 2 ** min(self._failures, 16))
        backoff = random.uniform(self._interval, max(self._interval, longest))
        self._not_before = _now() + max(backoff, min(retry_after or 0.0, _LONGEST_RETRY_AFTER))

    def _log_trouble(self, error: Exception) -> None:
        """Log each kind of trouble once until the service answers again, with a traceback if there is one."""
        cause = error.__cause__ if isinstance(error, RiffusionError) else error
        kind = (type(cause or error), getattr(error, "status", None))
        if kind not in self._troubles_logged:
            self._troubles_logged.add(kind)
            log.warning(
                "Connection '%s': %s Waiting goes on.",
                self._hook.riffusion_conn_id,
                self.trouble,
                exc_info=cause,
            )


def _now() -> float:
    return asyncio.get_running_loop().time()
