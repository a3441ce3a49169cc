"""
How the services of useapi.net name the same things.

All of them offer ``scheduler/available``; they differ in the names of an account and of a job, in what such a
name looks like, in what an account logs in with, and in whether a listed job names its account.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import quote
from uuid import UUID

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from random import Random

    from airflow_riffusion.emulator.records import Account, Job, Reading
    from airflow_riffusion.emulator.service import NewJobId

JsonObject = dict[str, Any]

ACCOUNT_SECRET = "made-up-secret-of-an-account"  # noqa: S105 - it opens nothing
"""What ``GET accounts`` has wherever the real service has a secret: nothing that reads it may tell it."""


@dataclass(frozen=True)
class Dialect:
    """
    One service's names.

    :param service: its name in URLs.
    :param title: its name for people.
    :param account_field: what it calls the name of an account.
    :param job_field: what it calls the id of a job.
    :param account_name: makes up the name of the n-th account (the first has 1).
    :param new_job_id: makes up the id of a job.
    :param login: what ``GET accounts`` tells of an account's login, secrets among it.
    :param lists_accounts: whether a listed job names its account.
    """

    service: str
    title: str
    account_field: Literal["user_id", "email"]
    job_field: Literal["job_id", "id", "jobId"]
    account_name: Callable[[int], str]
    new_job_id: NewJobId
    login: JsonObject
    lists_accounts: bool = True

    def available(self, reading: Reading) -> JsonObject:
        """Answer ``GET scheduler/available``."""
        return {
            "executing": self.executing(reading),
            "available": [self._available(account) for account in reading.listed],
        }

    def accounts(self, reading: Reading) -> JsonObject:
        """
        Answer ``GET accounts``: every account as it is configured, by its name.

        https://useapi.net/docs/api-riffusion-v1/get-riffusion-accounts and its like have the fields.
        """
        return {account.user_id: self._configured(account) for account in reading.accounts}

    def executing(self, reading: Reading) -> list[JsonObject]:
        """Answer ``GET scheduler``."""
        return [self._listed(job, reading.now) for job in reading.jobs]

    def accepted(self, job: Job) -> JsonObject:
        """Answer a submission that took a slot."""
        return {self.job_field: job.job_id, self.account_field: job.user_id}

    def ended(self, job: Job) -> JsonObject:
        """Tell a ``replyUrl`` that its job has ended."""
        report: JsonObject = {**self.accepted(job), "status": job.status}
        if job.reply_ref is not None:
            report["replyRef"] = job.reply_ref
        if job.status == "failed":
            report["error"] = job.error
        return report

    def result(self, job: Job) -> list[JsonObject]:
        """
        Answer ``GET music`` as Riffusion does, whatever the service.

        https://useapi.net/docs/api-riffusion-v1/get-riffusion-music has the fields, and of the statuses
        ``completed`` only; the others, and what a failed job says, are the emulator's.
        """
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

    def _configured(self, account: Account) -> JsonObject:
        configured = {self.account_field: account.user_id, "maxJobs": account.max_jobs, **self.login}
        return configured if account.error is None else {**configured, "error": account.error}

    def _available(self, account: Account) -> JsonObject:
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


def timestamp(moment: datetime) -> str:
    """
    Write a moment as the service does.

    :param moment: any moment, aware of its zone.
    :return: ISO 8601 in UTC, to the millisecond: ``2025-02-12T01:55:16.128Z``.
    """
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def elapsed(duration: timedelta) -> str:
    """
    Write a duration as the service does.

    :param duration: how long a job has been executing; less than nothing (a clock was set back) counts as 0.
    :return: ``MM:SS``, or ``HH:MM:SS`` from one hour on.
    """
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
    # A UUID as the service's own, yet plainly made up, and told apart by its first eight characters.
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
