"""The newer contract: ``GET jobs`` lists what is executing, and ``GET accounts`` has the accounts."""

import asyncio
from contextlib import suppress
from typing import Any

from fastapi import APIRouter, HTTPException, Request

from airflow_riffusion.emulator.dialects.base import Context, Dialect, tracked
from airflow_riffusion.emulator.records import Job

ACCEPTED: dict[str, Any] = {"description": "Accepted; the job is executing"}

_TICK_SECONDS = 0.02
_GRACE_SECONDS = 1.0


class NewerContract(Dialect):
    """A service with ``jobs``, and ``jobs/{jobid}`` for the outcome."""

    job_field = "jobid"

    def add_routes(self, routes: APIRouter, context: Context) -> None:
        """Add what all services of this contract have."""
        service = context.service

        @routes.get("/jobs", name="capacity")
        async def capacity() -> dict[str, Any]:
            """List the executing jobs."""
            return self.capacity(service.read())

        @routes.get("/jobs/{jobid}", name="outcome", response_model=None)
        async def outcome(jobid: str, request: Request) -> Any:
            """Show how a job fares, or how it ended."""
            return self.outcome(tracked(service, jobid), str(request.base_url))


async def wait_for_end(context: Context, job: Job) -> Job:
    """
    Hold a request until its job is over, and return the job.

    No longer than the job takes on this machine's clock, in case a test's clock stands still: then, and when
    the emulator ends, the answer is 504.
    """
    seconds = (job.over_at - job.started).total_seconds()
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds + _GRACE_SECONDS):
            while not context.closing.is_set():
                found = tracked(context.service, str(job.job_id))
                if found.status != "executing":
                    return found
                await asyncio.sleep(_TICK_SECONDS)
    raise HTTPException(504, "The job is not over yet")
