"""
How the services of useapi.net name the same things.

All of them offer ``scheduler/available``; they differ in the names of an account and of a job, in what such a
name looks like, in what an account logs in with, and in whether a listed job names its account.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import quote
from uuid import UUID

from airflow_riffusion.emulator.clock import timestamp

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime, timedelta
    from random import Random

    from airflow_riffusion.core.capacity import AccountCapacity
    from airflow_riffusion.emulator.records import Job, Snapshot
    from airflow_riffusion.emulator.service import NewJobId

JsonObject = dict[str, Any]

ACCOUNT_SECRET = "made-up-secret-of-an-account"  # noqa: S105 - it opens nothing
"""Stands in ``GET accounts`` for each of the real service's secrets, so that a test can look for leaks."""


@dataclass(frozen=True)
class Dialect:
    """One service's names."""

    service: str
    title: str
    account_field: Literal["user_id", "email"]
    job_field: Literal["job_id", "id", "jobId"]
    account_name: Callable[[int], str]  # of the n-th account; the first has 1
    new_job_id: NewJobId
    login: JsonObject  # what GET accounts says of an account's login
    lists_accounts: bool = True  # whether a listed job names its account

    def available(self, reading: Snapshot) -> JsonObject:
        """Answer ``GET scheduler/available``."""
        return {
            "executing": self.executing(reading),
            "available": [self._available(account) for account in reading.accounts if account.listed],
        }

    def accounts(self, reading: Snapshot) -> JsonObject:
        """Answer ``GET accounts``: every account as it is configured, by its name."""
        # https://useapi.net/docs/api-riffusion-v1/get-riffusion-accounts and its like have the fields.
        return {
            account.user_id: self._configured(account, reading.login_errors.get(account.user_id))
            for account in reading.accounts
        }

    def executing(self, reading: Snapshot) -> list[JsonObject]:
        """Answer ``GET scheduler``."""
        return [self._listed(job, reading.now) for job in reading.jobs]

    def accepted(self, job: Job) -> JsonObject:
        """Answer a submission that took a slot."""
        return {self.job_field: job.job_id, self.account_field: job.user_id}

    def ended(self, job: Job) -> JsonObject:
        """Write the report of a job's end, for its ``replyUrl``."""
        report: JsonObject = {**self.accepted(job), "status": job.status}
        if job.reply_ref is not None:
            report["replyRef"] = job.reply_ref
        if job.status == "failed":
            report["error"] = job.error
        return report

    def result(self, job: Job) -> list[JsonObject]:
        """Answer ``GET music`` as Riffusion does, whatever the service."""
        # https://useapi.net/docs/api-riffusion-v1/get-riffusion-music has the fields, and only the status
        # "completed". The other statuses, and a failed job's error, are the emulator's own.
        result: JsonObject = {
            "id": job.job_id,
            "author_id": job.user_id,
            "created_at": timestamp(job.started),
            "sound": job.prompt,
            "status": job.status,
        }
        if job.status == "failed":
            result["error"] = job.error
        if job.status == "completed":
            path = f"{self.service}/{quote(str(job.job_id), safe='')}.m4a"
            result["download_url"] = f"https://example.com/{path}"
        return [result]

    def _configured(self, account: AccountCapacity, error: str | None) -> JsonObject:
        configured = {self.account_field: account.user_id, "maxJobs": account.max_jobs, **self.login}
        return configured if error is None else {**configured, "error": error}

    def _available(self, account: AccountCapacity) -> JsonObject:
        return {
            self.account_field: account.user_id,
            "maxJobs": account.max_jobs,
            "executing": account.executing,
            "available": account.available,
        }

    def _listed(self, job: Job, now: datetime) -> JsonObject:
        listed: JsonObject = {self.job_field: job.job_id}
        if self.lists_accounts:
            listed[self.account_field] = job.user_id
        listed["started"] = timestamp(job.started)
        listed["elapsed"] = elapsed(now - job.started)
        if job.reply_url is not None:
            listed["replyUrl"] = job.reply_url
        if job.reply_ref is not None:
            listed["replyRef"] = job.reply_ref
        return listed


def elapsed(duration: timedelta) -> str:
    """Write a duration as the service does: ``MM:SS``, or ``HH:MM:SS`` from one hour on; never below 0."""
    minutes, seconds = divmod(max(0, int(duration.total_seconds())), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02}:{minutes:02}:{seconds:02}" if hours else f"{minutes:02}:{seconds:02}"


def _uuid(random: Random) -> UUID:
    return UUID(int=random.getrandbits(128), version=4)


_RIFFUSION = Dialect(
    service="riffusion",
    title="Riffusion",
    account_field="user_id",
    job_field="job_id",
    # A UUID as the service's own, yet plainly made up; its first eight characters are unique.
    account_name=lambda number: f"{number:08}-0000-4000-8000-000000000000",
    new_job_id=lambda _account, _number, random: str(_uuid(random)),
    login={
        "jwt": {"access_token": ACCOUNT_SECRET, "refresh_token": ACCOUNT_SECRET, "token_type": "bearer"},
    },
)
_TEMPOLOR = Dialect(
    service="tempolor",
    title="TemPolor",
    account_field="user_id",
    job_field="job_id",
    account_name=lambda number: f"{10_000 + number}",
    new_job_id=lambda account, _number, random: (
        f"user:1-tempolor:{account}-job:{random.getrandbits(60):015x}"
    ),
    login={"requestParams": {"token": ACCOUNT_SECRET}},
    lists_accounts=False,
)
_KLING = Dialect(
    service="kling",
    title="Kling",
    account_field="email",
    job_field="id",
    account_name=lambda number: f"account{number}@example.com",
    new_job_id=lambda _account, number, _random: 100_000_000 + number,
    login={"password": ACCOUNT_SECRET},
)
_LTXSTUDIO = Dialect(
    service="ltxstudio",
    title="LTX Studio",
    account_field="email",
    job_field="jobId",
    account_name=lambda number: f"account{number}@example.com",
    new_job_id=lambda account, _number, random: f"email:{account}:{_uuid(random)}-type:image",
    login={"cookie": {"lt_token": ACCOUNT_SECRET, "lt_refresh_token": ACCOUNT_SECRET}},
)

DIALECTS: Mapping[str, Dialect] = {
    dialect.service: dialect for dialect in (_RIFFUSION, _TEMPOLOR, _KLING, _LTXSTUDIO)
}
"""Each service's dialect, by its name in URLs."""
