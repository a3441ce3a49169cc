"""PixVerse: https://useapi.net/docs/api-pixverse-v2; its paths begin with ``v2``."""

from __future__ import annotations

import re
from collections.abc import Mapping

from airflow_riffusion.core.outcome import Outcome, State, audio_files, failure, in_path, said
from airflow_riffusion.services.scheduler import SchedulerService

_JOB_ID = re.compile(r"user:.*?-pixverse:(.+)-[a-z]+:[^:]*")


class PixVerse(SchedulerService):
    """PixVerse."""

    name = "pixverse"
    title = "PixVerse"
    makes = "video, image, music"
    version = "v2"
    account_field = "email"
    submit_endpoint = "music/create"
    _id_fields = ("audio_id", "video_id", "image_id", "id")

    def account_of(self, job_id: str | None) -> str | None:
        """Return the account in ``user:<user>-pixverse:<account>-<type>:<id>``."""
        match = _JOB_ID.fullmatch(job_id or "")
        return match[1] if match else None

    def outcome_endpoint(self, job_id: str, _user_id: str | None, submitted_to: str) -> str | None:
        """Return the piece of music; what says the outcome of videos and images is not read here."""
        return f"music/{in_path(job_id)}" if submitted_to.startswith("music/") else None

    def outcome(self, answer: object) -> Outcome:
        """Read ``audio_status_final`` and ``audio_status_name``."""
        if not isinstance(answer, Mapping):
            return Outcome(State.RUNNING)
        if reason := failure(answer, "audio_status_name"):
            return Outcome(State.FAILED, reason)
        if not answer.get("audio_status_final"):
            return Outcome(State.RUNNING)
        if audio := audio_files(answer, "url"):
            return Outcome(State.DONE, audio=audio)
        return Outcome(State.FAILED, said(answer.get("audio_status_name") or "it ended without audio"))


SERVICE = PixVerse()
