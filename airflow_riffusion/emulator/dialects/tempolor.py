"""
TemPolor: the older contract, and audio at an endpoint of its own.

The pages give ranges of ``status`` and, as a name, only "FAILED": the numbers and the other names are made
up. A job that TemPolor does "not list yet" can be played by a fault of ``outcome`` with status 404.
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
from airflow_riffusion.emulator.records import Job, NoAudio, Text

_STATUSES = {"executing": (1, "PROCESSING"), "failed": (12, "FAILED"), "completed": (30, "COMPLETED")}
_FIRST_FINAL = 10


class MusicSubmission(Submission):
    """The body of ``music/song`` and ``music/instrumental``."""

    user_id: Text | None = None


class Tempolor(OlderContract):
    """The service ``tempolor``."""

    service = "tempolor"
    account_field = "user_id"
    job_field = "job_id"
    login: ClassVar[JsonObject] = {"requestParams": {"token": ACCOUNT_SECRET}}
    names_accounts = False
    hides_full_accounts = True
    most_jobs_per_submission = 2

    def account_name(self, number: int) -> str:
        """Make a number of five digits."""
        return f"{10_000 + number}"

    def new_job_id(self, account: str, number: int, random: Random) -> str:
        """Make an id that names the account."""
        return f"user:1-tempolor:{account}-job:{new_hex(random)}"

    def outcome(self, job: Job, base_url: str) -> JsonObject:
        """Answer ``GET music/{job_id}``, which has no audio."""
        status, name = _STATUSES[job.status]
        return {
            "job_id": job.job_id,
            "status": status,
            "status_name": name,
            "status_final": status >= _FIRST_FINAL,
            "progress": 100 if job.status == "completed" else 0,
        }

    def add_routes(self, routes: APIRouter, context: Context) -> None:
        """Add the endpoints of TemPolor alone."""
        super().add_routes(routes, context)
        service = context.service

        @routes.post("/music/song", name="submit")
        async def song(submission: MusicSubmission, request: Request) -> dict[str, Any]:
            """Take the slots for the jobs of a song, or answer 429."""
            jobs = submit(context, request, submission, submission.user_id)
            return {"jobs": [job.job_id for job in jobs]}

        @routes.post("/music/instrumental", name="submit")
        async def instrumental(submission: MusicSubmission, request: Request) -> dict[str, Any]:
            """Take the slots for the jobs of an instrumental, or answer 429."""
            jobs = submit(context, request, submission, submission.user_id, instrumental=True)
            return {"jobs": [job.job_id for job in jobs]}

        @routes.get("/music/{job_id}", name="outcome")
        async def outcome(job_id: str, request: Request) -> dict[str, Any]:
            """Show how a job fares, or how it ended."""
            return self.outcome(tracked(service, job_id), str(request.base_url))

        @routes.get("/music/download/{job_id}", name="audio")
        async def download(job_id: str, request: Request) -> dict[str, Any]:
            """Say where a job's audio is, once it is there."""
            job, now = tracked(service, job_id), service.read().now
            if job.status != "completed" or job.ended is None:
                raise NoAudio(job_id)
            if (now - job.ended).total_seconds() < context.audio_delay:
                raise NoAudio(job_id)
            return {"url": audio_url(str(request.base_url), job)}


DIALECT = Tempolor()
