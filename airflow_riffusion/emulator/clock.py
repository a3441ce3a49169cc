"""The time, and how the service writes it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

Clock = Callable[[], datetime]
"""Returns the time, with a time zone."""


def utc_now() -> datetime:
    """Return this machine's time, in UTC."""
    return datetime.now(UTC)


def timestamp(moment: datetime) -> str:
    """Write a moment as the service does: in UTC, to the millisecond, as ``2025-02-12T01:55:16.128Z``."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
