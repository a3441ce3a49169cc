"""What the scheduler service keeps, shows and refuses, as plain data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from datetime import datetime


class UnknownAccount(Exception):
    """A submission names an account that the service does not have."""


class LoginExpired(Exception):
    """Every account that a submission could have used needs its login renewed."""


class UnknownJob(Exception):
    """There is no such job."""


class NotExecuting(UnknownJob):
    """No job of that id is executing."""


class NoFreeSlot(Exception):
    """Every slot that a submission could have used is taken."""


@dataclass(frozen=True)
class Job:
    """
    A job as it was when it was looked at.

    :param job_id: the service's own id.
    :param user_id: the account whose slot it takes (an e-mail address with some services).
    :param prompt: what was asked for.
    :param instrumental: whether it was to be without a voice.
    :param started: when it took its slot.
    :param over_at: when it ends by itself.
    :param reply_url: where to report its end.
    :param reply_ref: the submitter's own reference.
    :param error: what it ends with if it is one of those that fail; it is told only when it has.
    :param other_client: whether another client of the accounts began it, and not a submission.
    :param status: how it fares.
    :param ended: when it gave its slot back; none while it is executing.
    """

    job_id: str | int
    user_id: str
    prompt: str
    instrumental: bool
    started: datetime
    over_at: datetime
    reply_url: str | None = None
    reply_ref: str | None = None
    error: str | None = None
    other_client: bool = False
    status: Literal["executing", "completed", "failed", "cancelled"] = "executing"
    ended: datetime | None = None


@dataclass(frozen=True)
class Account:
    """
    An account and its slots.

    :param user_id: its name.
    :param max_jobs: its slots in all.
    :param executing: how many of them are taken.
    :param error: why it takes no jobs; none while its login is good.
    """

    user_id: str
    max_jobs: int
    executing: int
    error: str | None = None

    @property
    def available(self) -> int:
        """How many of its slots are free."""
        return self.max_jobs - self.executing


@dataclass(frozen=True)
class Reading:
    """
    The whole service at one moment.

    :param now: that moment.
    :param jobs: the executing jobs, the oldest first.
    :param accounts: every account, in the order of its configuration.
    :param hides_full_accounts: whether accounts without a free slot are not listed.
    """

    now: datetime
    jobs: tuple[Job, ...]
    accounts: tuple[Account, ...]
    hides_full_accounts: bool = False

    @property
    def listed(self) -> tuple[Account, ...]:
        """The accounts that ``GET scheduler/available`` lists: the healthy ones."""
        return tuple(
            account
            for account in self.accounts
            if account.error is None and (account.available or not self.hides_full_accounts)
        )


@dataclass(frozen=True)
class Stats:
    """
    What the service has counted since it began or was reset.

    What became of submissions is counted without the jobs of other clients: those that were ``accepted`` are
    ``completed``, ``failed``, ``cancelled`` or still executing. How full the service is (``executing``,
    ``peak``) is counted with them.

    :param slots: the slots of all accounts together.
    :param requests: requests to the service; those to ``/emulator/`` are not among them.
    :param requests_by_endpoint: the same, for each of :data:`ENDPOINTS`.
    :param unauthorized: requests that were turned away for their API token.
    :param refusals: submissions that found no free slot.
    :param accepted: submissions that took one, over HTTP or by ``submit()``.
    :param completed: jobs of theirs that ended by themselves, and well.
    :param cancelled: jobs of theirs that were dropped.
    :param executing: jobs that are executing now, those of other clients too.
    :param peak: the most jobs that were executing at once, those of other clients too.
    :param peak_by_account: the same, for each account.
    :param failed: jobs of submissions that ended by themselves, as failed.
    :param other_clients: jobs that other clients of the accounts began.
    """

    slots: int
    requests: int
    requests_by_endpoint: dict[str, int]
    unauthorized: int
    refusals: int
    accepted: int
    completed: int
    cancelled: int
    executing: int
    peak: int
    peak_by_account: dict[str, int]
    failed: int = 0
    other_clients: int = 0
