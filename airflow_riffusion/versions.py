"""What Airflow can do, by its version: the only place that asks for it."""

from __future__ import annotations

from airflow import __version__
from packaging.version import Version

AIRFLOW_VERSION = Version(Version(__version__).base_version)

HAS_ZERO_WORKER_MODE = Version("3.3") <= AIRFLOW_VERSION
"""Whether a task can start in the triggerer with its templates rendered, and end there with its XCom."""


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
