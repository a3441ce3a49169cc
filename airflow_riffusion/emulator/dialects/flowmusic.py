"""
Flow Music, which took Riffusion's place: the newer contract.

The pages don't say what a request that is held until the song is made is answered with: here with the job, as
``GET jobs/{jobid}`` shows it, and 200. Nor what an error's ``code`` is, or an account's ``tier``: these are
made up. That a 429 has ``retryAfter``, is known of some services; that this is one of them, is the emulator's
choice.
"""

from collections import defaultdict
from random import Random
from typing import Any, ClassVar, Literal

from fastapi import APIRouter, Request, Response

from airflow_riffusion.emulator.audio import DURATION_SECONDS, audio_url, title_of
from airflow_riffusion.emulator.clock import timestamp
from airflow_riffusion.emulator.dialects import ACCOUNT_SECRET
from airflow_riffusion.emulator.dialects.base import Context, JsonObject, reply_fields
from airflow_riffusion.emulator.dialects.ids import new_uuid
from airflow_riffusion.emulator.dialects.newer import ACCEPTED, NewerContract, wait_for_end
from airflow_riffusion.emulator.dialects.submission import Submission, submit
from airflow_riffusion.emulator.records import Job, Snapshot, Text

_STATUSES = {"executing": "pending", "failed": "failed", "completed": "completed"}


class MusicSubmission(Submission):
    """The body of ``music``."""

    email: Text | None = None
    mode: Literal["sync", "async"] | None = None


class Flowmusic(NewerContract):
    """The service ``flowmusic``."""

    service = "flowmusic"
    account_field = "email"
    login: ClassVar[JsonObject] = {"tier": "made-up", "cookies": ACCOUNT_SECRET}
    most_slots = 16
    full_retry_after = 10  # useapi.net's own client waits as long after a 429
    retry_after_in_body = True

    def account_name(self, number: int) -> str:
        """Make an e-mail address."""
        return f"account{number}@example.com"

    def new_job_id(self, account: str, number: int, random: Random) -> str:
        """Make an id that names the account."""
        return f"job:{new_uuid(random)}-user:1-{account}-bot:flowmusic"

    def capacity(self, reading: Snapshot) -> JsonObject:
        """Answer ``GET jobs``: the accounts with jobs, and no other."""
        jobs: defaultdict[str, list[JsonObject]] = defaultdict(list)
        for job in reading.jobs:
            listed = {"jobid": job.job_id, "status": "pending", "created_at": timestamp(job.started)}
            jobs[job.user_id].append(listed)
        return {
            account.user_id: {
                "running": account.executing,
                "maxJobs": account.max_jobs,
                "jobs": jobs[account.user_id],
            }
            for account in reading.accounts
            if account.executing
        }

    def outcome(self, job: Job, base_url: str) -> JsonObject:
        """Answer ``GET jobs/{jobid}``."""
        outcome: JsonObject = {
            "jobid": job.job_id,
            "email": job.user_id,
            "request": {"prompt": job.prompt, **reply_fields(job)},
            "status": _STATUSES[job.status],
            "created_at": timestamp(job.started),
        }
        if job.status == "completed" and job.ended is not None:
            outcome["completed_at"] = timestamp(job.ended)
            outcome["duration_ms"] = round((job.ended - job.started).total_seconds() * 1000)
            outcome["clips"] = [_clip(job, base_url)]
        if job.status == "failed":
            outcome["error"] = {"code": "JOB_FAILED", "message": job.error}
        return outcome

    def add_routes(self, routes: APIRouter, context: Context) -> None:
        """Add the endpoints of Flow Music alone."""
        super().add_routes(routes, context)

        @routes.post("/music", name="submit", responses={201: ACCEPTED})
        async def music(submission: MusicSubmission, request: Request, response: Response) -> dict[str, Any]:
            """Take a slot for a new job, or answer 429. Without the mode "async", wait for its end."""
            (job,) = submit(context, request, submission, submission.email)
            if submission.mode == "async":
                response.status_code = 201
                return {"jobid": job.job_id}
            return self.outcome(await wait_for_end(context, job), str(request.base_url))

        @routes.delete("/jobs/{jobid}", status_code=204, name="stop")
        async def stop(jobid: str) -> None:
            """Drop an executing job, which frees its slot. Its ``replyUrl`` is not called."""
            context.service.cancel(jobid)


def _clip(job: Job, base_url: str) -> JsonObject:
    url = audio_url(base_url, job)
    return {
        "audio_url": url,
        "wav_url": url,
        "image_url": "https://example.com/cover.jpg",
        "title": title_of(job),
        "duration_s": DURATION_SECONDS,
    }


DIALECT = Flowmusic()
