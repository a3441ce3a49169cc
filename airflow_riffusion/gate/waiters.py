"""Those who wait at a gate: each is told one decision, and reminded to say why there is none yet."""

from __future__ import annotations

import asyncio
import contextvars
import random
from dataclasses import dataclass
from heapq import heappop, heappush
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airflow_riffusion.core.jobs import JobUpdate
    from airflow_riffusion.core.request import Grant
    from airflow_riffusion.exceptions import RiffusionRejected

# Seconds, and how many at a time.
_BETWEEN_REMINDERS = 60.0
_BETWEEN_BATCHES = 0.25
_BATCH = 50


@dataclass(slots=True, eq=False)
class Waiter:
    """
    One who waits; there may be thousands, so it is made of few objects.

    :param poke_interval: seconds between readings that it asked for.
    :param decision: what it was told.
    """

    poke_interval: float
    decision: Grant | JobUpdate | RiffusionRejected | None = None
    _woken: asyncio.Future[None] | None = None

    async def told(self) -> Grant | JobUpdate | RiffusionRejected | None:
        """Wait for the decision, or for a reminder; return None if it was the reminder."""
        if self.decision is None:
            self._woken = asyncio.get_running_loop().create_future()
            await self._woken
        return self.decision

    def wake(self) -> None:
        """Let it go on."""
        if self._woken is not None and not self._woken.done():
            self._woken.set_result(None)


class Waiters:
    """
    All who wait at one gate.

    A timer reminds a few at a time to write into their own logs, each once a minute, so that ten thousand
    of them neither have a timer each nor stall the event loop. It runs only while somebody waits.
    """

    def __init__(self) -> None:
        self._waiters: dict[str, Waiter] = {}
        self._reminders: list[tuple[float, str]] = []
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        """Return how many are waiting."""
        return len(self._waiters)

    def __iter__(self) -> Iterator[str]:
        """Go through the ids of those who wait."""
        return iter(list(self._waiters))

    @property
    def poke_interval(self) -> float:
        """The smallest that somebody asked for, in seconds."""
        return min(waiter.poke_interval for waiter in self._waiters.values())

    def add(self, waiter_id: str, poke_interval: float) -> Waiter:
        """
        Let somebody wait, and remind it first after one interval, or a minute.

        :param waiter_id: a new id.
        :param poke_interval: seconds between readings that it asks for.
        """
        self._waiters[waiter_id] = waiter = Waiter(poke_interval)
        self._remind_in(min(poke_interval, _BETWEEN_REMINDERS), waiter_id)
        if self._timer is None:
            self._remind()
        return waiter

    def tell(self, waiter_id: str, decision: Grant | JobUpdate | RiffusionRejected) -> None:
        """
        End a wait, unless it has ended meanwhile.

        :param waiter_id: the id it was added with.
        :param decision: what it waited for.
        """
        waiter = self._waiters.pop(waiter_id, None)
        if waiter is not None:
            waiter.decision = decision
            waiter.wake()

    def remove(self, waiter_id: str) -> None:
        """
        Forget one that was told, or waits no longer.

        :param waiter_id: the id it was added with.
        """
        self._waiters.pop(waiter_id, None)
        if not self._waiters and self._timer is not None:
            self._timer.cancel()
            self._timer = None
            self._reminders.clear()

    def _remind(self) -> None:
        """Wake a few whose time it is; come back soon."""
        loop = asyncio.get_running_loop()
        for _ in range(_BATCH):
            if not self._reminders or self._reminders[0][0] > loop.time():
                break
            _, waiter_id = heappop(self._reminders)
            if waiter_id in self._waiters:
                self._waiters[waiter_id].wake()
                self._remind_in(_BETWEEN_REMINDERS, waiter_id)
        # A context of its own, or it would keep that of the first waiter's task alive.
        self._timer = loop.call_later(_BETWEEN_BATCHES, self._remind, context=contextvars.Context())

    def _remind_in(self, seconds: float, waiter_id: str) -> None:
        due = asyncio.get_running_loop().time() + seconds * random.uniform(1.0, 1.1)
        heappush(self._reminders, (due, waiter_id))
