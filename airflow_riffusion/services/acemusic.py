"""
ACE Music: https://useapi.net/docs/api-acemusic-v1.

Which field of a submission makes it asynchronous, and how a job is stopped, no page read says: what the
other services have is tried.
An answer that comes only with the song is read as well.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from airflow_riffusion.core.capacity import Capacity, CapacityFormatError
from airflow_riffusion.core.outcome import Outcome, State, audio_files
from airflow_riffusion.services import parsing
from airflow_riffusion.services.base import JobEndpoint

if TYPE_CHECKING:
    from datetime import datetime
    from typing import Any

    from airflow_riffusion.core.outcome import Audio


class AceMusic(JobEndpoint):
    """ACE Music."""

    name = "acemusic"
    title = "ACE Music"
    account_field = "email"
    lists_busy_accounts_only = True
    slots_by_default = 4
    submit_endpoint = "music"
    submit_fields = {"async": True, "mode": "async"}  # noqa: RUF012 - a constant

    def parse_capacity(
        self,
        payload: object,
        *,
        observed_at: datetime,
        max_jobs: int | None = None,  # noqa: ARG002 - GET accounts says it
    ) -> Capacity:
        """Read the running jobs; the accounts and their slots are known from ``GET accounts`` only."""
        answer = parsing.no_error(payload)
        if answer.get("jobs") is None:
            raise CapacityFormatError("'jobs' is not in it")
        warnings: list[str] = []
        return Capacity(
            service=self.name,
            observed_at=observed_at,
            accounts=(),
            jobs=tuple(
                parsing.job(raw, account_field="email") for raw in parsing.objects(answer, "jobs", warnings)
            ),
            warnings=tuple(warnings),
        )

    def outcome(self, answer: object) -> Outcome:
        """Read the job; an answer with songs is its end, also without a status."""
        outcome = super().outcome(answer)
        if isinstance(answer, Mapping) and answer.get("status") is None and answer.get("songs"):
            return Outcome(State.DONE, audio=self._audio(answer))
        return outcome

    def _audio(self, answer: Mapping[str, Any]) -> tuple[Audio, ...]:
        # `playUrl` is good for an hour only.
        return audio_files(answer.get("songs"), "audioUrl", "playUrl")


SERVICE = AceMusic()
