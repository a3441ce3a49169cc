"""What one try of a task leaves to the next: Airflow's task state store, from 3.3 on."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

    from airflow_riffusion.song import Song

log = logging.getLogger(__name__)

_KEY = "riffusion_job"


class JobMemory:
    """
    Remembers over retries which job a task has made; remembers nothing before Airflow 3.3.

    :param context: the task's context.
    :param retries: the task's retries.
    """

    def __init__(self, context: Context, retries: int) -> None:
        self._store: Any = context.get("task_state_store")
        self._ti = context["ti"]
        self._retries = retries

    def recall(self) -> dict[str, Any] | None:
        """Return the job that an earlier try has made, unless the task was cleared to make another one."""
        # A task that is cleared has as many retries once more, beginning with its next try.
        tries_before_clear = max(0, (self._ti.max_tries or 0) - self._retries)
        if self._store is None or self._ti.try_number <= tries_before_clear + 1:
            return None
        stored = self._store.get(_KEY)
        return stored if isinstance(stored, dict) else None

    def note(self, song: Song) -> None:
        """
        Note the job of a song.

        :param song: the song, submitted.
        """
        if self._store is None:
            return
        job = {"job_id": song.job_id, "user_id": song.user_id, "submitted_at": song.submitted_at}
        try:
            self._store.set(_KEY, job)
        except Exception as error:  # noqa: BLE001 - the job exists: to fail now would do no good
            log.warning("Job %s can't be noted for retries: %r", song.job_id, error)

    def forget(self) -> None:
        """Let a retry make another job."""
        if self._store is not None:
            self._store.delete(_KEY)
