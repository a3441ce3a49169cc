"""
How long a try may take.

Airflow's ``execution_timeout`` does not count while a task is deferred (apache/airflow#69678; it does with
2.11), so each wait in the triggerer ends with the shorter of it and the operator's own ``timeout``.

Pure: no Airflow, no clock, no I/O.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

# Seconds, so that Airflow also ends a wait whose time is already up.
_SHORTEST_WAIT = 1.0


@dataclass(frozen=True, slots=True)
class Limit:
    """
    The time limit of a try.

    :param name: the argument that sets it.
    """

    name: str
    seconds: float

    @classmethod
    def of(cls, timeout: float, execution_timeout: timedelta | None) -> Limit:
        """Return the shorter of the two limits."""
        if execution_timeout is not None and execution_timeout.total_seconds() <= timeout:
            return cls("execution_timeout", execution_timeout.total_seconds())
        return cls("timeout", timeout)

    @property
    def is_airflows(self) -> bool:
        """Whether it is Airflow's own limit, after which a task fails and may be retried."""
        return self.name == "execution_timeout"

    def left(self, since: float, now: float) -> timedelta:
        """Return for how long a task may be deferred."""
        return timedelta(seconds=max(_SHORTEST_WAIT, since + self.seconds - now))

    def __str__(self) -> str:
        return f"{self.name} of {self.seconds:g} s"
