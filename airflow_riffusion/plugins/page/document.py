"""
What the page shows of a connection, as plain JSON. Pure: no Airflow, no clock, no I/O.

The service's texts stay as they came, but for their length: the page treats all of them as text.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Collection
    from datetime import datetime

    from airflow_riffusion.core.capacity import AccountCapacity, Capacity, ExecutingJob

MOST_ACCOUNTS = 200
MOST_JOBS = 500
MOST_NOTES = 5
LONGEST_TEXT = 1024
"""Characters; no reference that the service takes is longer."""

_NO_NUMBERS: dict[str, Any] = {
    "slots": None,
    "accounts": [],
    "more_accounts": 0,
    "jobs": [],
    "more_jobs": 0,
    "notes": [],
}


@dataclass(frozen=True, slots=True)
class Outcome:
    """The last good reading, which may be an old one, and the error of a newer attempt that failed."""

    reading: Capacity | None
    error: str | None
    tried_at: datetime


@dataclass(frozen=True, slots=True)
class WaitingTask:
    """A task instance that waits at the gate; an instance that is not mapped has the index -1."""

    dag_id: str
    run_id: str
    task_id: str
    map_index: int
    since: datetime


@dataclass(frozen=True, slots=True)
class Tasks:
    """A connection's tasks in Airflow's trigger table."""

    waiting: int = 0  # for a slot
    longest: tuple[WaitingTask, ...] = ()  # a few of those, the longest wait first
    watching: int = 0  # a job
    complete: bool = True  # False if there are too many to count them all


def connection_document(
    conn_id: str,
    outcome: Outcome | None,
    held: Counter[str] | None,  # slots by account; None if unknown
    tasks: Tasks,
    *,
    now: datetime,
    asking_for: float | None = None,  # seconds since a request was sent that is not answered yet
    next_try: float | None = None,  # seconds until a request may be sent
    readable_dags: Collection[str] = (),
) -> dict[str, Any]:
    """Return what the page shows of one connection; it names only tasks of readable DAGs."""
    reading = outcome.reading if outcome else None
    error = outcome.error if outcome else None
    return {
        "connection_id": conn_id,
        "service": reading.service if reading else None,
        "read_at": reading.observed_at.isoformat() if reading else None,
        "age_seconds": _seconds(reading.observed_at, now) if reading else None,
        "asking_seconds": asking_for,
        "error": error,
        "failed_seconds": _seconds(outcome.tried_at, now) if outcome and error else None,
        "next_try_seconds": next_try if error else None,
        **(_numbers(reading, held) if reading and error is None else _NO_NUMBERS),
        "tasks": _tasks(tasks, now, readable_dags),
    }


def _numbers(reading: Capacity, held: Counter[str] | None) -> dict[str, Any]:
    accounts = [_account(account, held) for account in reading.accounts]
    all_held = None if held is None else sum(account["held"] for account in accounts)
    free, unknown = (sum(account[kind] for account in accounts) for kind in ("free", "unknown"))
    return {
        "slots": {
            # Not the sum of the accounts: the service may list jobs that it counts on no account.
            "slots": reading.executing + (all_held or 0) + free + unknown,
            "executing": reading.executing,
            "held": all_held,
            "free": free,
            "unknown": unknown,
        },
        "accounts": accounts[:MOST_ACCOUNTS],
        "more_accounts": max(0, len(accounts) - MOST_ACCOUNTS),
        "jobs": [_job(job, reading.observed_at) for job in reading.jobs[:MOST_JOBS]],
        "more_jobs": max(0, len(reading.jobs) - MOST_JOBS),
        "notes": [_shortened(note) for note in reading.notes[:MOST_NOTES]],
    }


def _account(account: AccountCapacity, held: Counter[str] | None) -> dict[str, Any]:
    slots = max(account.max_jobs or 0, account.executing + account.available)
    held_here = None if held is None else min(held[account.user_id], account.available)
    return {
        "account": _shortened(account.user_id),
        "slots": slots,
        "executing": account.executing,
        "held": held_here,
        "free": account.available - (held_here or 0),
        "unknown": slots - account.executing - account.available,
    }


def _job(job: ExecutingJob, observed_at: datetime) -> dict[str, Any]:
    elapsed = None
    if job.elapsed is not None:
        elapsed = job.elapsed.total_seconds()
    elif job.started is not None:
        elapsed = _seconds(job.started, observed_at)
    return {
        "job_id": _shortened(job.job_id),
        "account": _shortened(job.user_id),
        "elapsed_seconds": elapsed,
        "reference": _shortened(job.reply_ref),
    }


def _tasks(tasks: Tasks, now: datetime, readable_dags: Collection[str]) -> dict[str, Any]:
    return {
        "waiting": tasks.waiting,
        "longest_seconds": _seconds(tasks.longest[0].since, now) if tasks.longest else None,
        "first": [
            {
                "dag_id": task.dag_id,
                "run_id": task.run_id,
                "task_id": task.task_id,
                "map_index": task.map_index,
                "seconds": _seconds(task.since, now),
            }
            for task in tasks.longest
            if task.dag_id in readable_dags
        ],
        "watching": tasks.watching,
        "complete": tasks.complete,
    }


def _seconds(since: datetime, now: datetime) -> float:
    return max(0.0, (now - since).total_seconds())


def _shortened(text: str | None) -> str | None:
    return text if text is None or len(text) <= LONGEST_TEXT else text[: LONGEST_TEXT - 1] + "…"
