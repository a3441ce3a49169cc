"""
What the page shows of a connection, as plain JSON.

Pure: no Airflow, no clock, no I/O. Whatever the service said is in it as it came: the page treats all of it
as text.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Collection
    from datetime import datetime

    from airflow_riffusion.capacity import AccountCapacity, Capacity, ExecutingJob

MOST_ACCOUNTS = 200
MOST_JOBS = 500
MOST_NOTES = 5


@dataclass(frozen=True, slots=True)
class Outcome:
    """
    What came of trying to take a reading.

    :param capacity: the last good reading, which may be older; None if there never was one.
    :param error: why this one failed, in words for a person; None if it is good.
    :param tried_at: when it was tried, with a time zone.
    :param retry_after: seconds that the service asked to wait.
    """

    capacity: Capacity | None
    error: str | None
    tried_at: datetime
    retry_after: float = 0.0


@dataclass(frozen=True, slots=True)
class WaitingTask:
    """
    A task that waits at the gate.

    :param dag_id: its DAG.
    :param run_id: the DAG's run.
    :param task_id: the task.
    :param map_index: which instance of a mapped task; -1 for one that is not mapped.
    :param since: when it began to wait, with a time zone.
    """

    dag_id: str
    run_id: str
    task_id: str
    map_index: int
    since: datetime


@dataclass(frozen=True, slots=True)
class Tasks:
    """
    A connection's tasks in Airflow's trigger table.

    :param waiting: how many wait for a slot.
    :param longest: those that have waited longest, the longest first.
    :param watching: how many watch a job until it is over.
    :param complete: False if there are so many that not all were counted.
    """

    waiting: int = 0
    longest: tuple[WaitingTask, ...] = ()
    watching: int = 0
    complete: bool = True


def card(
    conn_id: str,
    outcome: Outcome | None,
    held: Counter[str] | None,
    tasks: Tasks,
    *,
    now: datetime,
    asking_for: float | None = None,
    readable_dags: Collection[str] = (),
) -> dict[str, Any]:
    """
    Return what the page shows of one connection.

    :param conn_id: the connection.
    :param outcome: the last reading, None before the first.
    :param held: how many of each account's free slots are held; None where that can't be known.
    :param tasks: who waits.
    :param now: the time, with a time zone.
    :param asking_for: for how many seconds another reading has been under way; None if none is.
    :param readable_dags: whose task instances the user may read; the others are only counted.
    """
    capacity = outcome.capacity if outcome else None
    error = outcome.error if outcome else None
    return {
        "connection_id": conn_id,
        "service": capacity.service if capacity else None,
        "read_at": capacity.observed_at.isoformat() if capacity else None,
        "age_seconds": _seconds(capacity.observed_at, now) if capacity else None,
        "asking_seconds": asking_for,
        "error": error,
        "failed_seconds": _seconds(outcome.tried_at, now) if outcome and error else None,
        **_numbers(capacity if error is None else None, held),
        "tasks": _tasks(tasks, now, readable_dags),
    }


def _numbers(capacity: Capacity | None, held: Counter[str] | None) -> dict[str, Any]:
    if capacity is None:
        return {"slots": None, "accounts": [], "more_accounts": 0, "jobs": [], "more_jobs": 0, "notes": []}
    accounts = [_account(account, held) for account in capacity.accounts]
    return {
        "slots": _total(capacity, accounts),
        "accounts": accounts[:MOST_ACCOUNTS],
        "more_accounts": max(0, len(accounts) - MOST_ACCOUNTS),
        "jobs": [_job(job, capacity.observed_at) for job in capacity.jobs[:MOST_JOBS]],
        "more_jobs": max(0, len(capacity.jobs) - MOST_JOBS),
        "notes": list(capacity.oddities[:MOST_NOTES]),
    }


def _account(account: AccountCapacity, held: Counter[str] | None) -> dict[str, Any]:
    """Return an account's slots; those of which nothing says that they are free are ``unknown``."""
    taken = min(held[account.user_id], account.available) if held is not None else None
    accounted_for = account.executing + account.available
    slots = max(account.max_jobs or 0, accounted_for)
    return {
        "account": account.user_id,
        "slots": slots,
        "executing": account.executing,
        "held": taken,
        "free": account.available - (taken or 0),
        "unknown": slots - accounted_for,
    }


def _total(capacity: Capacity, accounts: list[dict[str, Any]]) -> dict[str, Any]:
    sums: Counter[str] = Counter()
    for account in accounts:
        sums.update({name: account[name] or 0 for name in ("executing", "held", "free", "unknown")})
    # The service may list jobs that it counts on no account.
    sums["executing"] = capacity.executing
    known = not accounts or accounts[0]["held"] is not None
    return {
        "slots": sums.total(),
        **{name: sums[name] for name in ("executing", "free", "unknown")},
        "held": sums["held"] if known else None,
    }


def _job(job: ExecutingJob, observed_at: datetime) -> dict[str, Any]:
    elapsed = None
    if job.elapsed is not None:
        elapsed = job.elapsed.total_seconds()
    elif job.started is not None:
        elapsed = _seconds(job.started, observed_at)
    return {
        "job_id": job.job_id,
        "account": job.user_id,
        "elapsed_seconds": elapsed,
        "reference": job.reply_ref,
    }


def _tasks(tasks: Tasks, now: datetime, readable_dags: Collection[str]) -> dict[str, Any]:
    shown = [task for task in tasks.longest if task.dag_id in readable_dags]
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
            for task in shown
        ],
        "watching": tasks.watching,
        "complete": tasks.complete,
    }


def _seconds(since: datetime, now: datetime) -> float:
    return max(0.0, (now - since).total_seconds())
