"""When other clients of the same accounts come."""

from __future__ import annotations

import math
from datetime import timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime
    from random import Random


class Arrivals:
    """The random moments at which other clients come (a Poisson process), the same however often one asks."""

    def __init__(self, per_minute: float, begin: datetime, random: Random) -> None:
        self._per_minute = per_minute
        self._begin = begin
        self._random = random
        self._next = self._pause()

    def until(self, now: datetime) -> Iterator[datetime]:
        """Yield the moments up to now that were not yielded before, in order."""
        while self._next <= (now - self._begin).total_seconds():
            moment = self._begin + timedelta(seconds=self._next)
            self._next += self._pause()
            yield moment

    def _pause(self) -> float:
        return self._random.expovariate(1) * 60 / self._per_minute if self._per_minute else math.inf
