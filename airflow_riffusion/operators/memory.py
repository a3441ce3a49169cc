"""What a try of a task leaves to the next one: Airflow's task state store, from 3.3 on."""

from __future__ import annotations

import logging
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from airflow_riffusion.core.note import JobNote
from airflow_riffusion.xcoms import JOB_KEY, TaskXComs

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airflow.providers.common.compat.sdk import Context

log = logging.getLogger(__name__)


class JobMemory:
    """
    Keeps a task's job for its retries, and for a person who clears the task while the outcome is unknown.

    XComs are gone when the next try starts, so a worker moves the trigger's note into the task state store.
    Before Airflow 3.3 there is none.
    """

    def __init__(self, context: Context) -> None:
        self._store: Any = context.get("task_state_store")
        self._xcoms = TaskXComs(context["ti"])
        self._max_tries = context["ti"].max_tries

    def take(self) -> JobNote | None:
        """
        Return the job of an earlier try, unless the task was cleared to make another one.

        From then on it is the trigger's: if a person ends the task the job is stopped, and a clear is to make
        another one. A task that is cleared is given more tries, and only then.
        """
        stored = self._store.get(JOB_KEY) if self._store is not None else None
        note = JobNote.parse(stored)
        if stored is None or note is None:
            return None
        was_cleared = stored.get("max_tries") != self._max_tries
        if was_cleared and (stored.get("is_done") or stored.get("is_taken")):
            return None
        self._keep(note, is_taken=True)
        return note

    def keep(self, note: JobNote | None = None, *, is_done: bool = False) -> bool:
        """Leave a job to the next try, this one or the trigger's; return whether that is done."""
        with _whatever_happens("left to the next try"):
            note = note or JobNote.parse(self._xcoms.get(JOB_KEY))
        return note is not None and note.accepted and self._keep(note, is_done=is_done)

    def _keep(self, note: JobNote, **marks: bool) -> bool:
        if self._store is None:
            return False
        with _whatever_happens("left to the next try"):
            self._store.set(JOB_KEY, {**note.to_json(), "max_tries": self._max_tries, **marks})
            return True
        return False

    def forget(self) -> None:
        """Leave nothing to the next try: it makes another job."""
        if self._store is not None:
            with _whatever_happens("forgotten"):
                self._store.delete(JOB_KEY)

    def forget_note(self) -> None:
        """Delete what the trigger has noted."""
        with _whatever_happens("forgotten"):
            self._xcoms.delete(JOB_KEY)


@contextmanager
def _whatever_happens(purpose: str) -> Iterator[None]:
    """Log an error of Airflow's stores: what comes after must be done all the same."""
    try:
        yield
    except Exception as error:  # noqa: BLE001 - whatever the stores raise
        log.warning("The job of this task can't be %s: %r", purpose, error)
