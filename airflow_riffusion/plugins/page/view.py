"""
What the page shows of a connection, as plain JSON.

Pure: no Airflow, no clock, no I/O.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Collection
    from datetime import datetime

    from airflow_riffusion.plugins.page.reading import Reading

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
    """
    What came of trying to take a reading.

    :param reading: the last good one, which may be older; None if there never was one.
    :param error: why this one failed, in words for a person; None if it is good.
    :param tried_at: when it was tried, with a time zone.
    """

    reading: Reading | None
    error: str | None
    tried_at: datetime


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
    next_try: float | None = None,
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
    :param next_try: seconds until the next one may be; None if it is under way or due.
    :param readable_dags: whose task instances the user may read; the others are only counted.
    """
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
        **(reading.numbers(held) if reading and error is None else _NO_NUMBERS),
        "tasks": _tasks(tasks, now, readable_dags),
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
