"""What a service may be told to be."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_SLOTS = 10
"""The most slots that the service lets an account have."""

LONGEST_JOB_SECONDS = 7 * 24 * 3600
"""The longest time, in seconds, that a job may be told to take."""

MAX_OTHER_CLIENTS = 1000
"""The most other clients that may be told to come, per minute on average."""


def check_accounts(accounts: Mapping[str, int]) -> None:
    """
    Refuse accounts that the service can't have.

    :param accounts: for each account its number of slots.
    :raises ValueError: if there is none, or one with too few or too many slots.
    """
    if not accounts:
        raise ValueError("accounts: at least 1 is needed")
    for max_jobs in accounts.values():
        if not 1 <= max_jobs <= MAX_SLOTS:
            raise ValueError(f"max_jobs: must be between 1 and {MAX_SLOTS}, not {max_jobs}")


def check_job_seconds(seconds: float) -> None:
    """
    Refuse a time that no job may take.

    :param seconds: how long a job takes, in seconds.
    :raises ValueError: if that is no time, or too long.
    """
    if not (math.isfinite(seconds) and 0 < seconds <= LONGEST_JOB_SECONDS):
        raise ValueError(
            f"job_seconds: must be above 0 and at most {LONGEST_JOB_SECONDS} (a week), not {seconds}"
        )


def check_other_clients(per_minute: float) -> None:
    """
    Refuse a rate at which nobody can come.

    :param per_minute: how many other clients come, per minute on average.
    :raises ValueError: if it is no number, negative or too high.
    """
    if not 0 <= per_minute <= MAX_OTHER_CLIENTS:
        raise ValueError(
            f"other_clients_per_minute: must be between 0 and {MAX_OTHER_CLIENTS}, not {per_minute}"
        )
