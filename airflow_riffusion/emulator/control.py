"""The routes under ``/emulator/``: what a test looks at, and what it asks to go wrong."""

from dataclasses import dataclass

from fastapi import APIRouter
from pydantic import BaseModel

from airflow_riffusion.emulator.dialects import timestamp
from airflow_riffusion.emulator.faults import CountedFault, Fault, FaultList
from airflow_riffusion.emulator.records import Job, Stats
from airflow_riffusion.emulator.routes import bearer_token, errors
from airflow_riffusion.emulator.service import SchedulerService


@dataclass(frozen=True)
class JobRecord:
    """
    A job in the emulator's own words, the same for every service.

    :param job_id: its id.
    :param user_id: the account whose slot it took.
    :param reply_ref: the submitter's own reference.
    :param prompt: what was asked for.
    :param started: when it took its slot.
    :param ended: when it gave its slot back; null while it is executing.
    :param status: ``executing``, ``completed``, ``failed`` or ``cancelled``.
    :param error: why it has failed; null unless it has.
    :param other_client: whether another client of the accounts began it, and not a submission.
    """

    job_id: str | int
    user_id: str
    reply_ref: str | None
    prompt: str
    started: str
    ended: str | None
    status: str
    error: str | None
    other_client: bool


class FaultRecord(BaseModel):
    """
    A fault in force.

    :param fault: the fault, as it was asked for.
    :param met: how many matching requests there were.
    :param fired: how many of them it was applied to.
    """

    fault: Fault
    met: int
    fired: int


def control_routes(service: SchedulerService, faults: FaultList) -> APIRouter:
    """
    Build the routes that control the emulator.

    :param service: the accounts and their jobs.
    :param faults: the faults in force.
    :return: the routes.
    """
    routes = APIRouter(prefix="/emulator", tags=["control"], dependencies=[bearer_token], responses=errors)

    @routes.get("/stats")
    async def stats() -> Stats:
        """Show what was counted."""
        return service.stats()

    @routes.get("/jobs")
    async def jobs() -> list[JobRecord]:
        """List every job that ever took a slot, in that order."""
        return [_job_record(job) for job in service.jobs()]

    @routes.get("/faults")
    async def list_faults() -> list[FaultRecord]:
        """List the faults in force, with how often each was applied."""
        return [_fault_record(counted) for counted in faults.all()]

    @routes.post("/faults", status_code=201)
    async def add_fault(fault: Fault) -> FaultRecord:
        """Put a fault in force."""
        return _fault_record(faults.add(fault))

    @routes.delete("/faults", status_code=204)
    async def clear_faults() -> None:
        """Lift all faults."""
        faults.clear()

    @routes.post("/accounts/{user_id}/log-out", status_code=204)
    async def log_out(user_id: str) -> None:
        """Let the login of an account expire: it takes no new jobs."""
        service.log_out(user_id)

    @routes.post("/accounts/{user_id}/log-in", status_code=204)
    async def log_in(user_id: str) -> None:
        """Renew the login of an account."""
        service.log_in(user_id)

    @routes.post("/reset", status_code=204)
    async def reset() -> None:
        """Forget all jobs, counts and expired logins, and lift all faults."""
        service.reset()
        faults.clear()

    return routes


def _job_record(job: Job) -> JobRecord:
    return JobRecord(
        job_id=job.job_id,
        user_id=job.user_id,
        reply_ref=job.reply_ref,
        prompt=job.prompt,
        started=timestamp(job.started),
        ended=None if job.ended is None else timestamp(job.ended),
        status=job.status,
        error=job.error if job.status == "failed" else None,
        other_client=job.other_client,
    )


def _fault_record(counted: CountedFault) -> FaultRecord:
    return FaultRecord(fault=counted.fault, met=counted.met, fired=counted.fired)
