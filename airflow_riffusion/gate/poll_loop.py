"""When readings are due, and taking them."""

from __future__ import annotations

import asyncio
import random
from contextlib import suppress
from typing import TYPE_CHECKING

from airflow_riffusion.core.backoff import Backoff
from airflow_riffusion.exceptions import RiffusionBadResponse, RiffusionRejected

if TYPE_CHECKING:
    from airflow_riffusion.core.capacity import Capacity
    from airflow_riffusion.gate.source import ReadingSource

SHORTEST_INTERVAL = 1.0
"""Seconds: the shortest interval between two readings."""

# Seconds without a new waiter before the first reading, and the longest that it is put off.
_DEBOUNCE = 1.0
_LONGEST_DEBOUNCE = 10.0

_NEVER = float("-inf")


class PollLoop:
    """
    Takes one reading per interval, at most one per second, and fewer while they fail.

    Both limits hold across a pause without waiters: the times of the last request and failure are kept.
    """

    def __init__(self, source: ReadingSource) -> None:
        self._source = source
        self._created_at = _now()
        self._requested_at = self._read_at = self._due = _NEVER
        # Its interval is the current one between readings: the smallest that a waiter asked for.
        self._backoff = Backoff(SHORTEST_INTERVAL)
        self._wake: asyncio.Event | None = None

    @property
    def next_due(self) -> float:
        """When the next reading is due, by the event loop's clock."""
        return max(self._due, self._backoff.not_before)

    def outlook(self) -> str:
        """Say when the next reading comes."""
        seconds = self.next_due - _now()
        return f"next reading in {seconds:.0f} s" if seconds > 0 else "a reading is being taken"

    def plan(self, interval: float, *, poll_now: bool = False) -> None:
        """Adapt to a new waiter; ``poll_now``: poll as soon as allowed, or reuse a reading under 1 s old."""
        now = _now()
        if self._requested_at == _NEVER:
            # A restarted triggerer gets its tasks back one by one, in any order: debounce the first reading.
            self._due = min(now + _DEBOUNCE, self._created_at + _LONGEST_DEBOUNCE)
        elif poll_now:
            self._due = now if self._is_reusable else min(self._due, self._after(SHORTEST_INTERVAL))
        elif interval < self._backoff.interval:
            self._due = min(self._due, self._after(interval))
        self._backoff.interval = interval
        if self._wake is not None:
            self._wake.set()

    async def wait_until_due(self) -> bool:
        """Sleep until the next reading is due; return whether the last one is to be reused."""
        # A new one each time, as an event keeps a reference to the event loop.
        self._wake = wake = asyncio.Event()
        try:
            while (pause := self.next_due - _now()) > 0:
                wake.clear()
                with suppress(TimeoutError):
                    async with asyncio.timeout(pause):
                        await wake.wait()
        finally:
            if self._wake is wake:
                self._wake = None
        if reuse := self._is_reusable:
            self._due = self._after(SHORTEST_INTERVAL)
        return reuse

    async def read(self, interval: float | None) -> Capacity:
        """Take a reading now, and plan the next; without an interval, at the last one."""
        self._backoff.interval = interval or self._backoff.interval
        self._requested_at = _now()
        self.plan_after_interval()
        reading = await self._source.read()
        self._read_at = self._requested_at
        self._backoff.succeeded()
        return reading

    def failed(self, error: Exception) -> RiffusionRejected | None:
        """Log it and back off, or return the rejection that ends all waits, if waiting won't help."""
        if not isinstance(error, RiffusionRejected):
            is_bad = isinstance(error, RiffusionBadResponse)
            self._backoff.failed(_now(), getattr(error, "retry_after", None), bad_answer=is_bad)
            if isinstance(error, RiffusionBadResponse) and self._backoff.gives_up:
                error = error.as_rejected()
        if isinstance(error, RiffusionRejected):
            self._backoff.succeeded()  # The next wait begins anew.
            return error
        self._source.failed(error)
        return None

    def plan_after_interval(self) -> None:
        """Let the next reading come after a whole interval, as no waiter needs it sooner."""
        self._due = self._after(self._backoff.interval)

    def on_idle(self) -> None:
        """Plan no reading until the next waiter."""
        self._due = self._backoff.interval = float("inf")

    @property
    def _is_reusable(self) -> bool:
        return _now() < self._read_at + SHORTEST_INTERVAL

    def _after(self, interval: float) -> float:
        return self._requested_at + interval * random.uniform(1.0, 1.1)


def _now() -> float:
    return asyncio.get_running_loop().time()
