"""
Flow Music (Google's; once Riffusion, then Producer AI): the service in Riffusion's place.

https://useapi.net/docs/api-flowmusic-v1. A reading lists only accounts with running jobs, and no
``replyRef``; a job's own answer has what was submitted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_riffusion.core.capacity import Capacity, CapacityFormatError
from airflow_riffusion.core.coerce import shown
from airflow_riffusion.core.outcome import audio_files
from airflow_riffusion.services import parsing
from airflow_riffusion.services.base import JobEndpoint

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime
    from typing import Any

    from airflow_riffusion.core.outcome import Audio


class FlowMusic(JobEndpoint):
    """Flow Music."""

    name = "flowmusic"
    title = "Flow Music"
    account_field = "email"
    lists_busy_accounts_only = True
    names_references = False
    submit_endpoint = "music"
    submit_fields = {"mode": "async"}  # noqa: RUF012 - a constant

    def parse_capacity(
        self, payload: object, *, observed_at: datetime, max_jobs: int | None = None
    ) -> Capacity:
        """Read the accounts that have running jobs, by their e-mail addresses; ``{}`` if none has."""
        answer = parsing.no_error(payload)
        warnings: list[str] = []
        for email, raw in answer.items():
            if not isinstance(raw, dict) or not raw.keys() & {"running", "maxJobs", "jobs"}:
                raise CapacityFormatError(f"{shown(email)} is no account with jobs")
        listed = {email: parsing.objects(account, "jobs", warnings) for email, account in answer.items()}
        jobs = tuple(
            parsing.unnamed_job({"email": email, **raw}, account_field="email")
            for email, raws in listed.items()
            for raw in raws
        )
        accounts = parsing.accounts(
            ((email, parsing.busy(raw, len(listed[email]))) for email, raw in answer.items()),
            warnings,
            max_jobs=max_jobs,
            executing_field="running",
        )
        return Capacity(
            service=self.name,
            observed_at=observed_at,
            accounts=accounts,
            jobs=jobs,
            warnings=tuple(warnings),
        )

    def _audio(self, answer: Mapping[str, Any]) -> tuple[Audio, ...]:
        return audio_files(answer.get("clips"), "audio_url", "wav_url")


SERVICE = FlowMusic()
