"""One poll loop per connection in a triggerer, shared by all tasks that wait there."""

from __future__ import annotations

import asyncio
import contextvars
import copy
import logging
import random
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from airflow_riffusion.exceptions import (
    RiffusionBadResponse,
    RiffusionError,
    RiffusionRejected,
    RiffusionUnavailable,
)
from airflow_riffusion.hooks.riffusion import RiffusionHook
from airflow_riffusion.slots import READINGS_UNTIL_HOPELESS, Hopeless, SlotLedger
from airflow_riffusion.triggers.waiters import Waiters

if TYPE_CHECKING:
    from airflow_riffusion.capacity import Capacity
    from airflow_riffusion.request import Grant, SlotRequest
    from airflow_riffusion.triggers.waiters import Waiter

log = logging.getLogger(__name__)

# All in seconds.
_SHORTEST_INTERVAL = 1.0
_LONGEST_BACKOFF = 300.0
_LONGEST_RETRY_AFTER = 600.0
_CONNECTION_LIFETIME = 300.0
_QUIET_BEFORE_FIRST_READING = 1.0
_LONGEST_GATHERING = 10.0

_gates: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[str, CapacityGate]] = WeakKeyDictionary()


class CapacityGate:
    """
    Where the waiting tasks of one connection wait, at the cost of one request per interval.

    The gate paces the requests and wakes the waiters; who gets what is decided by the
    :class:`~airflow_riffusion.slots.SlotLedger`. Its poll loop lives while somebody waits, or a granted
    slot has not been seen in use: without readings its hold would outlast the job. The time of the last
    request and how long a failing service is left alone outlive that.

    :param riffusion_conn_id: the Airflow connection.
    """

    def __init__(self, riffusion_conn_id: str) -> None:
        self._born = _now()
        self._hook = RiffusionHook(riffusion_conn_id)
        self._ledger = SlotLedger()
        self._waiters = Waiters()
        self._poll_task: asyncio.Task[None] | None = None
        self._hurried: asyncio.Event | None = None
        self._interval = _SHORTEST_INTERVAL
        self._jitter = 1.0
        self._reading: Capacity | None = None
        self._read_at = self._polled_at = self._looked_up_at = self._not_before = float("-inf")
        self._failures = 0
        self._bad_responses = 0
        self._trouble: str | None = None
        self._troubles_logged: set[tuple[type, int | None]] = set()

    @classmethod
    def of(cls, riffusion_conn_id: str) -> CapacityGate:
        """
        Return the running event loop's gate for a connection.

        :param riffusion_conn_id: the Airflow connection.
        """
        gates = _gates.setdefault(asyncio.get_running_loop(), {})
        if riffusion_conn_id not in gates:
            gates[riffusion_conn_id] = cls(riffusion_conn_id)
        return gates[riffusion_conn_id]

    async def wait(self, waiter_id: str, request: SlotRequest, poke_interval: float) -> Grant:
        """
        Wait for slots. Whoever is cancelled gives up the place, and what was just granted.

        :param waiter_id: a new id, which becomes the grant's.
        :param request: what the task asks for.
        :param poke_interval: seconds between readings; the smallest of all waiters counts.
        :return: the granted slots.
        :raises RiffusionRejected: if waiting won't help.
        """
        self._ledger.join(waiter_id, request)
        waiter = self._waiters.add(waiter_id, max(poke_interval, _SHORTEST_INTERVAL))
        log.info("Waiting for %s on connection '%s'.", request, self._hook.riffusion_conn_id)
        try:
            self._serve_newcomer(waiter)
            while (decision := await waiter.told()) is None:
                self._log_status(waiter, self._ledger.ahead(waiter_id), request.since)
            if isinstance(decision, RiffusionRejected):
                raise decision
            return decision
        except BaseException:
            self.give_back(waiter_id)
            raise
        finally:
            self._leave(waiter_id)

    def give_back(self, grant_id: str) -> None:
        """
        Take back a grant that nobody will use.

        :param grant_id: the grant.
        """
        self._ledger.give_back(grant_id)

    def _serve_newcomer(self, newcomer: Waiter) -> None:
        """Serve who finds nobody waiting by a reading not a second old, or else by a poll at once."""
        if self._polled_at == float("-inf"):
            # A triggerer that was restarted gets its tasks back one after another, in no order.
            self._not_before = min(_now() + _QUIET_BEFORE_FIRST_READING, self._born + _LONGEST_GATHERING)
        if len(self._waiters) == 1:
            if self._reading is not None and _now() - self._read_at < _SHORTEST_INTERVAL:
                self._decide(self._reading)
            self._hurry(_SHORTEST_INTERVAL)
        elif newcomer.poke_interval < self._interval:
            self._hurry(newcomer.poke_interval)

    def _hurry(self, interval: float) -> None:
        """Let the next poll come so many seconds after the last one."""
        self._interval = interval
        if self._hurried is not None:
            self._hurried.set()
        elif self._needs_readings():
            self._hurried = asyncio.Event()
            # A context of its own, or the poll loop would write into the first waiter's task log.
            self._poll_task = asyncio.create_task(self._poll(self._hurried), context=contextvars.Context())

    def _leave(self, waiter_id: str) -> None:
        self._ledger.leave(waiter_id)
        self._waiters.remove(waiter_id)
        if not self._waiters and not self._needs_readings():
            self._stop_polling()

    def _stop_polling(self) -> None:
        if self._poll_task is not None:
            self._poll_task.cancel()
        self._poll_task = self._hurried = None

    def _needs_readings(self) -> bool:
        self._ledger.expire(_now())
        return bool(self._waiters or self._ledger.held)

    def _log_status(self, waiter: Waiter, ahead: int, since: float) -> None:
        """Write into the waiter's own log why it is not running, if that has changed."""
        status = self._status(ahead)
        if status != waiter.said:
            began = datetime.fromtimestamp(since, tz=UTC).strftime("%H:%M:%S UTC")
            log.info("Still waiting since %s: %s; %s.", began, status, self._outlook())
            waiter.said = status

    def _status(self, ahead: int) -> str:
        if self._trouble is not None:
            return f"no reading can be had: {self._trouble.removesuffix('.')}"
        if self._reading is None:
            return "no reading yet"
        return f"{self._reading}, {self._ledger.held} held, {ahead} {'task' if ahead == 1 else 'tasks'} ahead"

    def _outlook(self) -> str:
        seconds = self._due() - _now()
        return f"next reading in {seconds:.0f} s" if seconds > 0 else "a reading is being taken"

    async def _poll(self, hurried: asyncio.Event) -> None:
        """Take a reading per interval while there is need of them, never two within a second."""
        await self._sleep(hurried)
        while self._poll_task is asyncio.current_task() and self._needs_readings():
            await self._read()
            await self._sleep(hurried)
        if self._poll_task is asyncio.current_task():
            self._poll_task = self._hurried = None

    async def _sleep(self, hurried: asyncio.Event) -> None:
        """Sleep until the next poll is due; a newcomer may bring it forward."""
        self._jitter = random.uniform(1.0, 1.1)
        while (due := self._due()) > _now():
            hurried.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(due - _now()):
                    await hurried.wait()

    def _due(self) -> float:
        return max(self._polled_at + self._interval * self._jitter, self._not_before)

    async def _read(self) -> None:
        """Take one reading and hand out what it shows, or judge why there is none."""
        self._polled_at = _now()
        if self._waiters:
            self._interval = self._waiters.poke_interval
        try:
            self._answered(await self._take_reading())
        except RiffusionRejected as error:
            self._end_all(error)
        except RiffusionBadResponse as error:
            self._bad_responses += 1
            if self._bad_responses >= READINGS_UNTIL_HOPELESS:
                self._end_all(error.as_rejected())
            else:
                self._postpone(error)
        except RiffusionUnavailable as error:
            self._bad_responses = 0
            self._postpone(error, error.retry_after)
        except Exception as error:  # noqa: BLE001
            # Whatever this is, it must not leave the waiters behind without a poll loop.
            self._postpone(error)

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

    def _answered(self, reading: Capacity) -> None:
        if self._trouble is not None:
            log.info(
                "Connection '%s' answers again, after %d readings that failed.",
                self._hook.riffusion_conn_id,
                self._failures,
            )
        self._trouble = None
        self._troubles_logged.clear()
        self._failures = self._bad_responses = 0
        self._reading, self._read_at = reading, _now()
        self._decide(reading)

    def _postpone(self, error: Exception, retry_after: float | None = None) -> None:
        """Leave a failing service alone: as long as it asked for, and longer with each failure."""
        self._trouble = str(error) if isinstance(error, RiffusionError) else f"Unexpected {error!r}."
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
                self._trouble,
                exc_info=cause,
            )

    def _decide(self, reading: Capacity) -> None:
        for decision in self._ledger.observe(reading, _now()):
            if isinstance(decision, Hopeless):
                hopeless = RiffusionRejected.hopeless(self._hook.riffusion_conn_id, decision.reason)
                self._waiters.tell(decision.waiter_id, hopeless)
            else:
                self._waiters.tell(decision.grant_id, decision)

    def _end_all(self, error: RiffusionRejected) -> None:
        self._bad_responses = 0
        if self._waiters:
            log.error("%s That ends the wait of all tasks at this gate (%d).", error, len(self._waiters))
        self._stop_polling()
        for waiter_id in self._waiters:
            self._waiters.tell(waiter_id, copy.copy(error))


def _now() -> float:
    return asyncio.get_running_loop().time()
