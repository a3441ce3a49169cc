"""The pause that a service wants between two submissions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_riffusion.emulator.records import TooSoon

if TYPE_CHECKING:
    from datetime import datetime


class Pace:
    """When the last submission came. One that comes too soon does not count as the last."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._last: datetime | None = None

    def keep(self, now: datetime) -> None:
        """Note a submission; raise TooSoon if it comes too soon."""
        if self._last is not None:
            too_soon = self._seconds - (now - self._last).total_seconds()
            if too_soon > 0:
                raise TooSoon(too_soon)
        self._last = now
