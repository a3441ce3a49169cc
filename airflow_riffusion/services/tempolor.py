"""
TemPolor: https://useapi.net/docs/api-tempolor-v1.

Its jobs name no account, but their ids do. A submission may make two jobs. A finished job may not be listed
for up to ten minutes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from airflow_riffusion.core.coerce import count, text
from airflow_riffusion.core.outcome import (
    Accepted,
    Outcome,
    State,
    audio_files,
    failure,
    in_path,
    said,
)
from airflow_riffusion.services.scheduler import SchedulerService

_JOB_ID = re.compile(r"user:.*?-tempolor:(.+)-job:[^:]*")
_FIRST_FAILED, _FIRST_DONE = 10, 30


class TemPolor(SchedulerService):
    """TemPolor."""

    name = "tempolor"
    title = "TemPolor"
    account_field = "user_id"
    submit_endpoint = "music/song"
    outcome_within = 600.0

    def accepted(self, answer: object) -> Accepted:
        """Read the ids of one or two jobs."""
        jobs = answer.get("jobs") if isinstance(answer, Mapping) else None
        ids = tuple(found for each in jobs if (found := text(each))) if isinstance(jobs, list) else ()
        return Accepted(ids, self.account_of(ids[0])) if ids else super().accepted(answer)

    def refusal(self, answer: object) -> str | None:
        """Return why there is no job; an empty list of jobs is a refusal, too."""
        if isinstance(answer, Mapping) and answer.get("jobs") == []:
            return said(answer.get("error") or "the list of jobs is empty")
        return super().refusal(answer)

    def account_of(self, job_id: str | None) -> str | None:
        """Return the account in ``user:<user>-tempolor:<account>-job:<id>``."""
        match = _JOB_ID.fullmatch(job_id or "")
        return match[1] if match else None

    def outcome_endpoint(self, job_id: str, _user_id: str | None, _submitted_to: str) -> str | None:
        """Return the job's own endpoint."""
        return f"music/{in_path(job_id)}"

    def outcome(self, answer: object) -> Outcome:
        """Read ``status``, a number: below 10 it runs, below 30 it has failed, else it is done."""
        if not isinstance(answer, Mapping):
            return Outcome(State.RUNNING)
        status, name = count(answer.get("status")), answer.get("status_name")
        if status is not None and _FIRST_FAILED <= status < _FIRST_DONE:
            reason = failure(answer, "status_name") or said(name or f"status {status}")
            return Outcome(State.FAILED, reason)
        if said_so := failure(answer, "status_name", "status"):
            return Outcome(State.FAILED, said_so)
        is_done = status >= _FIRST_DONE if status is not None else answer.get("status_final") is True
        if not is_done:
            return Outcome(State.RUNNING)
        return Outcome(State.DONE, audio=audio_files(answer, "url", "audio_url"))

    def audio_endpoint(self, job_id: str) -> str | None:
        """Return where the job's file is asked for."""
        return f"music/download/{in_path(job_id)}"


SERVICE = TemPolor()
