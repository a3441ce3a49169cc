"""
How long a try may take.

Airflow's ``execution_timeout`` does not count while a task is deferred (apache/airflow#69678; it does with
2.11), so each wait in the triggerer ends with the shorter of it and the operator's own ``timeout``.

Pure: no Airflow, no clock, no I/O.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

# Seconds: a wait whose time is up already is ended by Airflow, as any other.
_SHORTEST_WAIT = 1.0


@dataclass(frozen=True, slots=True)
class Limit:
    """
    What a try may not take longer than.

    :param name: the argument that says so.
    :param seconds: how long that is.
    """

    name: str
    seconds: float

    @classmethod
    def of(cls, timeout: float, execution_timeout: timedelta | None) -> Limit:
        """Return the shorter one."""
        if execution_timeout is not None and execution_timeout.total_seconds() <= timeout:
            return cls("execution_timeout", execution_timeout.total_seconds())
        return cls("timeout", timeout)

    @property
    def is_airflows(self) -> bool:
        """Whether a try that takes longer fails as Airflow fails any task then: a retry may follow."""
        return self.name == "execution_timeout"

    def left(self, since: float, now: float) -> timedelta:
        """Return for how long a task may be deferred."""
        return timedelta(seconds=max(_SHORTEST_WAIT, since + self.seconds - now))

    def __str__(self) -> str:
        return f"{self.name} of {self.seconds:g} s"
