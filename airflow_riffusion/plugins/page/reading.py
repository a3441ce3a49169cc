"""
What the page shows of one reading: made once, in the thread that took it, for all who look.

Pure: no Airflow, no clock, no I/O. Whatever the service said is in it as it came, but for its length: the
page treats all of it as text.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Mapping
    from datetime import datetime

    from airflow_riffusion.core.capacity import AccountCapacity, Capacity, ExecutingJob

MOST_ACCOUNTS = 200
MOST_JOBS = 500
MOST_NOTES = 5
LONGEST_TEXT = 1024
"""Characters; no reference that the service takes is longer."""


@dataclass(frozen=True, slots=True)
class Account:
    """
    An account's slots.

    :param user_id: the account, whole.
    :param slots: how many it has.
    :param executing: how many of them are in use.
    :param available: how many of them the service says are free.
    """

    user_id: str
    slots: int
    executing: int
    available: int

    @classmethod
    def of(cls, account: AccountCapacity) -> Account:
        """
        Return what is shown of an account.

        :param account: what the service said.
        """
        slots = max(account.max_jobs or 0, account.executing + account.available)
        return cls(account.user_id, slots, account.executing, account.available)

    @property
    def unknown(self) -> int:
        """Return how many slots are neither in use nor said to be free."""
        return self.slots - self.executing - self.available


@dataclass(frozen=True, slots=True)
class Reading:
    """
    A reading, as far as it is shown.

    :param service: which service was read.
    :param observed_at: when, with a time zone.
    :param accounts: the first of its accounts.
    :param more_accounts: how many there are besides.
    :param jobs: the first of its jobs, as plain JSON.
    :param more_jobs: how many there are besides.
    :param notes: the first notes on the answer.
    :param executing: slots in use on all accounts.
    :param unknown: slots on all accounts of which nothing says that they are free.
    :param available: free slots of every account that has any.
    :param references: those of all jobs.
    """

    service: str
    observed_at: datetime
    accounts: tuple[Account, ...]
    more_accounts: int
    jobs: tuple[dict[str, Any], ...]
    more_jobs: int
    notes: tuple[str | None, ...]
    executing: int
    unknown: int
    available: Mapping[str, int]
    references: frozenset[str]

    @classmethod
    def of(cls, capacity: Capacity) -> Reading:
        """
        Return what is shown of a reading.

        :param capacity: what the service said.
        """
        accounts = [Account.of(account) for account in capacity.accounts]
        jobs = capacity.jobs[:MOST_JOBS]
        return cls(
            service=capacity.service,
            observed_at=capacity.observed_at,
            accounts=tuple(accounts[:MOST_ACCOUNTS]),
            more_accounts=max(0, len(accounts) - MOST_ACCOUNTS),
            jobs=tuple(_job(job, capacity.observed_at) for job in jobs),
            more_jobs=len(capacity.jobs) - len(jobs),
            notes=tuple(_short(note) for note in capacity.notes[:MOST_NOTES]),
            # Not the accounts' sum: the service may list jobs that it counts on no account.
            executing=capacity.executing,
            unknown=sum(account.unknown for account in accounts),
            available={account.user_id: account.available for account in accounts if account.available},
            references=frozenset(job.reply_ref for job in capacity.jobs if job.reply_ref),
        )

    def numbers(self, held: Counter[str] | None) -> dict[str, Any]:
        """
        Return the slots, accounts and jobs as plain JSON.

        :param held: how many of each account's free slots are held; None where that can't be known.
        """
        taken = {
            user_id: min(slots, self.available.get(user_id, 0)) for user_id, slots in (held or {}).items()
        }
        free, all_taken = sum(self.available.values()), sum(taken.values())
        return {
            "slots": {
                "slots": self.executing + free + self.unknown,
                "executing": self.executing,
                "held": None if held is None else all_taken,
                "free": free - all_taken,
                "unknown": self.unknown,
            },
            "accounts": [
                {
                    "account": _short(account.user_id),
                    "slots": account.slots,
                    "executing": account.executing,
                    "held": None if held is None else taken.get(account.user_id, 0),
                    "free": account.available - taken.get(account.user_id, 0),
                    "unknown": account.unknown,
                }
                for account in self.accounts
            ],
            "more_accounts": self.more_accounts,
            "jobs": list(self.jobs),
            "more_jobs": self.more_jobs,
            "notes": list(self.notes),
        }


def _job(job: ExecutingJob, observed_at: datetime) -> dict[str, Any]:
    elapsed = None
    if job.elapsed is not None:
        elapsed = job.elapsed.total_seconds()
    elif job.started is not None:
        elapsed = max(0.0, (observed_at - job.started).total_seconds())
    return {
        "job_id": _short(job.job_id),
        "account": _short(job.user_id),
        "elapsed_seconds": elapsed,
        "reference": _short(job.reply_ref),
    }


def _short(text: str | None) -> str | None:
    return text if text is None or len(text) <= LONGEST_TEXT else text[: LONGEST_TEXT - 1] + "…"
