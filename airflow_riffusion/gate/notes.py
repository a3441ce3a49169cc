"""The notes of a job, also while Airflow does not answer."""

from __future__ import annotations

import asyncio
import logging
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from airflow_riffusion.core.backoff import Backoff

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from airflow_riffusion.core.note import JobNote
    from airflow_riffusion.xcoms import JobNotes

Returned = TypeVar("Returned")

log = logging.getLogger(__name__)

# So many questions to Airflow may fail in a row, which take some minutes.
_MOST_FAILURES = 8
# The job exists by then, whether it is noted or not.
_MOST_FAILURES_TO_KEEP = 3


class PatientNotes:
    """Asks Airflow again if it does not answer: without the note, a second job might be made."""

    def __init__(self, notes: JobNotes, interval: float) -> None:
        self._notes = notes
        self._interval = interval

    async def read(self) -> JobNote | None:
        """Read what this trigger noted, or another one of this task."""
        return await self._ask(self._notes.read)

    async def claim(self, note: JobNote, *, carefully: bool) -> bool:
        """Note that a job is about to be submitted; see :meth:`JobNotes.claim`."""
        return await self._ask(partial(self._notes.claim, note, carefully=carefully))

    async def keep(self, note: JobNote) -> None:
        """Note what has become of a job; to fail now would lose it, so an error is only logged."""
        try:
            await self._ask(partial(self._notes.write, note), tries=_MOST_FAILURES_TO_KEEP)
        except Exception as error:  # noqa: BLE001 - whatever Airflow raises
            log.warning("%s can't be noted for a restart: %r", note.title, error)

    async def delete(self, note: JobNote) -> None:
        """Delete a note, unless another trigger has written a newer one."""
        await self._notes.delete(note)

    async def _ask(self, ask: Callable[[], Awaitable[Returned]], tries: int = _MOST_FAILURES) -> Returned:
        backoff = Backoff(self._interval)
        while True:
            try:
                return await ask()
            except Exception as error:
                pause = backoff.failed(0.0)
                if backoff.failures >= tries:
                    raise
                log.warning("Airflow does not answer (%r). Asking again in %.0f s.", error, pause)
            await asyncio.sleep(pause)
