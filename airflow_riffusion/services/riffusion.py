"""
Riffusion: the contract that this package was written for. useapi.net has switched it off.

https://useapi.net/docs/api-riffusion-v1. When a song is over, and where its audio is, no page says: any
answer that neither fails nor says that it still runs counts as the end.
"""

from __future__ import annotations

from airflow_riffusion.core.outcome import in_path
from airflow_riffusion.services.scheduler import SchedulerService


class Riffusion(SchedulerService):
    """Riffusion."""

    name = "riffusion"
    title = "Riffusion"
    account_field = "user_id"
    submit_endpoint = "music/create-prompt"

    def outcome_endpoint(self, job_id: str, user_id: str | None, _submitted_to: str) -> str | None:
        """Return the list of songs, of which it asks for one."""
        account = f"user_id={in_path(user_id)}&" if user_id else ""
        return f"music/?{account}id={in_path(job_id)}"


SERVICE = Riffusion()
