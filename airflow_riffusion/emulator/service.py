"""
The scheduler service: accounts, the jobs in their slots, and counts.

It knows no HTTP, never waits, and gets the time from a clock. Any thread may use it: a test can read it, and
take slots, while it is being served.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta
from itertools import repeat
from random import Random
from typing import Any, get_args

from airflow_riffusion.core.capacity import AccountCapacity
from airflow_riffusion.emulator.arrivals import Arrivals
from airflow_riffusion.emulator.clock import Clock, utc_now
from airflow_riffusion.emulator.pace import Pace
from airflow_riffusion.emulator.records import (
    Endpoint,
    Job,
    LoginExpired,
    NoFreeSlot,
    NotExecuting,
    Snapshot,
    Stats,
    UnknownAccount,
    UnknownJob,
)

OTHER_ENDPOINT = "other"
OTHER_CLIENTS_PROMPT = "another client's"
LOGIN_EXPIRED = "The login of this account has expired. Please renew it."

NewJobId = Callable[[str, int, Random], str | int]
"""Makes a job's id from its account, its number (the first job has 1) and a source of randomness."""


class SchedulerService:
    """Accounts with a fixed number of slots, and jobs that take one slot each until their time is over."""

    def __init__(
        self,
        accounts: Mapping[str, int],
        *,
        new_job_id: NewJobId,
        job_seconds: float | Callable[[], float] = 20.0,
        other_clients_per_minute: float = 0.0,
        hide_full_accounts: bool = False,
        submission_pause: float = 0.0,
        clock: Clock = utc_now,
        random: Random | None = None,
    ) -> None:
        self._accounts = dict(accounts)
        self._new_job_id = new_job_id
        self._job_seconds = job_seconds if callable(job_seconds) else repeat(job_seconds).__next__
        self._other_clients_per_minute = other_clients_per_minute
        self._hide_full_accounts = hide_full_accounts
        self._submission_pause = submission_pause
        self._clock = clock
        self._random = random or Random()
        self._other_clients_seed = self._random.getrandbits(64)
        self._lock = threading.RLock()
        self.reset()

    def reset(self) -> None:
        """Forget jobs, counts and expired logins; other clients come anew, with the same pauses."""
        with self._lock:
            # When others come is drawn apart from what they take, which depends on the slots that are free.
            self._other_clients_random = Random(self._other_clients_seed)
            coming = Random(self._other_clients_random.getrandbits(64))
            self._arrivals = Arrivals(self._other_clients_per_minute, self._clock(), coming)
            self._pace = Pace(self._submission_pause)
            self._login_errors: dict[str, str] = {}
            self._jobs: dict[str, Job] = {}
            self._executing: dict[str, Job] = {}
            self._unreported: list[Job] = []
            self._requests: Counter[str] = Counter()
            self._unauthorized = 0
            self._refusals = 0
            self._peak = 0
            self._peak_by_account = dict.fromkeys(self._accounts, 0)

    def submit(self, prompt: str, **options: Any) -> Job:
        """Take a slot for a new job; the options are those of :meth:`submit_jobs`."""
        (job,) = self.submit_jobs(1, prompt, **options)
        return job

    def submit_jobs(
        self,
        number: int,
        prompt: str,
        *,
        user_id: str | None = None,
        instrumental: bool = False,
        reply_url: str | None = None,
        reply_ref: str | None = None,
        max_jobs: int | None = None,
        error: str | None = None,
    ) -> list[Job]:
        """
        Take slots for so many new jobs, all of one account: of any, unless one is named.

        With ``max_jobs``, only an account that executes no more than so many jobs afterwards is used; with
        ``error``, the jobs fail in the end. Raises UnknownAccount, LoginExpired or NoFreeSlot.
        """
        job = {
            "prompt": prompt,
            "instrumental": instrumental,
            "reply_url": reply_url,
            "reply_ref": reply_ref,
            "fails_with": error,
        }
        with self._lock:
            now = self._settle()
            account = self._choose_account(user_id, number, max_jobs)
            return [self._start(account, now, self._random, **job) for _ in range(number)]

    def keep_pause(self) -> None:
        """Note that a submission comes now; raise TooSoon if it comes too soon after the previous one."""
        with self._lock:
            self._pace.keep(self._clock())

    def log_out(self, user_id: str, error: str = LOGIN_EXPIRED) -> None:
        """Let the login of an account expire: it takes no new jobs; those that execute go on."""
        with self._lock:
            self._settle()
            self._check_account(user_id)
            self._login_errors[user_id] = error

    def log_in(self, user_id: str) -> None:
        """Renew the login of an account, so that it takes jobs again."""
        with self._lock:
            self._settle()
            self._check_account(user_id)
            self._login_errors.pop(user_id, None)

    def cancel(self, job_id: str) -> Job:
        """Drop an executing job, which frees its slot; raise NotExecuting if there is none of that id."""
        return self._end_now(job_id, "cancelled")

    def complete(self, job_id: str) -> Job:
        """Let an executing job be done before its time; raise NotExecuting if there is none of that id."""
        return self._end_now(job_id, "completed")

    def _end_now(self, job_id: str, status: str) -> Job:
        with self._lock:
            now = self._settle()
            if job_id not in self._executing:
                raise NotExecuting(job_id)
            return self._end(self._executing[job_id], status=status, ended=now)

    def find(self, job_id: str, user_id: str | None = None) -> Job:
        """Return a job, of that account if one is named, as it is now; raise UnknownJob if there is none."""
        with self._lock:
            self._settle()
            job = self._jobs.get(job_id)
            if job is None or user_id not in (None, job.user_id):
                raise UnknownJob(job_id)
            return job

    def read(self) -> Snapshot:
        """Return all accounts and executing jobs as they are now."""
        with self._lock:
            now = self._settle()
            busy = self._busy()
            accounts = tuple(self._account(user_id, busy[user_id]) for user_id in self._accounts)
            return Snapshot(now, tuple(self._executing.values()), accounts, dict(self._login_errors))

    def jobs(self) -> list[Job]:
        """Return every job that ever took a slot, in that order."""
        with self._lock:
            self._settle()
            return list(self._jobs.values())

    def take_ended(self) -> list[Job]:
        """Return the jobs that have completed or failed since the last call."""
        with self._lock:
            self._settle()
            ended, self._unreported = self._unreported, []
            return ended

    def count_request(self, endpoint: str) -> None:
        """Count a request to an endpoint."""
        with self._lock:
            self._requests[endpoint] += 1

    def count_unauthorized(self) -> None:
        """Count a request with a wrong API token, or none."""
        with self._lock:
            self._unauthorized += 1

    def stats(self) -> Stats:
        """Return the counts."""
        with self._lock:
            self._settle()
            submitted = [job for job in self._jobs.values() if not job.other_client]
            by_status = Counter(job.status for job in submitted)
            endpoints = (*get_args(Endpoint), OTHER_ENDPOINT)
            return Stats(
                slots=sum(self._accounts.values()),
                requests=self._requests.total(),
                requests_by_endpoint={endpoint: self._requests[endpoint] for endpoint in endpoints},
                unauthorized=self._unauthorized,
                refusals=self._refusals,
                accepted=len(submitted),
                completed=by_status["completed"],
                cancelled=by_status["cancelled"],
                executing=len(self._executing),
                peak=self._peak,
                peak_by_account=dict(self._peak_by_account),
                failed=by_status["failed"],
                other_clients=len(self._jobs) - len(submitted),
            )

    def _settle(self) -> datetime:
        """End jobs and let other clients in up to the present, in order of time; return the time."""
        now = self._clock()
        for moment in self._arrivals.until(now):
            self._end_jobs(moment)
            self._let_in(moment)
        self._end_jobs(now)
        return now

    def _end_jobs(self, now: datetime) -> None:
        over = [job for job in self._executing.values() if job.over_at <= now]
        for job in sorted(over, key=lambda job: job.over_at):
            status = "completed" if job.fails_with is None else "failed"
            self._unreported.append(self._end(job, status=status, ended=job.over_at, error=job.fails_with))

    def _let_in(self, moment: datetime) -> None:
        """Let another client take a slot, if one is free."""
        if accounts := self._with_free_slots(self._accounts):
            account = self._other_clients_random.choice(accounts)
            job = {"prompt": OTHER_CLIENTS_PROMPT, "other_client": True}
            self._start(account, moment, self._other_clients_random, **job)

    def _choose_account(self, user_id: str | None, number: int, max_jobs: int | None) -> str:
        if user_id is not None:
            self._check_account(user_id)
        candidates = self._accounts if user_id is None else (user_id,)
        if self._login_errors.keys() >= set(candidates):
            raise LoginExpired(user_id)
        accounts = self._with_free_slots(candidates, number, max_jobs)
        if not accounts:
            self._refusals += 1
            raise NoFreeSlot(user_id)
        return self._random.choice(accounts)

    def _start(self, account: str, now: datetime, random: Random, **fields: Any) -> Job:
        """Give a slot of an account to a new job."""
        job = Job(
            job_id=self._new_job_id(account, len(self._jobs) + 1, random),
            user_id=account,
            started=now,
            over_at=now + timedelta(seconds=self._job_seconds()),
            **fields,
        )
        self._jobs[str(job.job_id)] = self._executing[str(job.job_id)] = job
        self._peak = max(self._peak, len(self._executing))
        self._peak_by_account[account] = max(self._peak_by_account[account], self._busy()[account])
        return job

    def _end(self, job: Job, **changes: Any) -> Job:
        """Free the slot of a job."""
        ended = self._jobs[str(job.job_id)] = job.model_copy(update=changes)
        del self._executing[str(job.job_id)]
        return ended

    def _check_account(self, user_id: str) -> None:
        if user_id not in self._accounts:
            raise UnknownAccount(user_id)

    def _account(self, user_id: str, executing: int) -> AccountCapacity:
        max_jobs = self._accounts[user_id]
        return AccountCapacity(
            user_id=user_id,
            max_jobs=max_jobs,
            executing=executing,
            available=max_jobs - executing,
            listed=user_id not in self._login_errors
            and (executing < max_jobs or not self._hide_full_accounts),
        )

    def _with_free_slots(
        self, candidates: Iterable[str], number: int = 1, max_jobs: int | None = None
    ) -> list[str]:
        busy = self._busy()
        return [
            account
            for account in candidates
            if account not in self._login_errors
            and busy[account] + number <= min(self._accounts[account], max_jobs or self._accounts[account])
        ]

    def _busy(self) -> Counter[str]:
        """Count the executing jobs of each account."""
        return Counter(job.user_id for job in self._executing.values())
