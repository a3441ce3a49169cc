"""What a waiter writes into its own log while there is no decision yet."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from airflow_riffusion.core.capacity import Capacity, ExecutingJob


def queue_status(
    reading: Capacity | None, last_error: str | None, *, since: float, held: int, elsewhere: int, ahead: int
) -> str:
    """Say how long a task has waited for slots, and why it has none yet."""
    began = datetime.fromtimestamp(since, tz=UTC).strftime("%H:%M:%S UTC")
    why = _no_reading(reading, last_error)
    if not why:
        by_others = f" and {elsewhere} by other triggerers" if elsewhere else ""
        why = f"{reading}, {held} held{by_others}, {'1 task' if ahead == 1 else f'{ahead} tasks'} ahead"
    return f"Still waiting since {began}: {why}"


def job_status(job: ExecutingJob | None, reading: Capacity | None, last_error: str | None) -> str:
    """Say whether a watched job was seen executing, and where."""
    why = _no_reading(reading, last_error)
    if job is None:
        return f"The job was not seen executing yet: {why or reading}"
    on_account = f" on account {job.user_id}" if job.user_id is not None else ""
    return f"Job {job.job_id} is executing{on_account}{f': {why}' if why else ''}"


def _no_reading(reading: Capacity | None, last_error: str | None) -> str:
    """Say why there is no current reading; empty if there is one."""
    if last_error is not None:
        return f"no reading is possible: {last_error.removesuffix('.')}"
    return "" if reading is not None else "no reading yet"
