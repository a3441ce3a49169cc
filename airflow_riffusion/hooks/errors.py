"""Which error an answer is: what happened, where, what to do, and whether waiting helps."""

from __future__ import annotations

from datetime import UTC
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit

from pydantic_core import from_json

from airflow_riffusion import clock
from airflow_riffusion.core.coerce import instant, one_line
from airflow_riffusion.core.outcome import said
from airflow_riffusion.exceptions import RiffusionRejected, RiffusionUnavailable

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    import requests

    from airflow_riffusion.exceptions import RiffusionError
    from airflow_riffusion.hooks.settings import ConnectionSettings

# https://useapi.net/docs/api-riffusion-v1: the service's own status for an account that was logged out.
ACCOUNT_LOGGED_OUT = 596
# Not "full": https://useapi.net/docs names 412 for too few credits.
_NO_CREDITS = (HTTPStatus.PAYMENT_REQUIRED, HTTPStatus.PRECONDITION_FAILED)
_LONGEST_DETAIL = 200
_SHORTEST_TOKEN = 8


def error_of_answer(
    answer: requests.Response, body: bytes, endpoint: str, settings: ConnectionSettings
) -> RiffusionError:
    """Return the error of an answer other than 2xx."""
    endpoint = endpoint.partition("?")[0]
    url = settings.url(endpoint)
    status = answer.status_code
    content = _content(without_token(body, settings.token))
    detail = _detail(content)
    message = f"{status} {reason_phrase(status)} from {url}{f' ({detail})' if detail else ''}"
    if may_pass(status):
        return RiffusionUnavailable(
            f"{message}.",
            status=status,
            url=url,
            detail=detail,
            retry_after=_retry_after(answer.headers.get("Retry-After"), content),
        )
    advice = _advice(answer, endpoint, settings)
    message = f"{message}: {advice}." if advice else f"{message}."
    return RiffusionRejected(message, status=status, url=url, detail=detail)


def may_pass(status: int) -> bool:
    """Return whether waiting helps."""
    return status in (408, 429) or (500 <= status < 600 and status != ACCOUNT_LOGGED_OUT)


def _advice(answer: requests.Response, endpoint: str, settings: ConnectionSettings) -> str | None:
    connection = f"connection '{settings.conn_id}'"
    if answer.status_code in (401, 403):
        return f"check the API token in {connection}"
    if answer.status_code == 404:
        # That the accounts can be read proves base URL and service right for any other endpoint.
        asked = (
            "base URL"
            if endpoint.strip("/") == settings.service.capacity_endpoint
            else f"endpoint '{endpoint}'"
        )
        return f"check the {asked} and the service ('{settings.service.name}') in {connection}"
    if answer.status_code in _NO_CREDITS:
        return "there are no credits, or no subscription; see the account at useapi.net"
    if answer.status_code == HTTPStatus.GONE:
        return "it has expired, and can't be had any more"
    if answer.status_code == HTTPStatus.UNPROCESSABLE_ENTITY:
        return "the prompt was moderated; change it"
    if answer.status_code == ACCOUNT_LOGGED_OUT:
        return "an account was logged out; renew its cookie at useapi.net"
    if 300 <= answer.status_code < 400:
        target = _target(answer, settings.token)
        return f"it redirects to {target}, which is not followed; check the base URL in {connection}"
    return None


def _target(answer: requests.Response, token: str) -> str:
    """Return the origin that an answer redirects to, without what may be secret in it or in the rest."""
    try:
        parts = urlsplit(hidden(answer.headers.get("Location", ""), token))
    except ValueError:
        return "a malformed address"
    host = parts.netloc.rpartition("@")[2]
    return shortened(f"{parts.scheme}://{host}") if host else "elsewhere"


def without_token(body: bytes, token: str) -> bytes:
    """Return an answer without the API token, should the service echo it."""
    if len(token) < _SHORTEST_TOKEN:
        return body
    for spelling in {token, quote(token), quote(token, safe="")}:
        body = body.replace(spelling.encode(), b"***")
    return body


def hidden(text: str, token: str) -> str:
    """Return a text without the API token, should it quote it; a library quotes bytes by their ``repr``."""
    for spelling in (repr(token.encode())[2:-1], token):
        text = without_token(text.encode(errors="replace"), spelling).decode()
    return text


def _content(body: bytes) -> Mapping[str, Any] | str:
    """Return an error's body: a JSON object, or its beginning as text."""
    try:
        answer = from_json(body)
    except ValueError:
        answer = None
    return answer if isinstance(answer, dict) else body[:2000].decode("utf-8", "replace")


def _detail(content: Mapping[str, Any] | str) -> str | None:
    """Return what an error's body says, shortened and on one line."""
    if isinstance(content, str):
        return "an HTML page" if content.lstrip().startswith("<") else shortened(content) or None
    # Some pass on the error of the service that they wrap: {"error": {"code": …, "message": …}}.
    return shortened(said(content.get("error") or content.get("message") or dict(content)))


def shortened(text: str) -> str:
    """Return a text on one line, and not too long."""
    text = one_line(text)
    return f"{text[:_LONGEST_DETAIL]}…" if len(text) > _LONGEST_DETAIL else text


def reason_phrase(status: int) -> str:
    """Return what a status is called."""
    if status == ACCOUNT_LOGGED_OUT:
        return "Account Logged Out"
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Unknown Status"


def _retry_after(header: str | None, content: Mapping[str, Any] | str) -> float | None:
    """Return the seconds that a ``Retry-After`` header or ``retryAfter`` in the body asks for."""
    if header is None:
        moment = None if isinstance(content, str) else instant(content.get("retryAfter"))
        return None if moment is None else max(0.0, (moment - clock.utc_now()).total_seconds())
    value = header.strip()
    if value.isascii() and value.isdigit():
        return float(value[:12])
    try:
        moment = parsedate_to_datetime(value)
        moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        return max(0.0, (moment - clock.utc_now()).total_seconds())
    except (ValueError, OverflowError):
        return None
