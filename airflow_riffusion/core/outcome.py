"""
What the service says of a submission and of a job's outcome.

Pure: no Airflow, no clock, no I/O.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from string import Formatter
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from airflow_riffusion.core.arguments import checked_endpoint
from airflow_riffusion.core.coerce import positive, web_address, without_secrets

if TYPE_CHECKING:
    from collections.abc import Iterable

_FAILED = frozenset({"failed", "failure", "error", "cancelled", "canceled", "moderated", "rejected"})
_RUNNING = frozenset(
    {"pending", "processing", "running", "queued", "created", "submitted", "executing", "in_progress"}
)
_STATUS_FIELDS = {"status", "status_name", "status_final", "audio_status_name", "audio_status_final"}
_LONGEST_REASON = 500


class State(Enum):
    """How a job fares, as its service says."""

    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Accepted:
    """
    The answer to a submission that was accepted.

    :param job_ids: the jobs that it made, some services make two; empty if the answer names none.
    :param user_id: their account; None if the answer does not say.
    """

    job_ids: tuple[str, ...] = ()
    user_id: str | None = None


@dataclass(frozen=True, slots=True)
class Audio:
    """
    One audio file of a song.

    :param url: where it can be downloaded.
    :param title: its title, where the service says one.
    :param duration_seconds: how long it plays, where the service says so.
    """

    url: str
    title: str | None = None
    duration_seconds: float | None = None

    @classmethod
    def parse(cls, raw: object, *url_fields: str) -> Audio | None:
        """Read what a service says of one file: the first of the fields that holds a web address."""
        if not isinstance(raw, Mapping):
            return None
        url = next((url for field in url_fields if (url := _link(raw.get(field)))), None)
        title = next((raw[field] for field in ("title", "name") if isinstance(raw.get(field), str)), None)
        return None if url is None else cls(url, title or None, _duration(raw))

    def to_xcom(self) -> dict[str, Any]:
        """Return the file as plain JSON."""
        return {"url": self.url, "title": self.title, "duration_seconds": self.duration_seconds}


@dataclass(frozen=True, slots=True)
class Outcome:
    """
    What has become of a job.

    :param state: how it fares.
    :param reason: why it failed.
    :param audio: its files.
    """

    state: State
    reason: str | None = None
    audio: tuple[Audio, ...] = ()


def audio_files(raw: object, *url_fields: str) -> tuple[Audio, ...]:
    """Return the files that a list, or a single object, names."""
    entries: Iterable[object] = raw if isinstance(raw, list) else [raw]
    return tuple(audio for entry in entries if (audio := Audio.parse(entry, *url_fields)))


def read_leniently(answer: object) -> Outcome:
    """Read an outcome of which no page says how: one that neither fails nor says that it runs is the end."""
    if reason := failure(answer):
        return Outcome(State.FAILED, reason)
    if is_running(answer):
        return Outcome(State.RUNNING)
    return Outcome(State.DONE, audio=audio_files(answer, "download_url", "audio_url", "url"))


def first_audio(xcom: object) -> str | None:
    """Return the address of the first audio file in a task's XCom; None if it has none."""
    files = xcom.get("audio") if isinstance(xcom, Mapping) else None
    return next((each["url"] for each in files), None) if files else None


def refusal(answer: object) -> str | None:
    """Return why a submission that was answered with 2xx made no job; None if the answer does not say so."""
    if not isinstance(answer, Mapping):
        return None
    if answer.get("is_flagged"):
        return f"the prompt was moderated: {said(answer.get('reason') or answer.get('error') or answer)}"
    return said(answer["error"]) if answer.get("error") else None


def failure(result: object, *names: str) -> str | None:
    """Return why a job failed, or None if its outcome does not say that; ``names``: of its status."""
    if isinstance(result, list):
        return next((reason for each in result if (reason := failure(each, *names))), None)
    if not isinstance(result, Mapping):
        return None
    error = result.get("error") or result.get("errorDetails")
    status = next((result[name] for name in names or ("status",) if is_failure(result.get(name))), None)
    if not error and status is None:
        return None
    return said(error or result.get("reason") or result.get("fail_reason") or status)


def is_failure(status: object) -> bool:
    """Return whether a status says in words that the job failed."""
    return str(status).lower() in _FAILED


def is_running(result: object) -> bool:
    """Return whether an outcome, or one of several, says in words that its job is not over."""
    results = result if isinstance(result, list) else [result]
    return any(isinstance(each, Mapping) and str(each.get("status")).lower() in _RUNNING for each in results)


def names_status(result: object) -> bool:
    """Return whether an outcome has a field that says how its job fares."""
    results = result if isinstance(result, list) else [result]
    return any(isinstance(each, Mapping) and each.keys() & _STATUS_FIELDS for each in results)


def said(something: object) -> str:
    """Return what a service said; some wrap it into ``{"message": …}``."""
    if isinstance(something, Mapping) and something.get("message"):
        something = something["message"]
    return f"{scrub(something)}"[:_LONGEST_REASON]


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


def in_path(value: str) -> str:
    """Quote an id for a path; ``:`` and ``@``, which ids are full of, stay as they are."""
    return quote(value, safe=":@")


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
    return endpoint.format(**{name: in_path(value) for name, value in values.items()})


def checked_result_endpoint(value: object) -> str | None:
    """
    Return what is asked for when a job is over; None for the service's own.

    :raises ValueError: if it can't be filled in, or leads elsewhere.
    """
    if value is None:
        return None
    if not isinstance(value, str):
        raise ValueError(f"result_endpoint must be text, not {value!r:.200}")
    filled_in = fill_in(value, job_id="1", user_id="1")
    try:
        checked_endpoint(filled_in)
    except ValueError as error:
        raise ValueError(f"result_endpoint: {error}") from None
    return value


def _link(value: object) -> str | None:
    """Return an http(s) address: it becomes a link that people click."""
    is_address = isinstance(value, str) and value.isprintable() and web_address(value) is not None
    return str(value) if is_address else None


def _duration(raw: Mapping[str, Any]) -> float | None:
    for field, unit in (
        ("duration_s", 1.0),
        ("duration_seconds", 1.0),
        ("duration", 1.0),
        ("duration_milliseconds", 0.001),
        ("duration_ms", 0.001),
    ):
        if (number := positive(raw.get(field))) is not None:
            return round(number * unit, 3)
    return None
