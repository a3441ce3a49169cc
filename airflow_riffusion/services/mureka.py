"""
Mureka: https://useapi.net/docs/api-mureka-v1.

It does not say how many slots an account has (up to ten songs at once, by its prose), so the connection has
to. A reading lists no ``replyRef``; a job's own answer has what was submitted. How a job is stopped, no page
read says: what Flow Music has is tried.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from airflow_riffusion.core.capacity import Capacity, CapacityFormatError
from airflow_riffusion.core.coerce import text
from airflow_riffusion.core.outcome import audio_files
from airflow_riffusion.services import parsing
from airflow_riffusion.services.base import JobEndpoint

if TYPE_CHECKING:
    from datetime import datetime

    from airflow_riffusion.core.capacity import ExecutingJob
    from airflow_riffusion.core.outcome import Audio


class Mureka(JobEndpoint):
    """Mureka."""

    name = "mureka"
    title = "Mureka"
    makes = "music, speech"
    account_field = "account"
    lists_busy_accounts_only = True  # also those that need their login renewed: GET accounts tells
    says_slots = False
    names_references = False
    submit_endpoint = "music/create"
    submit_fields = {"async": True}  # noqa: RUF012 - a constant
    submission_interval = 3.0

    def parse_capacity(
        self, payload: object, *, observed_at: datetime, max_jobs: int | None = None
    ) -> Capacity:
        """Read ``availableAccounts``, all that take jobs, and what runs on the accounts in ``accounts``."""
        answer = parsing.no_error(payload)
        configured, busy = answer.get("availableAccounts"), answer.get("accounts") or {}
        if not isinstance(configured, list) or not isinstance(busy, Mapping):
            raise CapacityFormatError("'availableAccounts' or 'accounts' is not in it as it should be")
        warnings: list[str] = []
        entries: dict[str, dict[str, Any]] = {
            user_id: {"running": 0} for each in configured if (user_id := text(each)) is not None
        }
        jobs: list[ExecutingJob] = []
        for user_id, raw in busy.items():
            if not isinstance(raw, Mapping):
                raise CapacityFormatError("'accounts' holds something that is no object")
            running = raw.get("music", raw.get("total"))
            # One that is not configured any more takes no jobs.
            entry = entries.setdefault(user_id, {"available": 0})
            entry["running"] = running
            jobs += [
                parsing.unnamed_job({"account": user_id, **each}, account_field="account")
                for each in parsing.objects(raw, "jobs", warnings)
            ]
        accounts = parsing.accounts(entries.items(), warnings, max_jobs=max_jobs, executing_field="running")
        return Capacity(
            service=self.name,
            observed_at=observed_at,
            accounts=accounts,
            jobs=tuple(jobs),
            warnings=tuple(warnings),
        )

    def _audio(self, answer: Mapping[str, Any]) -> tuple[Audio, ...]:
        response = answer.get("response")
        songs = response.get("songs") if isinstance(response, Mapping) else None
        return audio_files(songs, "mp3_url")


SERVICE = Mureka()
