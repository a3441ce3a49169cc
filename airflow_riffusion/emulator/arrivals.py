"""When other clients of the same accounts come along."""

from __future__ import annotations

import math
from datetime import timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime
    from random import Random


class Arrivals:
    """
    The moments at which other clients come: each by chance, whatever the others do (a Poisson process).

    They are the same moments however seldom one asks for them.

    :param per_minute: how many come, per minute on average; 0 for none.
    :param begin: the moment from which on they come.
    :param random: decides when.
    """

    def __init__(self, per_minute: float, begin: datetime, random: Random) -> None:
        self._per_minute = per_minute
        self._begin = begin
        self._random = random
        self._next = self._pause()

    def until(self, now: datetime) -> Iterator[datetime]:
        """
        Tell the moments that have not been told yet, in their order.

        :param now: the last moment that may be told.
        """
        while self._next <= (now - self._begin).total_seconds():
            moment = self._begin + timedelta(seconds=self._next)
            self._next += self._pause()
            yield moment

    def _pause(self) -> float:
        return self._random.expovariate(1) * 60 / self._per_minute if self._per_minute else math.inf
