"""One poll loop per connection in a triggerer, shared by all tasks that wait there."""

from __future__ import annotations

import asyncio
import copy
import logging
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from airflow_riffusion import metrics
from airflow_riffusion.core.availability import Availability
from airflow_riffusion.core.jobs import JobLedger, JobUpdate
from airflow_riffusion.core.ledger import SlotLedger
from airflow_riffusion.exceptions import RiffusionRejected
from airflow_riffusion.gate.coordinator import Coordinator
from airflow_riffusion.gate.observers import Observers
from airflow_riffusion.gate.peer_store import VariablePeerStore
from airflow_riffusion.gate.poll_loop import SHORTEST_INTERVAL, PollLoop
from airflow_riffusion.gate.waiters import Waiters
from airflow_riffusion.hooks.riffusion import RiffusionHook

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from airflow_riffusion.core.accounts import ConfiguredAccounts
    from airflow_riffusion.core.capacity import Capacity, ExecutingJob
    from airflow_riffusion.core.jobs import WantedJob
    from airflow_riffusion.core.request import Grant, SlotRequest
    from airflow_riffusion.gate.waiters import Waiter

log = logging.getLogger(__name__)

_gates: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[str, CapacityGate]] = WeakKeyDictionary()


class CapacityGate:
    """
    Where the waiting tasks of one connection wait, at the cost of one request per interval.

    The :class:`~airflow_riffusion.core.ledger.SlotLedger` decides which task gets which slot, the
    :class:`~airflow_riffusion.core.jobs.JobLedger` whether a job has ended, and the
    :class:`~airflow_riffusion.gate.poll_loop.PollLoop` when to ask. It polls while a task waits, or a granted
    slot has not been seen in use: without readings its hold would outlast the job.

    :param riffusion_conn_id: the Airflow connection.
    """

    def __init__(self, riffusion_conn_id: str) -> None:
        self._hook = RiffusionHook(riffusion_conn_id)
        self._ledger = SlotLedger()
        self._jobs = JobLedger()
        self._waiters = Waiters()
        self._observers = Observers()
        self._counted = (0, 0)
        self._expiry: asyncio.TimerHandle | None = None
        self._poll_loop = PollLoop(self._hook, self)
        self._sharing = Coordinator(
            self._ledger, VariablePeerStore(riffusion_conn_id), self._read_again, riffusion_conn_id
        )

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
            self._serve_newcomer()
            grant: Grant = await self._told(waiter, partial(self._queue, waiter_id, request.since))
            metrics.granted(self._hook.riffusion_conn_id, grant)
            return grant
        except BaseException:
            self.give_back(waiter_id)
            raise
        finally:
            self._ledger.leave(waiter_id)
            self._leave(waiter_id)

    async def watch(
        self, watcher_id: str, wanted: WantedJob, poke_interval: float, *, unseen_for: float = 0.0
    ) -> ExecutingJob | None:
        """
        Wait until a job is seen, or is over, by the readings that the tasks share which wait for slots.

        :param watcher_id: a new id.
        :param wanted: which job, and which of the two.
        :param poke_interval: seconds between readings; the smallest of all waiters counts.
        :param unseen_for: seconds for which it may still be on its way, if it is not seen.
        :return: the job as it was seen last, None if it never was.
        :raises RiffusionRejected: if waiting won't help.
        """
        self._jobs.join(watcher_id, wanted, _now() + unseen_for)
        waiter = self._waiters.add(watcher_id, max(poke_interval, SHORTEST_INTERVAL))
        log.info("Looking for %s on connection '%s'.", wanted, self._hook.riffusion_conn_id)
        try:
            self._poll_loop.gather()
            self._poll_loop.keep_pace()
            update: JobUpdate = await self._told(waiter, partial(self._progress, watcher_id))
            return update.job
        finally:
            self._jobs.leave(watcher_id)
            self._leave(watcher_id)

    async def room(
        self, poke_interval: float, request: SlotRequest | None = None, *, needs_accounts: bool = False
    ) -> Availability:
        """
        Wait for the next reading, and learn what of it is left for newcomers, without a place in the queue.

        :param poke_interval: seconds between readings; the smallest of all waiters counts.
        :param request: what to look out for: if there seems to be, other triggerers are looked at as well.
            Without, what is known of them already will do.
        :param needs_accounts: whether to find out which accounts the service has, listed or not.
        :return: the reading, and its free slots that are neither held nor waited for.
        :raises RiffusionRejected: if waiting won't help.
        """
        interval = max(poke_interval, SHORTEST_INTERVAL)
        observer = self._observers.add(interval, request, needs_accounts=needs_accounts)
        try:
            self._poll_loop.gather()
            self._poll_loop.keep_pace()
            return await observer
        finally:
            self._observers.remove(observer)
            self._rest()

    def give_back(self, grant_id: str) -> None:
        """
        Take back a grant that nobody will use.

        :param grant_id: the grant.
        """
        self._ledger.give_back(grant_id)

    def executes(self, reply_ref: str) -> bool:
        """
        Return whether the last reading shows a job.

        :param reply_ref: the reference that it was submitted with.
        """
        reading = self._poll_loop.reading
        return reading is not None and any(job.reply_ref == reply_ref for job in reading.jobs)

    def _serve_newcomer(self) -> None:
        """Serve who finds nobody waiting by a reading not a second old, or else by one at once."""
        self._poll_loop.gather()
        if len(self._ledger) > 1:
            self._poll_loop.keep_pace()
        else:
            self._poll_loop.read_at_once()

    def _leave(self, waiter_id: str) -> None:
        self._waiters.remove(waiter_id)
        self._rest()

    def _rest(self) -> None:
        if not self.needs_readings():
            self._poll_loop.stop()
            self.rested()

    def tried(self) -> None:
        """Tell how it stands after a reading, or an attempt at one."""
        self._counted = waiting, held = len(self._ledger), self._ledger.held
        metrics.gate(self._hook.riffusion_conn_id, waiting=waiting, held=held)

    def rested(self) -> None:
        """Tell how it stands now: there will be no reading to do so."""
        if not self._waiters:
            self._sharing.rest()
        if self._counted != (len(self._ledger), self._ledger.held):
            self.tried()

    @property
    def poke_interval(self) -> float | None:
        """The smallest interval that somebody asked for, in seconds; None if nobody waits or looks on."""
        return min((some.poke_interval for some in (self._waiters, self._observers) if some), default=None)

    def needs_readings(self) -> bool:
        """Return whether anybody waits, looks on, holds what is not in use yet, or is to hear of that."""
        if self._waiters or self._observers:
            return True
        self._ledger.expire(_now())
        return bool(self._ledger.held) or self._sharing.has_news

    def wants_slots(self) -> bool:
        """Return whether somebody waits for slots."""
        return len(self._ledger) > 0

    async def answered(self, reading: Capacity) -> None:
        """
        Tell everybody what a reading shows, and grant what is free in it.

        :param reading: the reading.
        :raises RiffusionError: if granting takes another one, and that can't be had.
        """
        shares = self._shares()
        if not shares:
            self._sharing.forget()
        elif shares := self._takes_part():
            await self._sharing.prepare()
        self._take_in(reading)
        self._tell(await self._sharing.grant(reading) if shares else self._ledger.grant(reading, _now()))
        reading = self._poll_loop.reading or reading
        configured = await self._consult_accounts(reading)
        self._poll_loop.reading = reading = self._hook.complete(reading)
        self._ledger.amend(reading)
        if self._observers:
            await self._tell_observers(reading, configured)

    async def _consult_accounts(self, reading: Capacity) -> ConfiguredAccounts | None:
        """
        Find out which accounts there are, if a reading leaves doubt, and end waits that no account can serve.

        After the grants: the answer may be slow.
        """
        if not (self._ledger.needs_accounts or self._observers.need_accounts or reading.lacks_accounts):
            return None
        configured, unsatisfiable = None, []
        for max_age in self._hook.ACCOUNTS_AGES:
            configured = await self._hook.aconfigured_accounts(max_age)
            unsatisfiable = self._ledger.unsatisfiable(configured) if configured is not None else []
            if not unsatisfiable:
                break
        for each in unsatisfiable:
            self._ledger.leave(each.waiter_id)
            rejected = RiffusionRejected.unsatisfiable(self._hook.riffusion_conn_id, each.reason)
            self._waiters.tell(each.waiter_id, rejected)
        return configured

    async def _tell_observers(self, reading: Capacity, configured: ConfiguredAccounts | None) -> None:
        """Tell those who only look on what a reading leaves."""
        if self._shares() and self._observers.may_have_room(self._ledger.room(reading)):
            await self._sharing.look_on()
        room = Availability(reading, self._ledger.room(reading, self._sharing.taken(reading)), configured)
        self._observers.tell(room.less(self._sharing.wanted()))

    def rejected(self, error: RiffusionRejected) -> None:
        """
        End all waits.

        :param error: why waiting won't help.
        """
        if self._waiters:
            log.error("%s That ends the wait of all tasks at this gate (%d).", error, len(self._waiters))
        for waiter_id in self._waiters:
            self._ledger.leave(waiter_id)
            self._waiters.tell(waiter_id, copy.copy(error))
        self._observers.reject(error)
        if self._expiry is not None:
            self._expiry.cancel()
        if self._ledger.held:
            last = max(hold.expires for hold in self._ledger.holds)
            self._expiry = asyncio.get_running_loop().call_at(last, self._expire)

    def _expire(self) -> None:
        """Let go of what was held, if there are no readings to do so."""
        self._ledger.expire(_now())
        if not self._poll_loop.is_running:
            self.rested()

    async def _told(self, waiter: Waiter, status: Callable[[], str]) -> Any:
        """Wait for what a waiter is told; meanwhile write into its own log how it stands, if that changes."""
        said = None
        while (decision := await waiter.told()) is None:
            says = status()
            if says != said:
                log.info("%s; %s.", says, self._poll_loop.outlook)
                said = says
        if isinstance(decision, RiffusionRejected):
            raise decision
        return decision

    def _queue(self, waiter_id: str, since: float) -> str:
        began = datetime.fromtimestamp(since, tz=UTC).strftime("%H:%M:%S UTC")
        return f"Still waiting since {began}: {self._trouble() or self._free(self._ledger.ahead(waiter_id))}"

    def _free(self, ahead: int) -> str:
        reading = self._poll_loop.reading
        assert reading is not None  # That would be trouble.
        elsewhere = self._sharing.taken(reading).total()
        held = f"{self._ledger.held} held" + (f" and {elsewhere} by other triggerers" if elsewhere else "")
        return f"{reading}, {held}, {'1 task' if ahead == 1 else f'{ahead} tasks'} ahead"

    def _progress(self, watcher_id: str) -> str:
        job = self._jobs.seen(watcher_id)
        if job is None:
            return f"The job was not seen executing yet: {self._trouble() or self._poll_loop.reading}"
        on_account = f" on account {job.user_id}" if job.user_id is not None else ""
        return f"Job {job.job_id} is executing{on_account}{self._trouble(': ')}"

    def _trouble(self, separator: str = "") -> str:
        if self._poll_loop.trouble is not None:
            return f"{separator}no reading can be had: {self._poll_loop.trouble.removesuffix('.')}"
        return "" if self._poll_loop.reading is not None else f"{separator}no reading yet"

    def _shares(self) -> bool:
        """Return whether other triggerers may grant slots of this connection, and can be told of these."""
        return VariablePeerStore.is_within_reach() and not self._hook.settings.separate_triggerers

    def _takes_part(self) -> bool:
        """Return whether other triggerers have to know of this gate: not if it only has observers."""
        return bool(self._waiters or self._ledger.held or self._sharing.has_news)

    async def _read_again(self) -> Capacity:
        reading = await self._poll_loop.read_again()
        self._take_in(reading)
        return reading

    def _take_in(self, reading: Capacity) -> None:
        for update in self._jobs.observe(reading, _now()):
            self._waiters.tell(update.watcher_id, update)
        self._tell(self._ledger.take_in(reading, _now()))

    def _tell(self, grants: Iterable[Grant]) -> None:
        for grant in grants:
            self._waiters.tell(grant.grant_id, grant)


def _now() -> float:
    return asyncio.get_running_loop().time()
