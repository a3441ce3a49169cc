"""The older contract: ``GET scheduler/available`` lists the executing jobs and the accounts."""

from typing import Any, ClassVar

from fastapi import APIRouter

from airflow_riffusion.emulator.clock import elapsed, timestamp
from airflow_riffusion.emulator.dialects.base import Context, Dialect, JsonObject, reply_fields
from airflow_riffusion.emulator.records import Job, Snapshot


class OlderContract(Dialect):
    """A service with ``scheduler/available``, and ``scheduler/{job_id}`` to stop a job."""

    names_accounts: ClassVar[bool] = True  # whether a listed job names its account
    job_type: ClassVar[str | None] = None  # the ``type`` of a listed job

    def capacity(self, reading: Snapshot) -> JsonObject:
        """Answer ``GET scheduler/available``."""
        return {
            "executing": self.executing(reading),
            "available": [
                {
                    self.account_field: account.user_id,
                    "maxJobs": account.max_jobs,
                    "executing": account.executing,
                    "available": account.available,
                }
                for account in reading.accounts
                if account.listed
            ],
        }

    def executing(self, reading: Snapshot) -> list[JsonObject]:
        """List the executing jobs."""
        return [
            {
                **self._names(job),
                "started": timestamp(job.started),
                "elapsed": elapsed(reading.now - job.started),
                **reply_fields(job),
            }
            for job in reading.jobs
        ]

    def add_routes(self, routes: APIRouter, context: Context) -> None:
        """Add what all services of this contract have."""
        service = context.service

        @routes.get("/scheduler/available", name="capacity")
        async def capacity() -> dict[str, Any]:
            """List the executing jobs and what is free on each healthy account."""
            return self.capacity(service.read())

        @routes.delete("/scheduler/{job_id}", status_code=204, name="stop")
        async def stop(job_id: str) -> None:
            """Drop an executing job, which frees its slot. Its ``replyUrl`` is not called."""
            service.cancel(job_id)

    def _names(self, job: Job) -> JsonObject:
        names: JsonObject = {self.job_field: job.job_id}
        if self.names_accounts:
            names[self.account_field] = job.user_id
        if self.job_type is not None:
            names["type"] = self.job_type
        return names
