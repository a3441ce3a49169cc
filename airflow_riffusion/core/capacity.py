"""
A reading of a service: which jobs run, and how many slots each account has free.

How each service's answers become one is said in :mod:`airflow_riffusion.services`. Pure: no Airflow, no
clock, no I/O.
"""

from __future__ import annotations

from collections import Counter
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict

from airflow_riffusion.core.coerce import names

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

ReferenceStatus = Literal["known", "found", "unknown", "withheld"]
"""
Whether a job's ``replyRef`` is known, or that it has none: by the reading, or found by asking the job. If
not, it is unknown yet, or withheld: the job was asked in vain.
"""


class CapacityFormatError(ValueError):
    """The answer is no capacity answer at all: not JSON, or nothing that the service is known to answer."""


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True)


class ExecutingJob(_Frozen):
    """
    A job that the service says is running.

    :param job_id: the service's id of the job.
    :param user_id: the account it runs on; None where the service names none.
    :param started: when it started, with a time zone.
    :param elapsed: how long it has been running.
    :param reply_url: where the service will report its end, without query string and user info
        (callback addresses carry secrets).
    :param reply_ref: the reference given when the job was submitted.
    :param reference_status: whether that is known: ``known``, ``found``, ``unknown`` or ``withheld``.
    """

    job_id: str | None = None
    user_id: str | None = None
    started: datetime | None = None
    elapsed: timedelta | None = None
    reply_url: str | None = None
    reply_ref: str | None = None
    reference_status: ReferenceStatus = "known"

    @property
    def is_identified(self) -> bool:
        """Whether it is known with which reference it was submitted, or that it has none."""
        return self.reference_status in ("known", "found")

    def to_xcom(self) -> dict[str, Any]:
        """Return the job as plain JSON; ``elapsed`` becomes ``elapsed_seconds``."""
        return {
            "job_id": self.job_id,
            "user_id": self.user_id,
            "started": self.started.isoformat() if self.started else None,
            "elapsed_seconds": self.elapsed.total_seconds() if self.elapsed is not None else None,
            "reply_url": self.reply_url,
            "reply_ref": self.reply_ref,
        }


class AccountCapacity(_Frozen):
    """
    The slots of one account.

    :param user_id: the account; with some services an e-mail address.
    :param max_jobs: how many slots it has; None if the service did not say.
    :param executing: how many of them are in use.
    :param available: how many are free: never more than any of the service's numbers supports.
    :param listed: whether the service said how it fares. One that is known and not listed counts as full.
    """

    user_id: str
    max_jobs: int | None
    executing: int
    available: int
    listed: bool = True

    @classmethod
    def full(cls, user_id: str, max_jobs: int | None, running: int) -> AccountCapacity:
        """Return an account that the reading does not list, and on which it shows ``running`` jobs."""
        executing = running if max_jobs is None else max_jobs
        return cls(user_id=user_id, max_jobs=max_jobs, executing=executing, available=0, listed=False)

    @classmethod
    def idle(cls, user_id: str, max_jobs: int | None, running: int) -> AccountCapacity:
        """Return an account of which the service shows only the ``running`` jobs."""
        available = 0 if max_jobs is None else max(0, max_jobs - running)
        return cls(user_id=user_id, max_jobs=max_jobs, executing=running, available=available)

    def to_xcom(self) -> dict[str, Any]:
        """Return the account as plain JSON."""
        return {
            "user_id": self.user_id,
            "max_jobs": self.max_jobs,
            "executing": self.executing,
            "available": self.available,
        }


class Capacity(_Frozen):
    """
    A reading: what the service said about all accounts at one moment.

    :param service: which service was read, for example ``riffusion``.
    :param observed_at: when it was read, with a time zone.
    :param accounts: the accounts, in the service's order.
    :param jobs: the executing jobs, in the service's order.
    :param warnings: what in the answer made no sense, in words, for the log.
    :param logged_out: accounts that take no jobs until their login is renewed, as far as that is known.
    """

    service: str
    observed_at: datetime
    accounts: tuple[AccountCapacity, ...]
    jobs: tuple[ExecutingJob, ...]
    warnings: tuple[str, ...] = ()
    logged_out: tuple[str, ...] = ()

    @property
    def available(self) -> int:
        """How many slots are free on all accounts together."""
        return sum(account.available for account in self.accounts)

    @property
    def executing(self) -> int:
        """How many jobs run on all accounts together: by the accounts, or by the jobs if those are more."""
        return max(sum(account.executing for account in self.accounts), len(self.jobs))

    @property
    def max_jobs(self) -> int:
        """How many slots the accounts have in all, as far as the service said."""
        return sum(account.max_jobs or 0 for account in self.accounts)

    @property
    def slots(self) -> dict[str, int | None]:
        """How many slots each account has, listed or not; None where the service did not say."""
        return {account.user_id: account.max_jobs for account in self.accounts}

    @property
    def listed_slots(self) -> dict[str, int | None]:
        """How many slots each account has that the reading names."""
        return {account.user_id: account.max_jobs for account in self.accounts if account.listed}

    @property
    def lacks_accounts(self) -> bool:
        """Whether accounts seem to be missing: none is listed, a known one is not, or jobs run elsewhere."""
        listed = [account for account in self.accounts if account.listed]
        known = {None, *(account.user_id for account in listed)}
        elsewhere = len(self.jobs) > sum(account.executing for account in listed)
        elsewhere = elsewhere or any(job.user_id not in known for job in self.jobs)
        return not listed or len(listed) < len(self.accounts) or elsewhere

    @property
    def notes(self) -> tuple[str, ...]:
        """What a person should know about the reading, in words."""
        return (*self.warnings, login_needed(self.logged_out)) if self.logged_out else self.warnings

    def best_account(self) -> AccountCapacity | None:
        """Return the account with most free slots (the first of equals), or None if all are full."""
        best = max(self.accounts, key=lambda account: account.available, default=None)
        return best if best is not None and best.available else None

    def for_users(self, user_ids: Collection[str] | None) -> Capacity:
        """Return the reading as if only these accounts existed; None for all."""
        if user_ids is None:
            return self
        return self.model_copy(
            update={
                "accounts": tuple(account for account in self.accounts if account.user_id in user_ids),
                "jobs": tuple(job for job in self.jobs if job.user_id in user_ids),
                "logged_out": tuple(user_id for user_id in self.logged_out if user_id in user_ids),
            }
        )

    def with_full_accounts(
        self, slots: Mapping[str, int | None], *, logged_out: tuple[str, ...] = ()
    ) -> Capacity:
        """Return the reading with exactly these accounts; those that it does not list are full."""
        listed = {account.user_id: account for account in self.accounts if account.listed}
        if listed.keys() == slots.keys():
            accounts = tuple(listed.values())
        else:
            running = Counter(job.user_id for job in self.jobs)
            accounts = tuple(
                listed.get(user_id) or AccountCapacity.full(user_id, max_jobs, running[user_id])
                for user_id, max_jobs in slots.items()
            )
        return self.model_copy(update={"accounts": accounts, "logged_out": logged_out})

    def with_idle_accounts(self, slots: Mapping[str, int | None], *, logged_out: tuple[str, ...]) -> Capacity:
        """Return the reading with these accounts, idle unless it lists them; no others take jobs."""
        listed = {account.user_id: account for account in self.accounts}
        running = Counter(job.user_id for job in self.jobs)
        anywhere = running[None]  # A job without an account may use a slot of any.
        accounts = [
            listed.get(user_id) or AccountCapacity.idle(user_id, max_jobs, running[user_id] + anywhere)
            for user_id, max_jobs in slots.items()
        ]
        accounts += [
            account.model_copy(update={"available": 0})
            for user_id, account in listed.items()
            if user_id not in slots
        ]
        silent = [user_id for user_id, max_jobs in slots.items() if max_jobs is None]
        warnings = [f"nothing says how many slots account {names([user_id])} has" for user_id in silent]
        return self.model_copy(
            update={
                "accounts": tuple(accounts),
                "logged_out": logged_out,
                "warnings": tuple(dict.fromkeys([*self.warnings, *warnings])),
            }
        )

    def with_references(self, found: Mapping[str, str | None], withheld: Collection[str] = ()) -> Capacity:
        """Return the reading with the references of jobs that were asked for them, by the jobs' ids."""
        return self.model_copy(update={"jobs": tuple(_identified(job, found, withheld) for job in self.jobs)})

    def to_xcom(self) -> dict[str, Any]:
        """Return the reading as plain JSON, totals first, as the XComs have it."""
        best = self.best_account()
        return {
            "available": self.available,
            "executing": self.executing,
            "max_jobs": self.max_jobs,
            "best_user_id": best.user_id if best else None,
            "service": self.service,
            "observed_at": self.observed_at.isoformat(),
            "accounts": [account.to_xcom() for account in self.accounts],
            "jobs": [job.to_xcom() for job in self.jobs],
        }

    def __str__(self) -> str:
        accounts = "1 account" if len(self.accounts) == 1 else f"{len(self.accounts)} accounts"
        return f"{self.available} of {self.max_jobs} slots free on {accounts}"


def login_needed(user_ids: Collection[str]) -> str:
    """Say what a person has to do so that these accounts take jobs again."""
    if len(user_ids) == 1:
        return f"account {names(user_ids)} needs its login renewed at useapi.net"
    return f"accounts {names(user_ids)} need their logins renewed at useapi.net"


def _identified(
    job: ExecutingJob, found: Mapping[str, str | None], withheld: Collection[str]
) -> ExecutingJob:
    if job.job_id is not None and job.job_id in found:
        return job.model_copy(update={"reply_ref": found[job.job_id], "reference_status": "found"})
    if job.job_id in withheld:
        return job.model_copy(update={"reference_status": "withheld"})
    return job
