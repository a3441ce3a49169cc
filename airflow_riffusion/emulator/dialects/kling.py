"""
Kling, which makes videos: the older contract, without an endpoint to submit to.

The pages say nothing of submissions, so only ``SchedulerService.submit()`` makes jobs here.
"""

from random import Random
from typing import ClassVar

from airflow_riffusion.emulator.dialects import ACCOUNT_SECRET
from airflow_riffusion.emulator.dialects.base import JsonObject
from airflow_riffusion.emulator.dialects.older import OlderContract
from airflow_riffusion.emulator.records import Job


class Kling(OlderContract):
    """The service ``kling``."""

    service = "kling"
    account_field = "email"
    job_field = "id"
    login: ClassVar[JsonObject] = {"password": ACCOUNT_SECRET}

    def account_name(self, number: int) -> str:
        """Make an e-mail address."""
        return f"account{number}@example.com"

    def new_job_id(self, account: str, number: int, random: Random) -> int:
        """Make a number."""
        return 100_000_000 + number

    def outcome(self, job: Job, base_url: str) -> JsonObject:
        """Report a job's end to its ``replyUrl``, in a form of the emulator's own."""
        outcome: JsonObject = {"id": job.job_id, "email": job.user_id, "status": job.status}
        if job.reply_ref is not None:
            outcome["replyRef"] = job.reply_ref
        if job.status == "failed":
            outcome["error"] = job.error
        return outcome


DIALECT = Kling()
