"""
ACE Music: the newer contract, with two songs a job.

The pages don't say which field makes a submission asynchronous: here ``"async": true`` or ``"mode": "async"``
do, as with the other services. Nor do they give values of ``type``, ``model`` and ``health``, or how a failed
job names its reason: these are made up. What comes late (504 after half an hour, 410 after a week) is left to
faults.
"""

from random import Random
from typing import Any, ClassVar

from fastapi import APIRouter, Request, Response
from pydantic import Field

from airflow_riffusion.emulator.audio import audio_url
from airflow_riffusion.emulator.clock import timestamp
from airflow_riffusion.emulator.dialects import ACCOUNT_SECRET
from airflow_riffusion.emulator.dialects.base import Context, JsonObject, reply_fields
from airflow_riffusion.emulator.dialects.ids import new_uuid
from airflow_riffusion.emulator.dialects.newer import ACCEPTED, NewerContract, wait_for_end
from airflow_riffusion.emulator.dialects.submission import Submission, submit
from airflow_riffusion.emulator.records import Job, Snapshot, Text

SONGS_PER_JOB = 2

_STATUSES = {"executing": "processing", "failed": "failed", "completed": "completed"}


class MusicSubmission(Submission):
    """The body of ``music``."""

    email: Text | None = None
    asynchronous: bool | None = Field(None, alias="async")
    mode: Text | None = None


class Acemusic(NewerContract):
    """The service ``acemusic``."""

    service = "acemusic"
    account_field = "email"
    login: ClassVar[JsonObject] = {"health": "made-up", "cookies": ACCOUNT_SECRET}
    most_slots = 4

    def account_name(self, number: int) -> str:
        """Make an e-mail address."""
        return f"account{number}@example.com"

    def new_job_id(self, account: str, number: int, random: Random) -> str:
        """Make an id that names no account."""
        return new_uuid(random)

    def capacity(self, reading: Snapshot) -> JsonObject:
        """Answer ``GET jobs``, which has no accounts."""
        return {"jobs": [self._listed(job) for job in reading.jobs]}

    def outcome(self, job: Job, base_url: str) -> JsonObject:
        """Answer ``GET jobs/{jobid}``."""
        outcome: JsonObject = {"jobid": job.job_id, "status": _STATUSES[job.status]}
        if job.status == "completed":
            urls = [audio_url(base_url, job, number) for number in range(1, SONGS_PER_JOB + 1)]
            outcome["songs"] = [{"audioUrl": url, "playUrl": url} for url in urls]
        if job.status == "failed":
            outcome["error"] = job.error
        return outcome

    def add_routes(self, routes: APIRouter, context: Context) -> None:
        """Add the endpoint of ACE Music alone."""
        super().add_routes(routes, context)

        @routes.post("/music", name="submit", responses={202: ACCEPTED})
        async def music(submission: MusicSubmission, request: Request, response: Response) -> dict[str, Any]:
            """Take a slot for a new job, or answer 429. Unless it is asynchronous, wait for its end."""
            (job,) = submit(context, request, submission, submission.email)
            if submission.asynchronous or submission.mode == "async":
                response.status_code = 202
                return {"jobid": job.job_id}
            return self.outcome(await wait_for_end(context, job), str(request.base_url))

    def _listed(self, job: Job) -> JsonObject:
        return {
            "jobid": job.job_id,
            "type": "music",
            "status": "processing",
            "email": job.user_id,
            "created": timestamp(job.started),
            "model": "made-up",
            **reply_fields(job),
        }


DIALECT = Acemusic()
