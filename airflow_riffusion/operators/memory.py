"""What one try of a task leaves to the next: Airflow's task state store, from 3.3 on."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

    from airflow_riffusion.core.song import Song

log = logging.getLogger(__name__)

_KEY = "riffusion_job"


class JobMemory:
    """
    Remembers over retries which job a task has made; remembers nothing before Airflow 3.3.

    :param context: the task's context.
    """

    def __init__(self, context: Context) -> None:
        self._store: Any = context.get("task_state_store")
        self._max_tries = context["ti"].max_tries

    def recall(self) -> dict[str, Any] | None:
        """Return the job that an earlier try has made, unless the task was cleared to make another one."""
        stored = self._store.get(_KEY) if self._store is not None else None
        # A task that is cleared is given more tries, and only then (but for one whose DAG has fewer retries
        # by now, by just as many as it had used up).
        if not isinstance(stored, dict) or stored.get("max_tries") != self._max_tries:
            return None
        return {name: value for name, value in stored.items() if name != "max_tries"}

    def note(self, song: Song) -> None:
        """
        Note the job of a song.

        :param song: the song, submitted.
        """
        if self._store is None:
            return
        job = {"job_id": song.job_id, "user_id": song.user_id, "submitted_at": song.submitted_at}
        try:
            self._store.set(_KEY, {**job, "max_tries": self._max_tries})
        except Exception as error:  # noqa: BLE001 - the job exists: to fail now would do no good
            log.warning("Job %s can't be noted for retries: %r", song.job_id, error)

    def forget(self) -> None:
        """Let a retry make another job."""
        if self._store is None:
            return
        try:
            self._store.delete(_KEY)
        except Exception as error:  # noqa: BLE001 - what comes after must be done all the same
            log.warning("A job that was noted for retries can't be forgotten: %r", error)
