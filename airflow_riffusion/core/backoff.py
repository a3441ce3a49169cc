"""When to ask a failing service again, and when to give up."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

# Seconds.
LONGEST_PAUSE = 300.0
LONGEST_RETRY_AFTER = 600.0

BAD_ANSWERS_TO_GIVE_UP = 3
"""One answer may be garbled; after so many in a row, waiting won't help."""

_MOST_DOUBLINGS = 16


@dataclass(slots=True)
class Backoff:
    """
    The pauses between requests that fail: longer each time, and never shorter than ``Retry-After`` asks for.

    :param interval: the shortest pause, in seconds.
    :param longest: the longest pause that failures alone bring about; the interval for equal pauses.
    :param uniform: draws a pause between two bounds, so that clients don't come back all at once.
    """

    interval: float
    longest: float = LONGEST_PAUSE
    uniform: Callable[[float, float], float] = random.uniform
    failures: int = 0
    bad_answers: int = 0
    not_before: float = float("-inf")

    def failed(self, now: float, retry_after: float | None = None, *, bad_answer: bool = False) -> float:
        """Count a failure; return when to ask again, on the clock of ``now``."""
        self.failures += 1
        self.bad_answers = self.bad_answers + 1 if bad_answer else 0
        longest = min(self.longest, self.interval * 2 ** min(self.failures, _MOST_DOUBLINGS))
        pause = self.uniform(self.interval, max(self.interval, longest))
        self.not_before = now + max(pause, capped(retry_after))
        return self.not_before

    def succeeded(self) -> None:
        """Forget the failures."""
        self.failures = self.bad_answers = 0
        self.not_before = float("-inf")

    @property
    def gives_up(self) -> bool:
        """Whether so many bad answers came in a row that waiting won't help."""
        return self.bad_answers >= BAD_ANSWERS_TO_GIVE_UP


def capped(retry_after: float | None) -> float:
    """Return the seconds to wait for a ``Retry-After``: ten minutes at the most."""
    return min(retry_after or 0.0, LONGEST_RETRY_AFTER)
