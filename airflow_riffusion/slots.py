"""
The queue, the holds, and who gets which free slot.

Pure: no Airflow, no clock, no randomness, no I/O. Times and ids are passed in, so every decision can be
replayed, and every mode of the sensor decides by the same code.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from airflow_riffusion.request import Grant
from airflow_riffusion.shape import Shape

if TYPE_CHECKING:
    from collections.abc import Container, Hashable, Iterable

    from airflow_riffusion.capacity import Capacity, ExecutingJob
    from airflow_riffusion.request import SlotRequest

# One reading may be blank or stale: so many in a row must agree that a request can never be served.
READINGS_UNTIL_HOPELESS = 3


@dataclass(frozen=True, slots=True)
class Hopeless:
    """
    What a waiter is told that no reading can ever serve.

    :param waiter_id: the waiter; it has left the queue.
    :param reason: why, in words.
    """

    waiter_id: str
    reason: str


# Plain checks last, then by priority, then by time, then by arrival.
_Place = tuple[bool, int, float, int, str]


@dataclass(frozen=True, slots=True)
class _Waiter:
    request: SlotRequest
    shape: Shape
    place: _Place


@dataclass(slots=True)
class _Hold:
    """A grant whose jobs were not all seen executing yet."""

    grant: Grant
    expires: float
    left: dict[str, int]

    def settle(self, user_id: str | None) -> None:
        """Take one slot off, on the job's own account if it is held there."""
        account = user_id if user_id in self.left else next(iter(self.left))
        assert account is not None
        self.left[account] -= 1
        if not self.left[account]:
            del self.left[account]


class SlotLedger:
    """
    Decides which waiter gets which free slot.

    Waiters are served in order of priority, then of the time they began to wait. One that can't be
    served keeps the accounts it could use, so that later ones don't starve it. What was granted is held
    until its jobs are seen executing, or until the hold expires.
    """

    def __init__(self) -> None:
        self._waiters: dict[str, _Waiter] = {}
        self._queue: list[_Place] = []
        self._shapes: Counter[Shape] = Counter()
        self._joined = 0
        self._holds: dict[str, _Hold] = {}
        self._executing: set[Hashable] = set()
        self._references_seen = False
        self._impossible: Counter[Shape] = Counter()
        self._reading: Capacity | None = None

    def __len__(self) -> int:
        """Return how many are waiting."""
        return len(self._queue)

    @property
    def held(self) -> int:
        """How many slots are granted and not yet seen executing."""
        return sum(sum(hold.left.values()) for hold in self._holds.values())

    @property
    def in_doubt(self) -> bool:
        """Whether the last reading could never serve one of the waiters: the next ones will tell."""
        return bool(self._impossible)

    def join(self, waiter_id: str, request: SlotRequest) -> None:
        """
        Queue a waiter.

        :param waiter_id: a new id, which becomes the id of its grant.
        :param request: what it asks for.
        """
        self._joined += 1
        place = (request.hold == 0, -request.priority, request.since, self._joined, waiter_id)
        insort(self._queue, place)
        self._waiters[waiter_id] = waiter = _Waiter(request, Shape.of(request), place)
        self._shapes[waiter.shape] += 1

    def leave(self, waiter_id: str) -> None:
        """
        Take a waiter out of the queue, if it is in it.

        :param waiter_id: the id it joined with.
        """
        waiter = self._waiters.pop(waiter_id, None)
        if waiter is not None:
            del self._queue[bisect_left(self._queue, waiter.place)]
            self._shapes[waiter.shape] -= 1
            if not self._shapes[waiter.shape]:
                del self._shapes[waiter.shape]

    def ahead(self, waiter_id: str) -> int:
        """
        Return how many waiters come before one; plain checks neither have nor take a place.

        :param waiter_id: the id it joined with.
        """
        waiter = self._waiters[waiter_id]
        return bisect_left(self._queue, waiter.place) if waiter.request.hold else 0

    def observe(self, reading: Capacity, now: float) -> list[Grant | Hopeless]:
        """
        Take in a reading and hand out what is free in it.

        Those who are granted something or told that it is hopeless have left the queue. The same
        reading may be observed again for waiters who came after it.

        :param reading: what the service says.
        :param now: seconds on any clock that never goes back.
        """
        self._settle(reading.jobs)
        self.expire(now)
        impossible = {shape: reason for shape in self._shapes if (reason := shape.impossible(reading))}
        if reading is not self._reading:
            self._impossible = Counter({shape: self._impossible[shape] + 1 for shape in impossible})
            self._reading = reading
        return [*self._hopeless(impossible), *self._grants(reading, now, impossible)]

    def expire(self, now: float) -> None:
        """
        Let go of what was held long enough.

        :param now: seconds on the clock that readings are observed by.
        """
        self._holds = {grant_id: hold for grant_id, hold in self._holds.items() if hold.expires > now}

    def give_back(self, grant_id: str) -> None:
        """
        Take back a grant that nobody will use; the next reading hands its slots out again.

        :param grant_id: the grant; nothing happens if its jobs were all seen, or its hold expired.
        """
        self._holds.pop(grant_id, None)

    def _settle(self, jobs: Iterable[ExecutingJob]) -> None:
        """Let each job not seen before settle a slot of the hold that it belongs to."""
        executing = {_identity(job): job for job in jobs}
        new = [job for identity, job in executing.items() if identity not in self._executing]
        self._executing = set(executing)
        by_reference = {hold.grant.reply_ref: hold for hold in self._holds.values()}
        others = []
        for job in new:
            hold = by_reference.get(job.reply_ref or "")
            if hold is None or not hold.left:
                others.append(job)
            else:
                self._references_seen = True
                if hold.grant.request.reply_ref is not None:
                    self._holds.pop(hold.grant.grant_id, None)  # All its slots are for this one job.
                else:
                    self._settle_one(hold, job)
        if self._references_seen:
            return  # Who submits with references settles by them: the other jobs are somebody else's.
        for job in others:
            hold = self._hold_of(job)
            if hold is not None:
                self._settle_one(hold, job)

    def _hold_of(self, job: ExecutingJob) -> _Hold | None:
        """Guess by age: the oldest hold on the job's account, else the oldest that could have used it."""
        holds = self._holds.values()
        on_account = (hold for hold in holds if job.user_id in hold.left)
        usable = (hold for hold in holds if job.user_id is None or hold.grant.request.usable(job.user_id))
        return next(on_account, None) or next(usable, None)

    def _settle_one(self, hold: _Hold, job: ExecutingJob) -> None:
        hold.settle(job.user_id)
        if not hold.left:
            del self._holds[hold.grant.grant_id]

    def _hopeless(self, impossible: dict[Shape, str]) -> list[Hopeless]:
        """Tell those whose request could not be served by so many readings in a row."""
        hopeless = {shape for shape in impossible if self._impossible[shape] >= READINGS_UNTIL_HOPELESS}
        told = []
        for waiter_id, waiter in list(self._waiters.items()) if hopeless else []:
            if waiter.shape in hopeless:
                told.append(
                    Hopeless(waiter_id, f"{waiter.request} asked for, but {impossible[waiter.shape]}")
                )
                self.leave(waiter_id)
        return told

    def _grants(self, reading: Capacity, now: float, impossible: Container[Shape]) -> list[Grant]:
        """Serve the waiters in order, as far as the free slots go."""
        reported = {account.user_id: account.available for account in reading.accounts}
        free = self._without_held(reported)
        stuck: set[Shape] = set()
        granted = []
        for *_, waiter_id in list(self._queue):
            waiter = self._waiters[waiter_id]
            if waiter.shape.plain_check:
                picked = _pick(reported, waiter.request)
            elif waiter.shape in stuck:
                if len(stuck) == len(self._shapes):
                    break  # Nobody else can be served; thousands may wait, and a look at each takes long.
                continue
            elif picked := _pick(free, waiter.request):
                for user_id, slots in picked.items():
                    free[user_id] -= slots
            else:
                stuck.add(waiter.shape)
                if waiter.shape not in impossible:
                    free.update((account.user_id, 0) for account in waiter.shape.accounts(reading))
            if picked:
                granted.append(self._grant(waiter_id, picked, reading, now))
        return granted

    def _grant(self, waiter_id: str, picked: dict[str, int], reading: Capacity, now: float) -> Grant:
        request = self._waiters[waiter_id].request
        grant = Grant(waiter_id, request, picked, reading)
        if request.hold:
            self._holds[waiter_id] = _Hold(grant, now + request.hold, dict(picked))
        self.leave(waiter_id)
        return grant

    def _without_held(self, reported: dict[str, int]) -> dict[str, int]:
        free = dict(reported)
        for hold in self._holds.values():
            for user_id, slots in hold.left.items():
                if user_id in free:
                    free[user_id] = max(0, free[user_id] - slots)
        return free


def _pick(free: dict[str, int], request: SlotRequest) -> dict[str, int] | None:
    """Choose slots for a request, accounts with most free slots first; None if there aren't enough."""
    usable = sorted(
        ((user_id, slots) for user_id, slots in free.items() if slots and request.usable(user_id)),
        key=lambda account: -account[1],
    )
    if request.same_account:
        usable = usable[:1]
    picked: dict[str, int] = {}
    wanted = request.slots
    for user_id, slots in usable:
        if not wanted:
            break
        picked[user_id] = min(slots, wanted)
        wanted -= picked[user_id]
    return None if wanted else picked


def _identity(job: ExecutingJob) -> Hashable:
    """Tell jobs apart from one reading to the next, also where the service gives them no id."""
    return job.job_id or (job.user_id, job.started, job.reply_ref)
