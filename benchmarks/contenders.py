"""
Who contends for the slots in the model: an all-knowing gate, a sensor per task, and ours.

Discrete events in virtual time: nothing sleeps, and nothing leaves this process.
"""

from __future__ import annotations

import heapq
from bisect import bisect_left
from dataclasses import dataclass, field
from datetime import UTC, datetime
from math import ceil, log
from random import Random
from statistics import fmean

from airflow_riffusion.core.capacity import AccountCapacity, Capacity, ExecutingJob
from airflow_riffusion.core.ledger import SlotLedger
from airflow_riffusion.core.request import Grant, SlotRequest

ACCOUNTS = {"first": 10, "second": 10}
SLOTS = sum(ACCOUNTS.values())
# A job's seconds: the mean, and the standard deviation of their logarithm.
MEAN, SIGMA = 120.0, 0.5
# Seconds from a grant to its submission, at least and at most.
SUBMISSION = (2.0, 10.0)
# Our sensor's default, and Airflow's own of [triggerer] capacity.
HOLD = 120.0
TRIGGERS = 1_000
SENSOR_INTERVAL = 15.0

_EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
_READING, _SUBMITS, _ENDS = range(3)


@dataclass
class Run:
    """What came of one simulation; times are seconds since the tasks began to wait."""

    requests: int = 0
    refused: int = 0
    violations: int = 0
    last_request: float = 0.0
    starts: list[float] = field(default_factory=list)
    ends: list[float] = field(default_factory=list)

    @property
    def makespan(self) -> float:
        """When the last job ended."""
        return max(self.ends)

    @property
    def idle(self) -> float:
        """How long a slot was idle between two jobs, on average."""
        later = sorted(self.starts)[SLOTS:]
        return fmean(later) - fmean(sorted(self.ends)[: len(later)])

    def start(self, now: float, duration: float) -> float:
        """Note a job's start, and return when it ends."""
        self.starts.append(now)
        self.ends.append(now + duration)
        return now + duration


class Load:
    """The same work for every contender: so many tasks, their jobs, and how long they take to submit."""

    def __init__(self, tasks: int, seed: int) -> None:
        self.seed = seed
        rng = Random(seed)
        mu = log(MEAN) - SIGMA**2 / 2
        self.durations = [rng.lognormvariate(mu, SIGMA) for _ in range(tasks)]
        self.delays = [rng.uniform(*SUBMISSION) for _ in range(tasks)]

    def __len__(self) -> int:
        return len(self.durations)


def all_knowing(load: Load) -> Run:
    """Simulate a gate that sees each slot the instant it is free."""
    run, free_at = Run(), [0.0] * SLOTS
    for delay, duration in zip(load.delays, load.durations, strict=True):
        heapq.heapreplace(free_at, run.start(free_at[0] + delay, duration))
    return run


def sensors(load: Load) -> Run:
    """Simulate a sensor per task. Polls that can't see a free slot are counted, not looked at one by one."""
    run, rng, delays = Run(), Random(load.seed), list(load.delays)
    phases = sorted((rng.uniform(0, SENSOR_INTERVAL), task) for task in range(len(load)))
    waiting, how_many = bytearray(b"\1" * len(load)), len(load)
    started, first_lap = bytearray(len(load)), [0] * len(load)
    events: list[tuple[float, int, int, float]] = []  # when, what, whose, in which phase
    free, now = SLOTS, 0.0
    while len(run.starts) < len(load):
        lap, offset = divmod(now, SENSOR_INTERVAL)
        place = bisect_left(phases, (offset, -1))
        while free and how_many:
            if place == len(phases):
                lap, place = lap + 1, 0
            phase, task = phases[place]
            poll = lap * SENSOR_INTERVAL + phase
            if events and events[0][0] <= poll:
                break
            if waiting[task]:
                run.requests += int(lap) - first_lap[task] + 1
                waiting[task], how_many = 0, how_many - 1
                heapq.heappush(events, (poll + delays[task], _SUBMITS, task, phase))
            place += 1
        now, what, task, phase = heapq.heappop(events)
        if what == _ENDS:
            free += 1
        elif free:
            free -= 1
            started[task] = 1
            run.violations += 0 <= waiting.find(1) < task
            heapq.heappush(events, (run.start(now, load.durations[task]), _ENDS, task, phase))
            if len(run.starts) % 100 == 0:
                phases = [entry for entry in phases if not started[entry[1]]]
        else:
            run.refused += 1
            waiting[task], how_many = 1, how_many + 1
            first_lap[task] = ceil((now - phase) / SENSOR_INTERVAL)
            delays[task] = rng.uniform(*SUBMISSION)
    return run


def ours(load: Load, interval: float) -> Run:
    """
    Simulate the package's ledger, fed with a reading per interval until the last job is seen.

    :param interval: seconds between readings, before the gate's jitter.
    """
    run, rng, ledger, service = Run(), Random(load.seed), SlotLedger(), _Service()
    waiting = bytearray(b"\1" * len(load))
    joining = list(range(min(TRIGGERS, len(load))))
    rng.shuffle(joining)
    later = iter(range(TRIGGERS, len(load)))
    for task in joining:
        ledger.join(str(task), SlotRequest(hold=HOLD, since=task / 1000))
    events: list[tuple[float, int, str]] = [(0.0, _READING, "")]
    grants: dict[str, Grant] = {}
    while len(run.starts) < len(load) or ledger.held:
        now, what, grant_id = heapq.heappop(events)
        task = int(grant_id.partition(" ")[0] or -1)
        if what == _READING:
            run.requests += 1
            run.last_request = now
            for grant in ledger.observe(service.read(), now):
                assert isinstance(grant, Grant)
                grants[grant.grant_id] = grant
                task = int(grant.grant_id.partition(" ")[0])
                run.violations += 0 <= waiting.find(1) < task
                waiting[task] = 0
                heapq.heappush(events, (now + load.delays[task], _SUBMITS, grant.grant_id))
                if (newcomer := next(later, None)) is not None:
                    ledger.join(str(newcomer), SlotRequest(hold=HOLD, since=newcomer / 1000))
            heapq.heappush(events, (now + interval * rng.uniform(1.0, 1.1), _READING, ""))
        elif what == _ENDS:
            service.end(grant_id)
        elif service.submit(grants[grant_id]):
            heapq.heappush(events, (run.start(now, load.durations[task]), _ENDS, grant_id))
        else:
            run.refused += 1
            waiting[task] = 1
            ledger.join(f"{task} again after {run.refused}", SlotRequest(hold=HOLD, since=now))
    return run


class _Service:
    def __init__(self) -> None:
        self._free = dict(ACCOUNTS)
        self._jobs: dict[str, ExecutingJob] = {}

    def submit(self, grant: Grant) -> bool:
        """Start a job on the account that was granted, or refuse it."""
        user_id = next(iter(grant.slots))
        if not self._free[user_id]:
            return False
        self._free[user_id] -= 1
        job = ExecutingJob(job_id=f"job {grant.grant_id}", user_id=user_id, reply_ref=grant.grant_id)
        self._jobs[grant.grant_id] = job
        return True

    def end(self, grant_id: str) -> None:
        user_id = self._jobs.pop(grant_id).user_id
        assert user_id is not None
        self._free[user_id] += 1

    def read(self) -> Capacity:
        accounts = tuple(
            AccountCapacity(user_id=user_id, max_jobs=most, executing=most - free, available=free)
            for (user_id, free), most in zip(self._free.items(), ACCOUNTS.values(), strict=True)
        )
        jobs = tuple(self._jobs.values())
        return Capacity(service="model", observed_at=_EPOCH, accounts=accounts, jobs=jobs)
