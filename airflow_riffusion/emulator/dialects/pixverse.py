"""
PixVerse: the older contract, in version 2.

The pages name the fields of an outcome, and none of their values: the names of the statuses are made up, and
a failed job has no other reason.
"""

from random import Random
from typing import Any, ClassVar

from fastapi import APIRouter, Request

from airflow_riffusion.emulator.audio import audio_url
from airflow_riffusion.emulator.dialects import ACCOUNT_SECRET
from airflow_riffusion.emulator.dialects.base import Context, JsonObject, tracked
from airflow_riffusion.emulator.dialects.ids import new_hex
from airflow_riffusion.emulator.dialects.older import OlderContract
from airflow_riffusion.emulator.dialects.submission import Submission, submit
from airflow_riffusion.emulator.records import Job, Text

_STATUS_NAMES = {"executing": "GENERATING", "failed": "FAILED", "completed": "COMPLETED"}


class MusicSubmission(Submission):
    """The body of ``music/create``."""

    email: Text | None = None


class Pixverse(OlderContract):
    """The service ``pixverse``, of which only the music is played."""

    service = "pixverse"
    version = "v2"
    account_field = "email"
    job_field = "id"
    login: ClassVar[JsonObject] = {"password": ACCOUNT_SECRET}
    names_accounts = False
    job_type = "music"
    most_slots = 8

    def account_name(self, number: int) -> str:
        """Make an e-mail address."""
        return f"account{number}@example.com"

    def new_job_id(self, account: str, number: int, random: Random) -> str:
        """Make an id that names the account."""
        return f"user:1-pixverse:{account}-music:{new_hex(random)}"

    def outcome(self, job: Job, base_url: str) -> JsonObject:
        """Answer ``GET music/{audio_id}``."""
        outcome: JsonObject = {
            "audio_id": job.job_id,
            "audio_status_final": job.status != "executing",
            "audio_status_name": _STATUS_NAMES[job.status],
        }
        if job.status == "completed":
            outcome["url"] = audio_url(base_url, job)
        return outcome

    def add_routes(self, routes: APIRouter, context: Context) -> None:
        """Add the endpoints of PixVerse alone."""
        super().add_routes(routes, context)
        service = context.service

        @routes.post("/music/create", name="submit")
        async def create(submission: MusicSubmission, request: Request) -> dict[str, Any]:
            """Take a slot for a new job, or answer 429."""
            (job,) = submit(context, request, submission, submission.email)
            return {"audio_id": job.job_id}

        @routes.get("/music/{audio_id}", name="outcome")
        async def outcome(audio_id: str, request: Request) -> dict[str, Any]:
            """Show how a job fares, or how it ended."""
            return self.outcome(tracked(service, audio_id), str(request.base_url))


DIALECT = Pixverse()
