"""What Airflow can do, by its version: the only place that asks for it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow import __version__
from packaging.version import Version

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from airflow.providers.common.compat.sdk import Context
    from airflow.triggers.base import BaseTrigger

AIRFLOW_VERSION = Version(Version(__version__).base_version)

HAS_ZERO_WORKER_MODE = Version("3.3") <= AIRFLOW_VERSION
"""Whether a task can start in the triggerer with its templates rendered, and end there with its XCom."""

CAN_LIST_VARIABLES = Version("3.3") <= AIRFLOW_VERSION
"""Whether a trigger can find the Variables that other triggerers have written (``Variable.keys``)."""

HAS_ASSET_WATCHERS = AIRFLOW_VERSION.major >= 3
"""Whether an event can start a DAG (``AssetWatcher`` and ``BaseEventTrigger``)."""

HAS_PAGES_OF_PLUGINS = Version("3.1") <= AIRFLOW_VERSION
"""Whether the UI shows what a plugin serves (``external_views``)."""


def require_zero_worker_mode(argument: str) -> None:
    """
    Refuse an argument that needs Airflow 3.3.

    :param argument: its name.
    :raises ValueError: on an older Airflow.
    """
    if not HAS_ZERO_WORKER_MODE:
        raise ValueError(
            f"{argument} needs Airflow 3.3 or newer, this is {AIRFLOW_VERSION}. Without it the sensor starts "
            "and ends in a worker; it waits in the triggerer all the same."
        )


def require_asset_watchers(name: str) -> None:
    """
    Refuse what only an ``AssetWatcher`` can use.

    :param name: what it is.
    :raises ValueError: on Airflow 2.
    """
    if not HAS_ASSET_WATCHERS:
        raise ValueError(f"{name} needs the AssetWatcher of Airflow 3, this is {AIRFLOW_VERSION}")


def event_trigger_base() -> type[BaseTrigger]:
    """Return what a trigger derives from that an ``AssetWatcher`` is to take."""
    import airflow.triggers.base as triggers

    return triggers.BaseEventTrigger if HAS_ASSET_WATCHERS else triggers.BaseTrigger


def is_deferral_timeout(next_method: str, next_kwargs: Mapping[str, Any] | None) -> bool:
    """
    Return whether Airflow resumes a task because it was deferred for too long.

    :param next_method: what is called according to Airflow.
    :param next_kwargs: with what.
    """
    reasons = ("Trigger timeout", "Trigger/execution timeout")  # Airflow 3, and 2
    return next_method == "__fail__" and (next_kwargs or {}).get("error") in reasons


def first_reschedule_date(context: Context) -> datetime | None:
    """
    Return when a rescheduled sensor first looked, None if this is the first time.

    :param context: the task's context.
    """
    ti = context["ti"]
    if AIRFLOW_VERSION.major >= 3:
        return ti.get_first_reschedule_date(context)
    # Airflow 2 asks the database, in a function of its own sensors.
    from airflow.sensors.base import _orig_start_date  # type: ignore[import-not-found]

    first_try = ti.max_tries - (context["task"].retries or 0) + 1
    first: datetime | None = _orig_start_date(ti.dag_id, ti.task_id, ti.run_id, ti.map_index, first_try)
    return first
