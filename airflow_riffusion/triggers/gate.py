"""One poll loop per connection in a triggerer, shared by all tasks that wait there."""

from __future__ import annotations

import asyncio
import copy
import logging
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from airflow_riffusion.exceptions import RiffusionRejected
from airflow_riffusion.hooks.riffusion import RiffusionHook
from airflow_riffusion.slots import Hopeless, SlotLedger
from airflow_riffusion.triggers.poll import SHORTEST_INTERVAL, PollLoop
from airflow_riffusion.triggers.waiters import Waiters

if TYPE_CHECKING:
    from airflow_riffusion.capacity import Capacity
    from airflow_riffusion.request import Grant, SlotRequest
    from airflow_riffusion.triggers.waiters import Waiter

log = logging.getLogger(__name__)

_gates: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[str, CapacityGate]] = WeakKeyDictionary()


class CapacityGate:
    """
    Where the waiting tasks of one connection wait, at the cost of one request per interval.

    Who gets what is decided by the :class:`~airflow_riffusion.slots.SlotLedger`, when to ask by the
    :class:`~airflow_riffusion.triggers.poll.PollLoop`, which lives while somebody waits, or a granted slot
    has not been seen in use: without readings its hold would outlast the job.

    :param riffusion_conn_id: the Airflow connection.
    """

    def __init__(self, riffusion_conn_id: str) -> None:
        self._hook = RiffusionHook(riffusion_conn_id)
        self._ledger = SlotLedger()
        self._waiters = Waiters()
        self._poll_loop = PollLoop(self._hook, self)

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
        waiter = self._waiters.add(waiter_id, max(poke_interval, SHORTEST_INTERVAL))
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
        self._poll_loop.gather()
        if len(self._waiters) > 1:
            self._poll_loop.hurry(newcomer.poke_interval)
            return
        if reading := self._poll_loop.fresh_reading:
            self._grant(reading)
        self._poll_loop.hurry(SHORTEST_INTERVAL)

    def _leave(self, waiter_id: str) -> None:
        self._ledger.leave(waiter_id)
        self._waiters.remove(waiter_id)
        if not self.needs_readings():
            self._poll_loop.stop()

    @property
    def poke_interval(self) -> float | None:
        """The smallest interval that a waiter asked for, in seconds; None if nobody waits."""
        return self._waiters.poke_interval if self._waiters else None

    def needs_readings(self) -> bool:
        """Return whether somebody waits, or a granted slot was not seen in use."""
        if self._waiters:
            return True
        self._ledger.expire(_now())
        return bool(self._ledger.held)

    def answered(self, reading: Capacity) -> None:
        """
        Hand out what a reading shows.

        :param reading: the reading.
        """
        self._grant(reading)

    def rejected(self, error: RiffusionRejected) -> None:
        """
        End all waits.

        :param error: why waiting won't help.
        """
        if self._waiters:
            log.error("%s That ends the wait of all tasks at this gate (%d).", error, len(self._waiters))
        for waiter_id in self._waiters:
            self._waiters.tell(waiter_id, copy.copy(error))

    def _log_status(self, waiter: Waiter, ahead: int, since: float) -> None:
        """Write into the waiter's own log why it is not running, if that has changed."""
        status = self._status(ahead)
        if status != waiter.said:
            began = datetime.fromtimestamp(since, tz=UTC).strftime("%H:%M:%S UTC")
            log.info("Still waiting since %s: %s; %s.", began, status, self._poll_loop.outlook)
            waiter.said = status

    def _status(self, ahead: int) -> str:
        poll_loop = self._poll_loop
        if poll_loop.trouble is not None:
            return f"no reading can be had: {poll_loop.trouble.removesuffix('.')}"
        if poll_loop.reading is None:
            return "no reading yet"
        tasks = "1 task" if ahead == 1 else f"{ahead} tasks"
        return f"{poll_loop.reading}, {self._ledger.held} held, {tasks} ahead"

    def _grant(self, reading: Capacity) -> None:
        for decision in self._ledger.observe(reading, _now()):
            if isinstance(decision, Hopeless):
                hopeless = RiffusionRejected.hopeless(self._hook.riffusion_conn_id, decision.reason)
                self._waiters.tell(decision.waiter_id, hopeless)
            else:
                self._waiters.tell(decision.grant_id, decision)


def _now() -> float:
    return asyncio.get_running_loop().time()
