"""
Mureka: the newer contract, without a word on how many slots an account has.

The pages say what makes a submission asynchronous, not what comes of it otherwise: here it is held until the
song is made, and answered with the job, as ``GET jobs/{jobid}`` shows it. ``verb``, the form of ``elapsed``
and what ``errorDetails`` has are made up. That ``accounts`` leaves out those without jobs is the emulator's
choice: a client must not rely on either.
"""

from random import Random
from typing import Any, ClassVar

from fastapi import APIRouter, Request, Response
from pydantic import Field

from airflow_riffusion.emulator.audio import DURATION_SECONDS, audio_url, title_of
from airflow_riffusion.emulator.clock import elapsed
from airflow_riffusion.emulator.dialects import ACCOUNT_SECRET
from airflow_riffusion.emulator.dialects.base import Context, JsonObject, reply_fields
from airflow_riffusion.emulator.dialects.ids import new_uuid
from airflow_riffusion.emulator.dialects.newer import ACCEPTED, NewerContract, wait_for_end
from airflow_riffusion.emulator.dialects.submission import Submission, submit
from airflow_riffusion.emulator.records import AccountRequired, Job, Snapshot, Text

_VERB = "music/create"
_STATUSES = {"executing": "created", "failed": "failed", "completed": "completed"}


class MusicSubmission(Submission):
    """The body of ``music/create``."""

    account: Text | None = None
    asynchronous: bool | None = Field(None, alias="async")


class Mureka(NewerContract):
    """The service ``mureka``, of which only the music is played."""

    service = "mureka"
    account_field = "account"
    login: ClassVar[JsonObject] = {"token": ACCOUNT_SECRET}
    shows_slots = False
    submission_pause = 3.0

    def account_name(self, number: int) -> str:
        """Make a number of six digits."""
        return f"{100_000 + number}"

    def new_job_id(self, account: str, number: int, random: Random) -> str:
        """Make an id that names no account."""
        return new_uuid(random)

    def capacity(self, reading: Snapshot) -> JsonObject:
        """Answer ``GET jobs``."""
        return {
            **_totals(len(reading.jobs)),
            "accounts": {
                account.user_id: {
                    **_totals(account.executing),
                    "jobs": [
                        {
                            "jobid": job.job_id,
                            "verb": _VERB,
                            "elapsed": elapsed(reading.now - job.started),
                        }
                        for job in reading.jobs
                        if job.user_id == account.user_id
                    ],
                }
                for account in reading.accounts
                if account.executing
            },
            "availableAccounts": [account.user_id for account in reading.accounts],
        }

    def outcome(self, job: Job, base_url: str) -> JsonObject:
        """Answer ``GET jobs/{jobid}``."""
        outcome: JsonObject = {
            "jobid": job.job_id,
            "verb": _VERB,
            "status": _STATUSES[job.status],
            "request": {"account": job.user_id, "prompt": job.prompt, **reply_fields(job)},
        }
        if job.status == "completed":
            outcome["response"] = {"songs": [_song(job, base_url)]}
        if job.status == "failed":
            outcome["error"] = job.error
            outcome["errorDetails"] = "made-up"
        return outcome

    def add_routes(self, routes: APIRouter, context: Context) -> None:
        """Add the endpoint of Mureka alone."""
        super().add_routes(routes, context)

        @routes.post("/music/create", name="submit", responses={201: ACCEPTED})
        async def create(submission: MusicSubmission, request: Request, response: Response) -> dict[str, Any]:
            """Take a slot for a new job, or answer 429. Unless it is asynchronous, wait for its end."""
            if submission.account is None and len(context.service.read().accounts) > 1:
                raise AccountRequired
            (job,) = submit(context, request, submission, submission.account)
            if submission.asynchronous:
                response.status_code = 201
                return {"jobid": job.job_id, "status": "created"}
            return self.outcome(await wait_for_end(context, job), str(request.base_url))


def _totals(music: int) -> JsonObject:
    return {"total": music, "music": music, "tts": 0}


def _song(job: Job, base_url: str) -> JsonObject:
    return {
        "mp3_url": audio_url(base_url, job),
        "title": title_of(job),
        "duration_milliseconds": DURATION_SECONDS * 1000,
        "cover": "https://example.com/cover.jpg",
    }


DIALECT = Mureka()
