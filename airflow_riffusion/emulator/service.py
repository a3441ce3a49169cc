"""
The scheduler service itself: accounts, the jobs in their slots, and what was counted.

Nothing in here speaks HTTP, waits, or reads the machine's time by itself: a clock is handed in. It may be
used from several threads, so that a test can look at (or take slots from) a service that is being served.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any, Literal

from airflow_riffusion.emulator.arrivals import Arrivals
from airflow_riffusion.emulator.limits import (
    MAX_SLOTS,
    check_accounts,
    check_job_seconds,
    check_other_clients,
)
from airflow_riffusion.emulator.records import (
    Account,
    Job,
    LoginExpired,
    NoFreeSlot,
    NotExecuting,
    Reading,
    Stats,
    UnknownAccount,
    UnknownJob,
)

ENDPOINTS = ("available", "accounts", "scheduler", "create-prompt", "result", "cancel", "other")
"""The names under which requests are counted; ``other`` is whatever the service does not offer."""

OTHER_CLIENTS_PROMPT = "another client's"
"""What other clients ask for."""

LOGIN_EXPIRED = "The login of this account has expired. Please renew it."
"""What an account with an expired login says, unless told otherwise."""

Clock = Callable[[], datetime]
"""Tells the time, aware of its zone."""

NewJobId = Callable[[str, int, Random], str | int]
"""Makes a job's id from its account, its number (the first job has 1) and a source of randomness."""


def utc_now() -> datetime:
    """Tell the machine's time, in UTC."""
    return datetime.now(UTC)


class SchedulerService:
    """
    Accounts with a fixed number of slots, and jobs that take one slot each until their time is over.

    :param accounts: for each account its number of slots, 1 to 10.
    :param new_job_id: makes the id of a new job.
    :param job_seconds: how long a job takes, in seconds, or a function that says so anew for each job.
    :param other_clients_per_minute: how many other clients of the accounts come, on average. Each takes a
        free slot for a job of its own, or goes away if there is none. They come whatever is submitted.
    :param hide_full_accounts: whether ``GET scheduler/available`` lists only accounts with a free slot.
    :param clock: tells the time.
    :param random: chooses accounts, feeds ``new_job_id``, and decides when other clients come.
    """

    def __init__(
        self,
        accounts: Mapping[str, int],
        *,
        new_job_id: NewJobId,
        job_seconds: float | Callable[[], float] = 20.0,
        other_clients_per_minute: float = 0.0,
        hide_full_accounts: bool = False,
        clock: Clock = utc_now,
        random: Random | None = None,
    ) -> None:
        check_accounts(accounts)
        check_other_clients(other_clients_per_minute)
        self._accounts = dict(accounts)
        self._new_job_id = new_job_id
        self._duration = job_seconds if callable(job_seconds) else _constant(job_seconds)
        self._hide_full_accounts = hide_full_accounts
        self._clock = clock
        self._random = random or Random()
        self._other_clients_per_minute = other_clients_per_minute
        self._other_clients_seed = self._random.getrandbits(64)
        self._lock = threading.RLock()
        self.reset()

    def reset(self) -> None:
        """
        Forget every job, every count and every expired login, as if the service had just begun.

        Other clients begin to come anew, with the same pauses between them.
        """
        with self._lock:
            # When others come is drawn apart from what they take, which depends on the slots that are free.
            self._other_clients_random = Random(self._other_clients_seed)
            coming = Random(self._other_clients_random.getrandbits(64))
            self._arrivals = Arrivals(self._other_clients_per_minute, self._clock(), coming)
            self._login_errors: dict[str, str] = {}
            self._jobs: dict[str, Job] = {}
            self._executing: dict[str, Job] = {}
            self._unreported: list[Job] = []
            self._requests: Counter[str] = Counter()
            self._unauthorized = 0
            self._refusals = 0
            self._peak = 0
            self._peak_by_account = dict.fromkeys(self._accounts, 0)

    def submit(
        self,
        prompt: str,
        *,
        user_id: str | None = None,
        instrumental: bool = False,
        reply_url: str | None = None,
        reply_ref: str | None = None,
        max_jobs: int | None = None,
        error: str | None = None,
    ) -> Job:
        """
        Take a slot for a new job.

        :param prompt: what is asked for.
        :param user_id: the account to use; without it, one with a free slot is chosen at random.
        :param instrumental: whether it shall be without a voice.
        :param reply_url: where to report the job's end.
        :param reply_ref: the submitter's own reference.
        :param max_jobs: use only an account that executes fewer jobs than this. It can't raise an
            account's own number of slots.
        :param error: let the job end as failed, with this text.
        :return: the job, executing.
        :raises UnknownAccount: if there is no account of that name.
        :raises LoginExpired: if that account, or each of all, is logged out.
        :raises NoFreeSlot: if no slot is free.
        """
        with self._lock:
            now = self._settle()
            account = self._choose_account(user_id, max_jobs or MAX_SLOTS)
            return self._begin(
                account,
                now,
                self._random,
                prompt=prompt,
                instrumental=instrumental,
                reply_url=reply_url,
                reply_ref=reply_ref,
                error=error,
            )

    def log_out(self, user_id: str, error: str = LOGIN_EXPIRED) -> None:
        """
        Let the login of an account expire: it takes no new jobs; those that execute go on.

        :param user_id: the account.
        :param error: what ``GET accounts`` says of it.
        :raises UnknownAccount: if there is no account of that name.
        """
        with self._lock:
            self._settle()
            self._check_account(user_id)
            self._login_errors[user_id] = error

    def log_in(self, user_id: str) -> None:
        """
        Renew the login of an account, so that it takes jobs again.

        :param user_id: the account; one whose login is good stays as it is.
        :raises UnknownAccount: if there is no account of that name.
        """
        with self._lock:
            self._settle()
            self._check_account(user_id)
            self._login_errors.pop(user_id, None)

    def cancel(self, job_id: str) -> Job:
        """
        Drop an executing job, which frees its slot.

        :param job_id: the job's id, as text even if the service counts its jobs in numbers.
        :return: the job, cancelled.
        :raises NotExecuting: if no such job is executing.
        """
        with self._lock:
            now = self._settle()
            if job_id not in self._executing:
                raise NotExecuting(job_id)
            return self._end(replace(self._executing[job_id], status="cancelled", ended=now))

    def find(self, job_id: str, user_id: str | None = None) -> Job:
        """
        Find a job, whether it is executing or has ended.

        :param job_id: the job's id, as text even if the service counts its jobs in numbers.
        :param user_id: the account that it must be of, if that matters.
        :return: the job as it is now.
        :raises UnknownJob: if there is no such job.
        """
        with self._lock:
            self._settle()
            job = self._jobs.get(job_id)
            if job is None or user_id not in (None, job.user_id):
                raise UnknownJob(job_id)
            return job

    def read(self) -> Reading:
        """Take a reading of all accounts and executing jobs."""
        with self._lock:
            now = self._settle()
            busy = self._busy()
            accounts = (
                Account(user_id, max_jobs, busy[user_id], self._login_errors.get(user_id))
                for user_id, max_jobs in self._accounts.items()
            )
            return Reading(
                now,
                tuple(self._executing.values()),
                tuple(accounts),
                hides_full_accounts=self._hide_full_accounts,
            )

    def jobs(self) -> list[Job]:
        """List every job that ever took a slot, in that order."""
        with self._lock:
            self._settle()
            return list(self._jobs.values())

    def take_ended(self) -> list[Job]:
        """List the jobs that have ended by themselves, well or not, since this was last asked."""
        with self._lock:
            self._settle()
            ended, self._unreported = self._unreported, []
            return ended

    def count_request(self, endpoint: str) -> None:
        """
        Count a request.

        :param endpoint: one of :data:`ENDPOINTS`.
        """
        with self._lock:
            self._requests[endpoint] += 1

    def count_unauthorized(self) -> None:
        """Count a request that was turned away for its API token."""
        with self._lock:
            self._unauthorized += 1

    def stats(self) -> Stats:
        """Show what was counted."""
        with self._lock:
            self._settle()
            submitted = [job for job in self._jobs.values() if not job.other_client]
            by_status = Counter(job.status for job in submitted)
            return Stats(
                slots=sum(self._accounts.values()),
                requests=self._requests.total(),
                requests_by_endpoint={endpoint: self._requests[endpoint] for endpoint in ENDPOINTS},
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
        """Catch up with the time: jobs end and other clients come, in the order of time; tell the time."""
        now = self._clock()
        for moment in self._arrivals.until(now):
            self._end_jobs(moment)
            self._let_in(moment)
        self._end_jobs(now)
        return now

    def _end_jobs(self, now: datetime) -> None:
        """End the jobs whose time is over, in the order in which they ended."""
        over = [job for job in self._executing.values() if job.over_at <= now]
        for job in sorted(over, key=lambda job: job.over_at):
            status: Literal["completed", "failed"] = "completed" if job.error is None else "failed"
            self._unreported.append(self._end(replace(job, status=status, ended=job.over_at)))

    def _let_in(self, moment: datetime) -> None:
        """Let another client take a slot, if one is free."""
        if with_room := self._with_room(self._accounts, MAX_SLOTS):
            account = self._other_clients_random.choice(with_room)
            asked = {"prompt": OTHER_CLIENTS_PROMPT, "instrumental": False, "other_client": True}
            self._begin(account, moment, self._other_clients_random, **asked)

    def _begin(self, account: str, now: datetime, random: Random, **fields: Any) -> Job:
        """Give a slot of an account to a new job."""
        job = Job(
            job_id=self._new_job_id(account, len(self._jobs) + 1, random),
            user_id=account,
            started=now,
            over_at=now + timedelta(seconds=self._duration()),
            **fields,
        )
        self._jobs[str(job.job_id)] = self._executing[str(job.job_id)] = job
        self._note_peaks(account)
        return job

    def _end(self, job: Job) -> Job:
        del self._executing[str(job.job_id)]
        self._jobs[str(job.job_id)] = job
        return job

    def _check_account(self, user_id: str) -> None:
        if user_id not in self._accounts:
            raise UnknownAccount(user_id)

    def _choose_account(self, user_id: str | None, max_jobs: int) -> str:
        if user_id is not None:
            self._check_account(user_id)
        candidates = self._accounts if user_id is None else (user_id,)
        if self._login_errors.keys() >= set(candidates):
            raise LoginExpired(user_id)
        with_room = self._with_room(candidates, max_jobs)
        if not with_room:
            self._refusals += 1
            raise NoFreeSlot(user_id)
        return self._random.choice(with_room)

    def _with_room(self, candidates: Iterable[str], max_jobs: int) -> list[str]:
        busy = self._busy()
        return [
            account
            for account in candidates
            if account not in self._login_errors and busy[account] < min(self._accounts[account], max_jobs)
        ]

    def _busy(self) -> Counter[str]:
        """Count the taken slots of each account."""
        return Counter(job.user_id for job in self._executing.values())

    def _note_peaks(self, user_id: str) -> None:
        self._peak = max(self._peak, len(self._executing))
        self._peak_by_account[user_id] = max(self._peak_by_account[user_id], self._busy()[user_id])


def _constant(seconds: float) -> Callable[[], float]:
    check_job_seconds(seconds)
    return lambda: seconds
