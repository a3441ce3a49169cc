"""
The queue, the holds, and which waiter gets which free slot.

Pure: no Airflow, no clock, no randomness, no I/O. Times and ids are passed in, so every decision can be
replayed. All modes of the sensor decide by this code.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from airflow_riffusion.core.demand import SlotDemand
from airflow_riffusion.core.holds import Holds
from airflow_riffusion.core.request import READINGS_TO_CONFIRM, Grant

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from airflow_riffusion.core.accounts import ConfiguredAccounts
    from airflow_riffusion.core.capacity import Capacity
    from airflow_riffusion.core.request import SlotRequest


@dataclass(frozen=True, slots=True)
class Unsatisfiable:
    """A waiter that no reading can ever serve, and why."""

    waiter_id: str
    reason: str


# Plain checks last, then by priority, then by time, then by arrival.
_Place = tuple[bool, int, float, int, str]


@dataclass(frozen=True, slots=True)
class _Waiter:
    request: SlotRequest
    demand: SlotDemand
    place: _Place


class SlotLedger:
    """
    Decides which waiter gets which free slot.

    Waiters are served in order of priority, then of the time they began to wait. One that can't be served
    yet reserves the accounts it could use, so that later ones don't starve it. Granted slots are held
    (:class:`~airflow_riffusion.core.holds.Holds`) until their jobs are seen.
    """

    def __init__(self) -> None:
        self._waiters: dict[str, _Waiter] = {}
        self._queue: list[_Place] = []
        self._demands: Counter[SlotDemand] = Counter()
        self._joined = 0
        self._holds = Holds()
        self._doubted: Counter[SlotDemand] = Counter()
        self._reading: Capacity | None = None

    def __len__(self) -> int:
        """Return how many are waiting."""
        return len(self._queue)

    @property
    def holds(self) -> Holds:
        """The grants whose jobs were not all seen executing yet."""
        return self._holds

    @property
    def held(self) -> int:
        """How many slots are granted and not yet seen executing."""
        return self._holds.slots.total()

    @property
    def wanted(self) -> Counter[frozenset[str] | None]:
        """How many slots the waiters want to hold, by the accounts they can use; None for all."""
        wanted: Counter[frozenset[str] | None] = Counter()
        for demand, number in self._demands.items():
            if not demand.plain_check:
                wanted[demand.user_ids] += demand.slots * number
        return wanted

    @property
    def guesses(self) -> bool:
        """Whether a job without a known reference could settle a hold."""
        return bool(self.held) and not self._holds.references_seen

    @property
    def in_doubt(self) -> bool:
        """Whether the accounts that the last reading lists could never serve one of the waiters."""
        return bool(self._doubted)

    @property
    def needs_accounts(self) -> bool:
        """Whether a waiter was in doubt for so many readings that the service's accounts must be known."""
        return any(readings >= READINGS_TO_CONFIRM for readings in self._doubted.values())

    def join(self, waiter_id: str, request: SlotRequest) -> None:
        """Queue a waiter; its new id becomes the id of its grant."""
        self._joined += 1
        place = (request.hold == 0, -request.priority, request.since, self._joined, waiter_id)
        insort(self._queue, place)
        self._waiters[waiter_id] = waiter = _Waiter(request, SlotDemand.of(request), place)
        self._demands[waiter.demand] += 1

    def leave(self, waiter_id: str) -> None:
        """Take a waiter out of the queue, if it is in it."""
        waiter = self._waiters.pop(waiter_id, None)
        if waiter is not None:
            del self._queue[bisect_left(self._queue, waiter.place)]
            self._demands[waiter.demand] -= 1
            if not self._demands[waiter.demand]:
                del self._demands[waiter.demand]

    def ahead(self, waiter_id: str) -> int:
        """Return how many waiters are served before this one; plain checks are not in line."""
        waiter = self._waiters.get(waiter_id)
        return bisect_left(self._queue, waiter.place) if waiter is not None and waiter.request.hold else 0

    def observe(self, reading: Capacity, now: float) -> list[Grant]:
        """
        Take in a reading and grant what is free in it; ``now`` is on any clock that never goes back.

        The same reading may be observed again for waiters that came after it.
        """
        return [*self.take_in(reading, now), *self.grant(reading, now)]

    def take_in(self, reading: Capacity, now: float, *, guess: bool = True) -> list[Grant]:
        """
        Settle holds by a reading; return the plain checks that pass.

        Without ``guess``, a job that carries no known reference settles no hold.
        """
        self._holds.settle(reading.jobs, guess=guess)
        self._holds.expire(now)
        if reading is not self._reading:
            listed = reading.listed_slots
            doubted = [demand for demand in self._demands if demand.impossible(listed)]
            self._doubted = Counter({demand: self._doubted[demand] + 1 for demand in doubted})
            self._reading = reading
        return self._plain_checks(reading)

    def amend(self, reading: Capacity) -> None:
        """Replace the last reading by the same one, completed with known accounts."""
        self._reading = reading

    def unsatisfiable(
        self, configured: ConfiguredAccounts, *, after: int = READINGS_TO_CONFIRM
    ) -> list[Unsatisfiable]:
        """
        Return the waiters that no account can ever serve; they stay in the queue.

        Only those count that were in doubt for ``after`` readings in a row.
        """
        if self._reading is None:
            return []
        doubted = [demand for demand, readings in self._doubted.items() if readings >= after]
        reasons = {
            demand: reason for demand in doubted if (reason := demand.ruled_out(self._reading, configured))
        }
        return [
            Unsatisfiable(waiter_id, f"{waiter.request} asked for, but {reasons[waiter.demand]}")
            for waiter_id, waiter in (self._waiters.items() if reasons else ())
            if waiter.demand in reasons
        ]

    def wants(self, reading: Capacity, held_elsewhere: Mapping[str, int] | None = None) -> bool:
        """Return whether :meth:`grant` would grant something."""
        return any(self._picks(reading, self._unheld(reading, held_elsewhere)))

    def unclaimed(self, reading: Capacity, held_elsewhere: Mapping[str, int] | None = None) -> Counter[str]:
        """Return how many slots of each account are free, and neither held nor waited for."""
        free = self._unheld(reading, held_elsewhere)
        for _ in self._picks(reading, free):
            pass
        return free

    def grant(
        self, reading: Capacity, now: float, held_elsewhere: Mapping[str, int] | None = None
    ) -> list[Grant]:
        """Grant what is free in the last reading, and hold it; the granted waiters leave the queue."""
        granted = []
        for waiter_id, picked in self._picks(reading, self._unheld(reading, held_elsewhere)):
            request = self._waiters[waiter_id].request
            granted.append(grant := Grant(waiter_id, request, picked, reading))
            self._holds.add(grant, now + request.hold)
            self.leave(waiter_id)
        return granted

    def expire(self, now: float) -> None:
        """Release the holds that have expired."""
        self._holds.expire(now)

    def assign(self, grant_id: str, job_ids: Iterable[str]) -> None:
        """Note which jobs a grant has become, so that they settle its hold."""
        self._holds.assign(grant_id, job_ids)

    def renew(self, grant_id: str, now: float, expires: float) -> bool:
        """Let a hold expire later; return whether it has not expired yet."""
        return self._holds.renew(grant_id, now, expires)

    def give_back(self, grant_id: str) -> None:
        """Release a grant that will not be used, if it is still held; the next reading grants its slots."""
        self._holds.remove(grant_id)

    def take_back(self, grant: Grant) -> None:
        """Undo a grant that its waiter does not know of; unless given back, it waits again at its place."""
        if self._holds.remove(grant.grant_id) is not None:
            self.join(grant.grant_id, grant.request)

    def _plain_checks(self, reading: Capacity) -> list[Grant]:
        """Grant the requests that take nothing; held slots serve them, too."""
        passed = []
        free = _free(reading)
        for waiter_id in self._ids(plain_checks=True):
            waiter = self._waiters[waiter_id]
            if picked := waiter.demand.pick(free):
                passed.append(Grant(waiter_id, waiter.request, picked, reading))
                self.leave(waiter_id)
        return passed

    def _unheld(self, reading: Capacity, held_elsewhere: Mapping[str, int] | None) -> Counter[str]:
        return _free(reading) - self._holds.slots - Counter(held_elsewhere)

    def _picks(self, reading: Capacity, free: Counter[str]) -> Iterator[tuple[str, dict[str, int]]]:
        """
        Yield, in order, each waiter that the free slots can serve, and the slots.

        What is left in ``free`` at the end is unclaimed.
        """
        stuck: set[SlotDemand] = set()
        for waiter_id in self._ids(plain_checks=False):
            demand = self._waiters[waiter_id].demand
            if demand in stuck:
                if all(other in stuck or other.plain_check for other in self._demands):
                    break  # No other can be served, and looking at each of thousands takes long.
            elif picked := demand.pick(free):
                free.subtract(picked)
                yield waiter_id, picked
            else:
                stuck.add(demand)
                if demand.impossible(reading.slots) is None:
                    for account in demand.accounts(reading):
                        del free[account.user_id]

    def _ids(self, *, plain_checks: bool) -> list[str]:
        """List the waiters in order: those that want to hold slots, or the plain checks."""
        first_check = bisect_left(self._queue, (True,))
        places = self._queue[first_check:] if plain_checks else self._queue[:first_check]
        return [waiter_id for *_, waiter_id in places]


def _free(reading: Capacity) -> Counter[str]:
    return Counter({account.user_id: account.available for account in reading.accounts})
