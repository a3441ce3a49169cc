"""
How far a song has come, and what its outcome says.

Pure: no Airflow, no clock, no I/O.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from string import Formatter
from typing import Any
from urllib.parse import quote

from airflow_riffusion.core.arguments import checked_endpoint
from airflow_riffusion.core.coerce import without_secrets

_FAILED = frozenset({"failed", "failure", "error", "cancelled", "canceled"})
_LONGEST_REASON = 500


@dataclass(frozen=True, slots=True)
class Song:
    """
    What travels from one deferral of a song's task to the next, as plain JSON.

    :param reply_ref: the ``replyRef`` of its job.
    :param since: when its task began to wait, in seconds since the epoch.
    :param submissions: how often a submission was sent.
    :param waited_seconds: from the beginning of the wait until the last submission.
    :param submitted_at: when the last submission was sent, in seconds since the epoch.
    :param job_id: its job, once it is known.
    :param user_id: the account of its job, once it is known.
    :param ran_seconds: from the submission until a reading showed that the job is over.
    :param grant_id: the slot it was granted last, to be given back if it has no use for it.
    :param seen: whether its job was seen executing.
    :param in_doubt: whether a job of its may exist that nobody knows of yet.
    :param setbacks: how many grants it could not use.
    :param bad_answers: how many submissions in a row were answered with no JSON.
    """

    reply_ref: str
    since: float
    submissions: int = 0
    waited_seconds: float = 0.0
    submitted_at: float = 0.0
    job_id: str | None = None
    user_id: str | None = None
    ran_seconds: float | None = None
    grant_id: str | None = None
    seen: bool = False
    in_doubt: bool = False
    setbacks: int = 0
    bad_answers: int = 0

    def identify(self, answer: object) -> Song:
        """Take over the job's id and account, as far as an answer has them, in any service's spelling."""
        from airflow_riffusion.core.capacity import ExecutingJob

        job = ExecutingJob.parse(answer if isinstance(answer, Mapping) else {})
        return replace(self, job_id=job.job_id or self.job_id, user_id=job.user_id or self.user_id)

    def adopt(self, job: Mapping[str, Any], now: float) -> Song:
        """Take over a job that an earlier submission has made."""
        started = datetime.fromisoformat(job["started"]).timestamp() if job["started"] else now
        return replace(self.identify(job), submitted_at=started, seen=True)

    def over(self, job: Mapping[str, Any] | None, at: float) -> Song:
        """Note that the job has ended."""
        song = replace(self.identify(job), seen=self.seen or job is not None)
        if not song.seen or song.ran_seconds is not None:
            return song
        return replace(song, ran_seconds=round(max(0.0, at - song.submitted_at), 3))

    def to_xcom(self, result: Any) -> dict[str, Any]:
        """Return the XCom of the song's task."""
        return {
            "job_id": self.job_id,
            "user_id": self.user_id,
            "reply_ref": self.reply_ref,
            "submissions": self.submissions,
            "waited_seconds": self.waited_seconds,
            "ran_seconds": self.ran_seconds,
            "result": result,
        }


def scrub(result: Any) -> Any:
    """Return what the service says of a job's outcome without what callback URLs may keep secret."""
    if isinstance(result, list):
        return [scrub(each) for each in result]
    if not isinstance(result, Mapping):
        return result
    return {
        name: without_secrets(value) if name in ("replyUrl", "reply_url") else scrub(value)
        for name, value in result.items()
    }


def fill_in(endpoint: str, **values: str) -> str:
    """
    Return an endpoint with what is in braces filled in, quoted for a URL.

    :raises ValueError: if it asks for anything else.
    """
    try:
        names = {name for _, name, _, _ in Formatter().parse(endpoint) if name is not None}
    except ValueError as error:
        raise ValueError(f"result_endpoint {endpoint!r} can't be filled in: {error}") from None
    if unknown := names - values.keys():
        known = " and ".join(f"{{{name}}}" for name in values)
        raise ValueError(f"result_endpoint can have {known} filled in, not {{{min(unknown)}}}")
    return endpoint.format(**{name: quote(value, safe="") for name, value in values.items()})


def checked_result_endpoint(value: object) -> None:
    """
    Check what is to be filled in when a job is over.

    :raises ValueError: if that can't be done, or it leads elsewhere.
    """
    if not isinstance(value, str):
        raise ValueError(f"result_endpoint must be text, not {value!r:.200}")
    filled_in = fill_in(value, job_id="1", user_id="1")
    try:
        checked_endpoint(filled_in)
    except ValueError as error:
        raise ValueError(f"result_endpoint: {error}") from None


def failure(result: object) -> str | None:
    """Return why a job failed, or None if its outcome does not say that it did."""
    if isinstance(result, list):
        return next((reason for each in result if (reason := failure(each))), None)
    if not isinstance(result, Mapping):
        return None
    status, error = result.get("status"), result.get("error")
    if not error and str(status).lower() not in _FAILED:
        return None
    return f"{error or status}"[:_LONGEST_REASON]
