"""One poll loop per connection in a triggerer, shared by all tasks that wait there."""

from __future__ import annotations

import asyncio
import contextvars
import copy
import logging
from functools import partial
from typing import TYPE_CHECKING, TypeVar
from weakref import WeakKeyDictionary

from airflow_riffusion import metrics
from airflow_riffusion.core.availability import Availability
from airflow_riffusion.core.jobs import JobLedger, JobUpdate
from airflow_riffusion.core.ledger import SlotLedger
from airflow_riffusion.exceptions import RiffusionJobAmbiguous, RiffusionRejected
from airflow_riffusion.gate.coordinator import Coordinator
from airflow_riffusion.gate.peer_store import VariablePeerStore
from airflow_riffusion.gate.poll_loop import SHORTEST_INTERVAL, PollLoop
from airflow_riffusion.gate.references import JobReferences
from airflow_riffusion.gate.source import ReadingSource
from airflow_riffusion.gate.status import job_status, queue_status
from airflow_riffusion.gate.submissions import Submissions
from airflow_riffusion.gate.waiters import Observers, Waiters
from airflow_riffusion.hooks.riffusion import RiffusionHook

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from airflow_riffusion.core.accounts import ConfiguredAccounts
    from airflow_riffusion.core.capacity import Capacity, ExecutingJob
    from airflow_riffusion.core.jobs import WantedJob
    from airflow_riffusion.core.request import Grant, SlotRequest
    from airflow_riffusion.hooks.settings import ConnectionSettings

Returned = TypeVar("Returned")

log = logging.getLogger(__name__)

# Seconds for which a stall counts: Airflow tells a triggerer that it lost its triggers within a few seconds.
_STALL_COUNTS = 60.0

_gates: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[str, CapacityGate]] = WeakKeyDictionary()


class CapacityGate:
    """
    Where all tasks that wait for one connection share one request per interval.

    The :class:`~airflow_riffusion.gate.poll_loop.PollLoop` decides when to take a reading, the
    :class:`~airflow_riffusion.gate.coordinator.Coordinator` whether to grant anything, the
    :class:`~airflow_riffusion.core.ledger.SlotLedger` which task gets which slot, the
    :class:`~airflow_riffusion.core.jobs.JobLedger` whether a job has ended. The gate polls while a task
    waits, or a granted slot has not been seen in use: without readings its hold would outlast the job.
    """

    def __init__(self, riffusion_conn_id: str) -> None:
        self._hook = RiffusionHook(riffusion_conn_id)
        self._source = ReadingSource(self._hook)
        self.submissions = Submissions(self._source)
        self._poll = PollLoop(self._source)
        self._references = JobReferences(self._source)
        self._ledger = SlotLedger()
        self._jobs = JobLedger()
        self._coordinator = Coordinator(self._ledger, VariablePeerStore(riffusion_conn_id), riffusion_conn_id)
        self._waiters = Waiters()
        self._observers = Observers()
        self._reading: Capacity | None = None
        self._task: asyncio.Task[None] | None = None
        self._is_serving = False

    @classmethod
    def of(cls, riffusion_conn_id: str) -> CapacityGate:
        """Return the running event loop's gate for a connection."""
        gates = _gates.setdefault(asyncio.get_running_loop(), {})
        if riffusion_conn_id not in gates:
            gates[riffusion_conn_id] = cls(riffusion_conn_id)
        return gates[riffusion_conn_id]

    async def wait(self, waiter_id: str, request: SlotRequest, poke_interval: float) -> Grant:
        """
        Wait for slots; the waiter's new id becomes the grant's.

        A waiter that is cancelled gives up its place, and what it was just granted.

        :raises RiffusionRejected: if waiting won't help.
        """
        self._ledger.join(waiter_id, request)
        waiter = self._waiters.add(waiter_id, max(poke_interval, SHORTEST_INTERVAL))
        log.info("Waiting for %s on connection '%s'.", request, self._hook.riffusion_conn_id)
        try:
            self._wake(poll_now=len(self._ledger) == 1)
            status = partial(self._queue_status, waiter_id, request.since)
            grant: Grant = await waiter.result(status, self._poll.outlook)
            metrics.granted(self._hook.riffusion_conn_id, grant)
            return grant
        except BaseException:
            self.give_back(waiter_id)
            raise
        finally:
            self._ledger.leave(waiter_id)
            self._waiters.remove(waiter_id)
            self._stop_if_idle()

    async def watch(
        self, watcher_id: str, wanted: WantedJob, poke_interval: float, *, unseen_for: float = 0.0
    ) -> ExecutingJob | None:
        """
        Wait until a job is seen, or is over; return it as it was seen last, None if it never was.

        A job that is not seen may still be on its way for ``unseen_for`` seconds.

        :raises RiffusionJobAmbiguous: if another job may be the one, and the service does not tell.
        :raises RiffusionRejected: if waiting won't help.
        """
        self._jobs.join(watcher_id, wanted, _now() + unseen_for)
        waiter = self._waiters.add(watcher_id, max(poke_interval, SHORTEST_INTERVAL))
        doing = "Looking for" if wanted.until_seen else "Watching"
        log.info("%s %s on connection '%s'.", doing, wanted, self._hook.riffusion_conn_id)
        try:
            self._wake()
            status = partial(self._job_status, watcher_id)
            update: JobUpdate = await waiter.result(status, self._poll.outlook)
            if update.ambiguous is not None:
                raise RiffusionJobAmbiguous.of(wanted, update.ambiguous)
            return update.job
        finally:
            self._jobs.leave(watcher_id)
            self._waiters.remove(watcher_id)
            self._stop_if_idle()

    async def availability(
        self, poke_interval: float, request: SlotRequest | None = None, *, needs_accounts: bool = False
    ) -> Availability:
        """
        Wait for the next reading, without a place in the queue; return which of its slots are unclaimed.

        Peers are read for it only if the request, where there is one, could be served.

        :raises RiffusionRejected: if waiting won't help.
        """
        interval = max(poke_interval, SHORTEST_INTERVAL)
        result = self._observers.add(interval, request, needs_accounts=needs_accounts)
        try:
            self._wake()
            return await result
        finally:
            self._observers.remove(result)
            self._stop_if_idle()

    async def settings(self) -> ConnectionSettings:
        """Return the connection's settings; see :meth:`RiffusionHook.aload`."""
        return await self._hook.aload()

    async def call(self, function: Callable[[RiffusionHook], Returned]) -> Returned:
        """Send another request to the service: call a function with the hook, in a thread."""
        return await self._source.call(function)

    def accepted(self, grant_id: str | None, job_ids: Iterable[str], reply_ref: str) -> None:
        """Learn which jobs a grant has become: they settle its hold."""
        for job_id in job_ids:
            self._references.learn(job_id, reply_ref)
        if grant_id is not None:
            self._ledger.assign(grant_id, job_ids)

    def renew(self, grant_id: str, hold: float) -> bool:
        """Hold a grant for so many seconds more; return whether it was held at all."""
        return self._ledger.renew(grant_id, _now(), _now() + hold)

    def doubt_accounts(self) -> None:
        """Ask for the accounts anew: one was just said to be unwell."""
        self._hook.doubt_accounts()

    @property
    def has_stalled(self) -> bool:
        """Whether this process stood still lately: others may have taken over what it was about to do."""
        return self._waiters.stalled_at > _now() - _STALL_COUNTS

    def give_back(self, grant_id: str) -> None:
        """Take back a grant that will not be used."""
        self._ledger.give_back(grant_id)

    def job_ids(self, reply_ref: str) -> tuple[str, ...]:
        """Return the jobs of the last reading that were submitted with a reference."""
        jobs = () if self._reading is None else self._reading.jobs
        return tuple(job.job_id for job in jobs if job.reply_ref == reply_ref and job.job_id is not None)

    def needs_readings(self) -> bool:
        """Return whether anything waits, observes or is held, or whether there is news for peers."""
        if self._waiters or self._observers:
            return True
        self._ledger.expire(_now())
        return bool(self._ledger.held) or self._coordinator.has_news

    async def _run(self) -> None:
        """Take readings and serve them, for as long as they are needed."""
        while self.needs_readings():
            reuse = await self._poll.wait_until_due()
            if not self.needs_readings():
                break  # The last hold has expired meanwhile.
            try:
                reading = (self._reading if reuse else None) or await self._read()
                self._is_serving = True
                await self._serve(reading)
            except Exception as error:  # noqa: BLE001 - whatever it is, the waiters need further readings
                if (rejected := self._poll.failed(error)) is not None:
                    self._reject(rejected)
                    return
            finally:
                self._is_serving = False
            self._report()
        self._stop()

    async def _read(self) -> Capacity:
        """Take a reading; add the references of jobs, where they are needed and not in it."""
        reading = await self._poll.read(self._poke_interval)
        return await self._references.complete(reading, self._jobs.seeks)

    async def _serve(self, reading: Capacity) -> None:
        """Grant what is free in a reading, and resolve the waits that it ends."""
        if not self._is_shared():
            self._coordinator.forget()
        shared = self._needs_turns()
        guess = await self._coordinator.prepare() if shared else True
        self._take_in(reading, guess=guess)
        granted: list[Grant] = []
        async with self._coordinator.turn(reading, shared=shared) as turn:
            if turn.needs_reading:
                reading = await self._read()
                self._take_in(reading, guess=False)
            if turn.is_open:
                grants = self._ledger.grant(reading, _now(), turn.held_elsewhere(reading))
                granted = await turn.commit(grants)
        self._resolve(granted)
        configured = await self._consult_accounts(reading)
        self._reading = reading = self._hook.complete(reading)
        self._ledger.amend(reading)
        if self._observers:
            await self._resolve_observers(reading, configured)
        if not len(self._ledger):
            self._poll.plan_after_interval()

    def _take_in(self, reading: Capacity, *, guess: bool) -> None:
        """Settle holds, and resolve the waits that a reading ends without a grant."""
        if reading is not self._reading:
            self._reading = reading
            self.submissions.observe(reading)
            for update in self._jobs.observe(reading, _now()):
                self._waiters.resolve(update.watcher_id, update)
        self._resolve(self._ledger.take_in(reading, _now(), guess=guess))

    def _resolve(self, grants: Iterable[Grant]) -> None:
        for grant in grants:
            self._waiters.resolve(grant.grant_id, grant)

    async def _consult_accounts(self, reading: Capacity) -> ConfiguredAccounts | None:
        """
        Ask for the accounts if a reading leaves doubt, and end waits that no account can serve.

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
            self._waiters.resolve(each.waiter_id, rejected)
        return configured

    async def _resolve_observers(self, reading: Capacity, configured: ConfiguredAccounts | None) -> None:
        """Show observers which slots are unclaimed; read the peers first if a demand seems to be met."""
        if self._is_shared() and self._observers.may_be_met(self._ledger.unclaimed(reading)):
            await self._coordinator.observe_peers()
        free = self._ledger.unclaimed(reading, self._coordinator.held_elsewhere(reading))
        availability = Availability(reading, free, configured).less(self._coordinator.wanted_elsewhere())
        self._observers.resolve(availability)

    def _reject(self, error: RiffusionRejected) -> None:
        """End all waits with an error, and the readings."""
        if self._waiters:
            log.error("%s That ends the wait of all tasks at this gate (%d).", error, len(self._waiters))
        for waiter_id in self._waiters:
            self._ledger.leave(waiter_id)
            self._waiters.resolve(waiter_id, copy.copy(error))
        self._observers.reject(error)
        self._stop()
        if self._ledger.held:
            # No further reading releases what is held, so a timer has to.
            last = max(hold.expires for hold in self._ledger.holds)
            asyncio.get_running_loop().call_at(last, self._expire)

    def _expire(self) -> None:
        self._ledger.expire(_now())
        if self._task is None:
            self._stop()

    def _wake(self, *, poll_now: bool = False) -> None:
        """Plan the next reading for a new waiter, and start polling if it has stopped."""
        interval = self._poke_interval
        assert interval is not None  # the new waiter's own at the most
        self._poll.plan(interval, poll_now=poll_now)
        if self._task is None:
            # A context of its own, or the readings would log into the first waiter's task log.
            self._task = asyncio.create_task(self._run(), context=contextvars.Context())

    def _stop_if_idle(self) -> None:
        """End the readings if they are not needed; one that is being served is served to its end first."""
        if self._task is not None and not self._is_serving and not self.needs_readings():
            self._task.cancel()
            self._stop()

    def _stop(self) -> None:
        """Stop polling until the next waiter, and report the state a last time."""
        self._task = None
        self._poll.on_idle()
        if not self._ledger.held:
            self._coordinator.on_idle()
        self._report()

    def _report(self) -> None:
        conn_id = self._hook.riffusion_conn_id
        metrics.gate(conn_id, waiting=len(self._ledger), held=self._ledger.held)

    @property
    def _poke_interval(self) -> float | None:
        """The smallest interval that was asked for; None without waiters and observers."""
        return min((each.poke_interval for each in (self._waiters, self._observers) if each), default=None)

    def _is_shared(self) -> bool:
        """Return whether slots are shared with other triggerers whose gates can be read."""
        return VariablePeerStore.is_within_reach() and not self._hook.settings.separate_triggerers

    def _needs_turns(self) -> bool:
        """Return whether peers have to know of this gate; one with only observers is no peer."""
        return self._is_shared() and bool(self._waiters or self._ledger.held or self._coordinator.has_news)

    def _queue_status(self, waiter_id: str, since: float) -> str:
        reading = self._reading
        elsewhere = self._coordinator.held_elsewhere(reading).total() if reading is not None else 0
        return queue_status(
            reading,
            self._source.last_error,
            since=since,
            held=self._ledger.held,
            elsewhere=elsewhere,
            ahead=self._ledger.ahead(waiter_id),
        )

    def _job_status(self, watcher_id: str) -> str:
        return job_status(self._jobs.seen(watcher_id), self._reading, self._source.last_error)


def _now() -> float:
    return asyncio.get_running_loop().time()
