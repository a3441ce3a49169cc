"""What becomes of a task of each mode, by what its fault means."""

from __future__ import annotations

from dataclasses import dataclass, replace

from tests.integration.faults import BAD_RESPONSE, READ, REJECTED, UNAVAILABLE, Fault
from tests.integration.modes import INTERVAL, PATIENCE


@dataclass(frozen=True)
class Expected:
    """
    :param state: what Airflow shows.
    :param requests: how many; None for as many as the pauses between them allow.
    :param shortest: seconds between two of them, at the least.
    :param longest: and at the most; what ``Retry-After`` says comes on top.
    :param within: seconds until that state is reached; what ``Retry-After`` says comes on top.
    :param says: what the task fails with, in part, if it is not what is said of the fault.
    """

    state: str
    requests: int | None = None
    shortest: float = 0.0
    longest: float = 0.0
    within: float = 0.0
    says: str | None = None


# Seconds: deferred, a first reading takes one, and a task goes on when the worker that deferred it is gone.
_AT_ONCE = {
    "operator": 0,
    "poke": 0,
    "reschedule": 0,
    "deferred": 10,
    "zero-worker": 2,
    "song-waiting": 10,
    "song-submitting": 20,
}
_GOES_ON_WAITING = Expected("deferred", None, INTERVAL, 300, PATIENCE)
_GIVES_UP_WAITING = Expected("failed", 3, INTERVAL, 240, 400)
_IN_A_ROW = "3 submissions in a row failed"
EXPECTED = {
    UNAVAILABLE: {
        "operator": Expected("up_for_retry", 4, 0.5, 4, 7),
        "poke": Expected("timed out", None, INTERVAL, INTERVAL, PATIENCE + 2 * INTERVAL),
        "reschedule": Expected("up_for_reschedule", None, INTERVAL, INTERVAL, PATIENCE),
        "deferred": _GOES_ON_WAITING,
        "zero-worker": _GOES_ON_WAITING,
        "song-waiting": _GOES_ON_WAITING,
        "song-submitting": Expected("deferred", None, INTERVAL, 600, PATIENCE),
    },
    BAD_RESPONSE: {
        "operator": Expected("up_for_retry", 1),
        "poke": Expected("failed", 3, 1, 1, 2),
        "reschedule": Expected("failed", 3, 1, 1, 2),
        "deferred": _GIVES_UP_WAITING,
        "zero-worker": _GIVES_UP_WAITING,
        "song-waiting": _GIVES_UP_WAITING,
        "song-submitting": Expected("failed", 3, INTERVAL, 600, PATIENCE, says=_IN_A_ROW),
    },
    REJECTED: {mode: Expected("failed", 1, within=within) for mode, within in _AT_ONCE.items()},
    READ: {mode: Expected("success", 1, within=within) for mode, within in _AT_ONCE.items()},
}
LONGEST_RETRY_AFTER_OF_THE_OPERATOR = 30


def expected(fault: Fault, mode: str) -> Expected:
    meaning = fault.submission or fault.meaning if mode == "song-submitting" else fault.meaning
    row = EXPECTED[meaning][mode]
    if mode == "song-submitting" and fault.name == "500":
        return Expected("up_for_retry", 3, INTERVAL, 600, PATIENCE, says=_IN_A_ROW)
    if mode == "song-submitting" and fault.name == "596":  # another account may be well
        return EXPECTED[UNAVAILABLE][mode]
    if mode == "song-submitting" and fault.submission == REJECTED:
        return replace(row, says="made no job of the submission")
    if not fault.asked:
        return replace(row, requests=0)
    if mode == "operator" and fault.leave_alone > LONGEST_RETRY_AFTER_OF_THE_OPERATOR:
        return replace(row, requests=1)
    return replace(
        row,
        shortest=max(row.shortest, fault.leave_alone),
        longest=row.longest + fault.leave_alone,
        within=row.within + (row.requests or 0) * fault.leave_alone,
    )
