"""Who waits at a gate: waiters get one decision each, observers see the next reading."""

from __future__ import annotations

import asyncio
import contextvars
import copy
import logging
import random
from dataclasses import dataclass
from heapq import heappop, heappush
from typing import TYPE_CHECKING, Any, NamedTuple

from airflow_riffusion.core.demand import SlotDemand
from airflow_riffusion.exceptions import RiffusionRejected

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from airflow_riffusion.core.availability import Availability
    from airflow_riffusion.core.jobs import JobUpdate
    from airflow_riffusion.core.request import Grant, SlotRequest

log = logging.getLogger(__name__)

# Seconds, and how many at a time.
_BETWEEN_REMINDERS = 60.0
_BETWEEN_BATCHES = 0.25
_BATCH = 50
# Airflow gives the triggers of a triggerer to another one that has stood still for 30 s.
_STALL = 10.0


@dataclass(slots=True, eq=False)
class Waiter:
    """One waiting trigger; there may be thousands, so it consists of few objects."""

    poke_interval: float
    decision: Grant | JobUpdate | RiffusionRejected | None = None
    _woken: asyncio.Future[None] | None = None

    async def result(self, status: Callable[[], str], outlook: Callable[[], str]) -> Any:
        """Wait for the decision; when reminded, log the status of the wait if it has changed."""
        logged = None
        while self.decision is None:
            self._woken = asyncio.get_running_loop().create_future()
            await self._woken
            if self.decision is None and (current := status()) != logged:
                log.info("%s; %s.", current, outlook())
                logged = current
        if isinstance(self.decision, RiffusionRejected):
            raise self.decision
        return self.decision

    def wake(self) -> None:
        """End the wait in :meth:`result`."""
        if self._woken is not None and not self._woken.done():
            self._woken.set_result(None)


class Waiters:
    """
    All waiters of one gate.

    One timer reminds each of them once a minute to log its status, a few at a time, so that ten thousand
    neither need a timer each nor stall the event loop. It runs only while there are waiters.
    """

    def __init__(self) -> None:
        self._waiters: dict[str, Waiter] = {}
        self._reminders: list[tuple[float, str]] = []
        self._timer: asyncio.TimerHandle | None = None
        self._next_batch_at = float("inf")
        self.stalled_at = float("-inf")

    def __len__(self) -> int:
        """Return how many are waiting."""
        return len(self._waiters)

    def __iter__(self) -> Iterator[str]:
        """Iterate over the ids of the waiters."""
        return iter(list(self._waiters))

    @property
    def poke_interval(self) -> float:
        """The smallest interval that a waiter asked for, in seconds."""
        return min(waiter.poke_interval for waiter in self._waiters.values())

    def add(self, waiter_id: str, poke_interval: float) -> Waiter:
        """Add a waiter; its first reminder comes after one interval, or a minute if that is shorter."""
        self._waiters[waiter_id] = waiter = Waiter(poke_interval)
        self._remind_in(min(poke_interval, _BETWEEN_REMINDERS), waiter_id)
        if self._timer is None:
            self._remind()
        return waiter

    def resolve(self, waiter_id: str, decision: Grant | JobUpdate | RiffusionRejected) -> None:
        """End a wait by a decision, unless it has ended meanwhile."""
        waiter = self._waiters.pop(waiter_id, None)
        if waiter is not None:
            waiter.decision = decision
            waiter.wake()

    def remove(self, waiter_id: str) -> None:
        """Forget a waiter that was resolved, or waits no longer."""
        self._waiters.pop(waiter_id, None)
        if not self._waiters and self._timer is not None:
            self._timer.cancel()
            self._timer = None
            self._next_batch_at = float("inf")
            self._reminders.clear()

    def _remind(self) -> None:
        """Wake a few waiters whose reminder is due; come back soon."""
        loop = asyncio.get_running_loop()
        if loop.time() > self._next_batch_at + _STALL:
            self.stalled_at = loop.time()
        self._next_batch_at = loop.time() + _BETWEEN_BATCHES
        for _ in range(_BATCH):
            if not self._reminders or self._reminders[0][0] > loop.time():
                break
            _, waiter_id = heappop(self._reminders)
            if waiter_id in self._waiters:
                self._waiters[waiter_id].wake()
                self._remind_in(_BETWEEN_REMINDERS, waiter_id)
        # A context of its own, or it would keep the context of the first waiter's task alive.
        self._timer = loop.call_later(_BETWEEN_BATCHES, self._remind, context=contextvars.Context())

    def _remind_in(self, seconds: float, waiter_id: str) -> None:
        due = asyncio.get_running_loop().time() + seconds * random.uniform(1.0, 1.1)
        heappush(self._reminders, (due, waiter_id))


class _Observer(NamedTuple):
    poke_interval: float
    demand: SlotDemand | None
    needs_accounts: bool


class Observers:
    """All observers of one gate: each sees the next reading, takes no slots, and is then removed."""

    def __init__(self) -> None:
        self._observers: dict[asyncio.Future[Availability], _Observer] = {}

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self._observers)

    @property
    def poke_interval(self) -> float:
        """The smallest interval that an observer asked for, in seconds."""
        return min(observer.poke_interval for observer in self._observers.values())

    @property
    def need_accounts(self) -> bool:
        """Whether one of them must know which accounts the service has."""
        return any(observer.needs_accounts for observer in self._observers.values())

    def may_be_met(self, free: Mapping[str, int]) -> bool:
        """Return whether any observer's demand can be met by these slots."""
        demands = {observer.demand for observer in self._observers.values() if observer.demand is not None}
        return any(demand.pick(free) is not None for demand in demands)

    def add(
        self, poke_interval: float, request: SlotRequest | None = None, *, needs_accounts: bool = False
    ) -> asyncio.Future[Availability]:
        """Add an observer, and return the future that the next reading resolves."""
        result: asyncio.Future[Availability] = asyncio.get_running_loop().create_future()
        demand = None if request is None else SlotDemand.of(request)
        self._observers[result] = _Observer(poke_interval, demand, needs_accounts)
        return result

    def remove(self, result: asyncio.Future[Availability]) -> None:
        """Forget an observer that was resolved, or was cancelled."""
        self._observers.pop(result, None)

    def resolve(self, availability: Availability) -> None:
        """Resolve all observers with the next reading's availability."""
        for result in self._leaving():
            result.set_result(availability)

    def reject(self, error: RiffusionRejected) -> None:
        """End the wait of all observers with an error, a copy for each."""
        for result in self._leaving():
            result.set_exception(copy.copy(error))

    def _leaving(self) -> list[asyncio.Future[Availability]]:
        leaving = [result for result in self._observers if not result.done()]
        self._observers.clear()
        return leaving
