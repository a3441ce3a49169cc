"""The routes under ``/emulator/``: what a test looks at, and what it asks to go wrong."""

from collections.abc import Sequence

from fastapi import APIRouter

from airflow_riffusion.emulator.errors import errors
from airflow_riffusion.emulator.faults import CountedFault, Fault, FaultList
from airflow_riffusion.emulator.records import Job, Stats
from airflow_riffusion.emulator.routes import bearer_token
from airflow_riffusion.emulator.service import SchedulerService


def control_routes(service: SchedulerService, faults: FaultList) -> APIRouter:
    """Build the routes that control the emulator."""
    routes = APIRouter(prefix="/emulator", tags=["control"], dependencies=[bearer_token], responses=errors)

    @routes.get("/stats")
    async def stats() -> Stats:
        """Show what was counted."""
        return service.stats()

    @routes.get("/jobs")
    async def jobs() -> list[Job]:
        """List every job that ever took a slot, in that order."""
        return service.jobs()

    @routes.get("/faults")
    async def list_faults() -> Sequence[CountedFault]:
        """List the faults in force, with how often each was applied."""
        return faults.all()

    @routes.post("/faults", status_code=201)
    async def add_fault(fault: Fault) -> CountedFault:
        """Put a fault in force."""
        return faults.add(fault)

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
