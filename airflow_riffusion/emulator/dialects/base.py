"""What every dialect has, and what its routes work with."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from airflow_riffusion.emulator.dialects import TITLES
from airflow_riffusion.emulator.limits import MAX_SLOTS
from airflow_riffusion.emulator.records import UnknownJob

if TYPE_CHECKING:
    import asyncio
    from random import Random

    from fastapi import APIRouter

    from airflow_riffusion.core.capacity import AccountCapacity
    from airflow_riffusion.emulator.records import Job, Snapshot
    from airflow_riffusion.emulator.service import SchedulerService

JsonObject = dict[str, Any]


@dataclass(frozen=True)
class Context:
    """What the routes of a service work with."""

    service: SchedulerService
    closing: asyncio.Event  # once set, no request is held
    jobs_per_submission: int = 1
    audio_delay: float = 0.0


class Dialect(ABC):
    """What one service is like: its names, its endpoints and its answers."""

    service: ClassVar[str]
    version: ClassVar[str] = "v1"
    account_field: ClassVar[str]
    job_field: ClassVar[str]
    login: ClassVar[JsonObject]  # what GET accounts says of an account's login
    shows_slots: ClassVar[bool] = True  # whether GET accounts says maxJobs
    most_slots: ClassVar[int] = MAX_SLOTS  # of one account
    most_jobs_per_submission: ClassVar[int] = 1
    hides_full_accounts: ClassVar[bool] = False
    submission_pause: ClassVar[float] = 0.0  # the least time between two submissions, in seconds
    full_retry_after: ClassVar[int | None] = None  # the Retry-After when all slots are taken, in seconds
    retry_after_in_body: ClassVar[bool] = False

    @property
    def title(self) -> str:
        """What people call the service."""
        return TITLES[self.service]

    @property
    def prefix(self) -> str:
        """What every path of the service begins with."""
        return f"/{self.version}/{self.service}"

    @abstractmethod
    def account_name(self, number: int) -> str:
        """Name the n-th account; the first has 1."""

    @abstractmethod
    def new_job_id(self, account: str, number: int, random: Random) -> str | int:
        """Make the id of the n-th job; the first has 1."""

    @abstractmethod
    def capacity(self, reading: Snapshot) -> JsonObject:
        """Say which jobs are executing, and what is free as far as the service tells."""

    @abstractmethod
    def outcome(self, job: Job, base_url: str) -> JsonObject | list[JsonObject]:
        """Return how a job fares, for those who ask and for its ``replyUrl``."""

    @abstractmethod
    def add_routes(self, routes: APIRouter, context: Context) -> None:
        """
        Add the service's endpoints, each named as in ``Stats.requests_by_endpoint``.

        ``GET accounts`` is not among them: all services have it.
        """

    def accounts(self, reading: Snapshot) -> JsonObject:
        """Answer ``GET accounts``: every account as it is configured, by its name."""
        return {
            account.user_id: self._configured(account, reading.login_errors.get(account.user_id))
            for account in reading.accounts
        }

    def _configured(self, account: AccountCapacity, error: str | None) -> JsonObject:
        configured: JsonObject = {self.account_field: account.user_id, **self.login}
        if self.shows_slots:
            configured["maxJobs"] = account.max_jobs
        if error is not None:
            configured["error"] = error
        return configured


def reply_fields(job: Job) -> JsonObject:
    """Return a job's ``replyUrl`` and ``replyRef``, if it has them."""
    fields = {"replyUrl": job.reply_url, "replyRef": job.reply_ref}
    return {name: value for name, value in fields.items() if value is not None}


def tracked(service: SchedulerService, job_id: str) -> Job:
    """
    Return a job that has not been stopped; raise UnknownJob otherwise.

    The pages say that stopping ends the tracking, not what asking for the job says from then on. An answer
    404 is the emulator's choice.
    """
    job = service.find(job_id)
    if job.status == "cancelled":
        raise UnknownJob(job_id)
    return job
