"""
The older contract: ``scheduler/available`` lists the executing jobs, and accounts with a free slot.

Every field is optional (https://useapi.net/docs/api-riffusion-v1/get-riffusion-scheduler-available).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_riffusion.core.capacity import Capacity, CapacityFormatError
from airflow_riffusion.core.outcome import in_path
from airflow_riffusion.services import parsing
from airflow_riffusion.services.base import Service

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime
    from typing import Any

    from airflow_riffusion.core.capacity import ExecutingJob


class SchedulerService(Service):
    """A service with the older contract."""

    capacity_endpoint = "scheduler/available"

    def parse_capacity(
        self, payload: object, *, observed_at: datetime, max_jobs: int | None = None
    ) -> Capacity:
        """Read ``executing`` and ``available``; one of them may be missing."""
        answer = parsing.json_object(payload)
        if answer.get("executing") is None and answer.get("available") is None:
            raise CapacityFormatError("neither 'executing' nor 'available' is in it")
        warnings: list[str] = []
        jobs = tuple(self._job(raw) for raw in parsing.objects(answer, "executing", warnings))
        listed = parsing.objects(answer, "available", warnings)
        accounts = parsing.accounts(
            ((parsing.account_id(raw, self.account_field), raw) for raw in listed),
            warnings,
            max_jobs=max_jobs,
        )
        return Capacity(
            service=self.name,
            observed_at=observed_at,
            accounts=accounts,
            jobs=jobs,
            warnings=tuple(warnings),
        )

    def _job(self, raw: Mapping[str, Any]) -> ExecutingJob:
        job = parsing.job(raw, account_field=self.account_field)
        if job.user_id is None and (account := self.account_of(job.job_id)) is not None:
            return job.model_copy(update={"user_id": account})
        return job

    def stop_endpoint(self, job_id: str) -> str:
        """Return the job's place in the scheduler."""
        return f"scheduler/{in_path(job_id)}"
