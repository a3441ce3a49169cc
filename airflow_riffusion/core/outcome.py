"""
What the service says of a submission and of a job's outcome.

Pure: no Airflow, no clock, no I/O.
"""

from __future__ import annotations

from collections.abc import Mapping
from string import Formatter
from typing import Any
from urllib.parse import quote

from airflow_riffusion.core.arguments import checked_endpoint
from airflow_riffusion.core.coerce import without_secrets

_FAILED = frozenset({"failed", "failure", "error", "cancelled", "canceled"})
_LONGEST_REASON = 500


def refusal(answer: object) -> str | None:
    """
    Return why a submission made no job although it was answered with 200; None if it made one.

    Riffusion answers a moderated prompt with ``{"is_flagged": true, "reason": …}``.
    """
    if not isinstance(answer, Mapping) or answer.get("job_id") or answer.get("id"):
        return None
    if answer.get("is_flagged"):
        return f"the prompt was moderated: {_text(answer.get('reason') or answer.get('error') or answer)}"
    return _text(answer["error"]) if answer.get("error") else None


def failure(result: object) -> str | None:
    """Return why a job failed, or None if its outcome does not say that it did."""
    if isinstance(result, list):
        return next((reason for each in result if (reason := failure(each))), None)
    if not isinstance(result, Mapping):
        return None
    status, error = result.get("status"), result.get("error")
    if not error and str(status).lower() not in _FAILED:
        return None
    return _text(error or status)


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


def checked_result_endpoint(value: object) -> str | None:
    """
    Return what is asked for when a job is over; None if nothing is.

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


def _text(said: object) -> str:
    """Return what a service said; some wrap it into ``{"message": …}``."""
    if isinstance(said, Mapping) and said.get("message"):
        said = said["message"]
    return f"{said}"[:_LONGEST_REASON]
