"""
Riffusion, which useapi.net has switched off: https://useapi.net/docs/api-riffusion-v1.

Its pages name the status "completed" only. The other statuses, and a failed job's error, are the emulator's
own.
"""

from random import Random
from typing import Annotated, Any, ClassVar

from fastapi import APIRouter, Query, Request
from pydantic import Field

from airflow_riffusion.emulator.audio import audio_url
from airflow_riffusion.emulator.clock import timestamp
from airflow_riffusion.emulator.dialects import ACCOUNT_SECRET
from airflow_riffusion.emulator.dialects.base import Context, JsonObject
from airflow_riffusion.emulator.dialects.ids import new_uuid
from airflow_riffusion.emulator.dialects.older import OlderContract
from airflow_riffusion.emulator.dialects.submission import Prompt, Submission, submit
from airflow_riffusion.emulator.limits import MAX_SLOTS
from airflow_riffusion.emulator.records import Job, Text


class PromptSubmission(Submission):
    """The body of ``music/create-prompt``."""

    prompt: Prompt
    instrumental: bool | None = None
    user_id: Text | None = None
    max_jobs: Annotated[int, Field(ge=1, le=MAX_SLOTS)] | None = Field(None, alias="maxJobs")


class Riffusion(OlderContract):
    """The service ``riffusion``."""

    service = "riffusion"
    account_field = "user_id"
    job_field = "job_id"
    login: ClassVar[JsonObject] = {
        "jwt": {"access_token": ACCOUNT_SECRET, "refresh_token": ACCOUNT_SECRET, "token_type": "bearer"}
    }

    def account_name(self, number: int) -> str:
        """Make a UUID as the service's own, yet plainly made up; its first eight characters are unique."""
        return f"{number:08}-0000-4000-8000-000000000000"

    def new_job_id(self, account: str, number: int, random: Random) -> str:
        """Make a UUID."""
        return new_uuid(random)

    def outcome(self, job: Job, base_url: str) -> list[JsonObject]:
        """Answer ``GET music``: a list of one job."""
        outcome: JsonObject = {
            "id": job.job_id,
            "author_id": job.user_id,
            "created_at": timestamp(job.started),
            "sound": job.prompt,
            "status": job.status,
        }
        if job.status == "failed":
            outcome["error"] = job.error
        if job.status == "completed":
            outcome["download_url"] = audio_url(base_url, job)
        return [outcome]

    def add_routes(self, routes: APIRouter, context: Context) -> None:
        """Add the endpoints of Riffusion alone."""
        super().add_routes(routes, context)
        service = context.service

        @routes.get("/scheduler", name="jobs")
        async def executing() -> list[dict[str, Any]]:
            """List the executing jobs."""
            return self.executing(service.read())

        @routes.post("/music/create-prompt", name="submit")
        async def create_prompt(submission: PromptSubmission, request: Request) -> dict[str, Any]:
            """Take a slot for a new job, or answer 429."""
            (job,) = submit(
                context,
                request,
                submission,
                submission.user_id,
                instrumental=bool(submission.instrumental),
                max_jobs=submission.max_jobs,
            )
            return {"job_id": job.job_id, "user_id": job.user_id}

        @routes.get("/music", name="outcome")
        async def outcome(
            request: Request,
            job_id: Annotated[str, Query(alias="id", min_length=1)],
            user_id: Annotated[str | None, Query()] = None,
        ) -> list[dict[str, Any]]:
            """Show how a job fares, or how it ended."""
            return self.outcome(service.find(job_id, user_id), str(request.base_url))


DIALECT = Riffusion()
