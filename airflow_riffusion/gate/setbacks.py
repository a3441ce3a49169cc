"""The submissions of one task that failed."""

from __future__ import annotations

import asyncio
from http import HTTPStatus

from airflow_riffusion.core.backoff import Backoff, capped
from airflow_riffusion.exceptions import (
    RiffusionBadResponse,
    RiffusionError,
    RiffusionRejected,
    RiffusionUnavailable,
)


class Setbacks:
    """
    When a task may submit again after a submission that failed, and when it gives up.

    :param poke_interval: the shortest pause, in seconds.
    """

    def __init__(self, poke_interval: float) -> None:
        self._backoff = Backoff(poke_interval)
        self._leave_alone_until = float("-inf")
        self._last: RiffusionError | None = None

    def add(self, error: RiffusionError) -> None:
        """Count a submission that failed, or was not even sent."""
        is_bad = isinstance(error, RiffusionBadResponse) or error.status == HTTPStatus.INTERNAL_SERVER_ERROR
        retry_after = getattr(error, "retry_after", None)
        self._backoff.failed(_now(), retry_after, bad_answer=is_bad)
        self._leave_alone_until = _now() + capped(retry_after)
        self._last = error

    @property
    def pause(self) -> float:
        """Seconds until the next submission."""
        return max(0.0, self._backoff.not_before - _now())

    @property
    def leave_alone(self) -> float:
        """Seconds for which the service wants no request at all."""
        return max(0.0, self._leave_alone_until - _now())

    def check(self) -> None:
        """
        Give up after several in a row that failed in the same way, while readings are fine.

        :raises RiffusionUnavailable: if the task's next try may succeed.
        :raises RiffusionRejected: if no submission can succeed.
        """
        if not self._backoff.gives_up:
            return
        # No JSON is the fault of the endpoint or the base URL. A server error may be that of the prompt, or
        # may be mended until the next try.
        kind = RiffusionUnavailable if isinstance(self._last, RiffusionUnavailable) else RiffusionRejected
        raise kind(
            f"{self._backoff.bad_answers} submissions in a row failed, and no reading shows a job of theirs. "
            f"The last one: {self._last}"
        )


def _now() -> float:
    return asyncio.get_running_loop().time()
