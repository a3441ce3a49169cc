"""Which error a failed request is: what happened, where, what to do, and whether waiting helps."""

from __future__ import annotations

import re
import ssl
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit

import requests
from pydantic_core import from_json
from urllib3.exceptions import HTTPError, LocationValueError, ProxyError, ReadTimeoutError

from airflow_riffusion import clock
from airflow_riffusion.core.coerce import one_line
from airflow_riffusion.exceptions import (
    RiffusionBadResponse,
    RiffusionError,
    RiffusionRejected,
    RiffusionUnavailable,
)
from airflow_riffusion.hooks.environment import authorities_variable, proxy_variable, unusable_file
from airflow_riffusion.hooks.session import AnswerTooLarge
from airflow_riffusion.hooks.settings import CAPACITY_ENDPOINT

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airflow_riffusion.hooks.settings import ConnectionSettings

# https://useapi.net/docs/api-riffusion-v1: the service's own status for an account that was logged out.
COOKIE_EXPIRED = 596
# Not "full": https://useapi.net/docs names 412 for too few credits.
_NO_CREDITS = (HTTPStatus.PAYMENT_REQUIRED, HTTPStatus.PRECONDITION_FAILED)
_LONGEST_DETAIL = 200
_SHORTEST_TOKEN = 8
_TUNNEL_REFUSED = re.compile(r"Tunnel connection failed: (\d{3})\b")
# OpenSSL's reasons for an answer that is not TLS, or is TLS of a version that this machine does not speak.
_NO_TLS = {
    "WRONG_VERSION_NUMBER",
    "RECORD_LAYER_FAILURE",  # the same, from OpenSSL 3.2 on
    "PACKET_LENGTH_TOO_LONG",
    "HTTP_REQUEST",
    "HTTPS_PROXY_REQUEST",
    "UNKNOWN_PROTOCOL",
    "UNSUPPORTED_PROTOCOL",
    "TLSV1_ALERT_PROTOCOL_VERSION",
}
# Its reasons for a peer with which this machine will never agree on TLS.
_NO_AGREEMENT = {
    "SSLV3_ALERT_HANDSHAKE_FAILURE",
    "TLSV1_ALERT_INSUFFICIENT_SECURITY",
    "TLSV1_UNRECOGNIZED_NAME",
    "TLSV13_ALERT_CERTIFICATE_REQUIRED",
    "DH_KEY_TOO_SMALL",
    "UNSAFE_LEGACY_RENEGOTIATION_DISABLED",
}


@dataclass(frozen=True)
class _Peer:
    """What answered, or should have: the service, also through a proxy, or the proxy itself."""

    name: str  # in messages
    setting: str  # where its address comes from
    without_tls: str  # the address without TLS, or its beginning


def error_of_answer(
    answer: requests.Response, body: bytes, endpoint: str, settings: ConnectionSettings
) -> RiffusionError:
    """Return the error of an answer other than 2xx."""
    endpoint = endpoint.partition("?")[0]
    url = settings.url(endpoint)
    status = answer.status_code
    detail = _said(without_token(body, settings.token))
    message = f"{status} {_reason(status)} from {url}{f' ({detail})' if detail else ''}"
    if _may_pass(status):
        return RiffusionUnavailable(
            f"{message}.",
            status=status,
            url=url,
            detail=detail,
            retry_after=_retry_after(answer.headers.get("Retry-After")),
        )
    advice = _advice(answer, endpoint, settings)
    message = f"{message}: {advice}." if advice else f"{message}."
    return RiffusionRejected(message, status=status, url=url, detail=detail)


def error_of_network(
    error: Exception, url: str, settings: ConnectionSettings, *, quoting: bool = True
) -> RiffusionError:
    """Return the error of a request that got no complete answer."""
    url = url.partition("?")[0]
    if unusable := unusable_file(url):
        message = f"The request to {url} can't be sent: {unusable}. Correct the variable, or unset it."
        return RiffusionRejected(message, url=url, detail=unusable)
    causes = list(_causes(error))
    variable = proxy_variable(url)
    if variable and (error_of_proxy := _error_of_proxy(causes, url, variable)):
        return error_of_proxy
    peer = _peer(causes, url, variable, settings)
    for cause in causes:
        if isinstance(cause, AnswerTooLarge):
            return RiffusionBadResponse(
                f"The answer from {peer.name} is too large: {cause}. Check {peer.setting}.",
                url=url,
                detail=str(cause),
            )
        if isinstance(cause, ssl.SSLError) and (error_of_tls := _error_of_tls(cause, url, peer)):
            return error_of_tls
        if isinstance(cause, TimeoutError | requests.Timeout | ReadTimeoutError):
            detail = f"no complete answer within {settings.timeout:g} s"
            return RiffusionUnavailable(f"No answer from {peer.name} ({detail}).", url=url, detail=detail)
    detail = _detail(causes[-1], settings.token, quoting=quoting and variable is None)
    if isinstance(error, requests.ConnectionError | requests.exceptions.ChunkedEncodingError | HTTPError):
        return RiffusionUnavailable(f"No answer from {peer.name} ({detail}).", url=url, detail=detail)
    return RiffusionRejected(f"The request to {url} can't be sent ({detail}).", url=url, detail=detail)


def _peer(causes: list[BaseException], url: str, variable: str | None, settings: ConnectionSettings) -> _Peer:
    """Return the proxy if the request did not get past it, else the service."""
    if variable and any(isinstance(cause, ProxyError) for cause in causes):
        return _Peer(f"the proxy in {variable}", variable, "http://")
    through = f" through the proxy in {variable}" if variable else ""
    setting = f"the base URL in connection '{settings.conn_id}'"
    return _Peer(url + through, setting, settings.origin.replace("https", "http", 1))


def _error_of_tls(cause: ssl.SSLError, url: str, peer: _Peer) -> RiffusionRejected | None:
    """Return the error if later handshakes will fail, too."""
    detail = cause.reason
    if isinstance(cause, ssl.SSLCertVerificationError):
        detail = cause.verify_message
        trust = "make this machine trust its authority"
        if variable := authorities_variable(url):
            trust = f"add its authority to what {variable} names"
        said = f"The TLS certificate of {peer.name} can't be verified ({detail})"
        fix = f"{peer.setting}, or {trust}."
    elif detail in _NO_TLS:
        said = f"There is no TLS at {peer.name}, or none that this machine speaks ({detail})"
        fix = f"{peer.setting}. Is {peer.without_tls} meant?"
    elif detail in _NO_AGREEMENT:
        said = f"No TLS can be agreed on with {peer.name} ({detail})"
        fix = f"{peer.setting}."
    else:
        return None
    return RiffusionRejected(f"{said}: check {fix}", url=url, detail=detail)


def _error_of_proxy(causes: list[BaseException], url: str, variable: str) -> RiffusionRejected | None:
    """Return the error of a proxy that can't be used or says no; it does not quote the proxy's password."""
    if any(isinstance(cause, requests.exceptions.InvalidSchema) for cause in causes):
        detail = "is a SOCKS proxy, which is not supported: name an HTTP proxy, or put the host into NO_PROXY"
    elif any(isinstance(cause, requests.exceptions.InvalidURL | LocationValueError) for cause in causes):
        detail = (
            "is malformed: it must look like http://proxy.example.com:3128, with the special characters of a "
            "user name or password percent-encoded"
        )
    elif any(isinstance(cause, ProxyError) for cause in causes):
        return _error_of_refused_tunnel(causes[-1], url, variable)
    else:
        return None
    detail = f"the proxy in {variable} {detail}"
    return RiffusionRejected(f"The request to {url} can't be sent: {detail}.", url=url, detail=detail)


def _error_of_refused_tunnel(cause: BaseException, url: str, variable: str) -> RiffusionRejected | None:
    """Return the error of a proxy that says no, without its own words: they may repeat its password."""
    refused = _TUNNEL_REFUSED.match(str(cause))
    status = int(refused[1]) if refused else None
    if status is None or _may_pass(status):
        return None
    detail = f"{status} {_reason(status)}"
    fix = f"the user name and password in {variable}"
    if status != HTTPStatus.PROXY_AUTHENTICATION_REQUIRED:
        fix = f"{variable}, or put the host into NO_PROXY"
    message = f"{detail} from the proxy in {variable}, on the way to {url}: check {fix}."
    return RiffusionRejected(message, url=url, detail=detail)


def _detail(cause: BaseException, token: str, *, quoting: bool) -> str:
    """Return what a library said, without the token: a peer may have made it quote what it was sent."""
    kind = type(cause).__name__
    if refused := _TUNNEL_REFUSED.match(str(cause)):
        return f"{refused[1]} {_reason(int(refused[1]))}"
    if not quoting and not isinstance(cause, OSError):
        return kind  # A proxy is sent its password, and some answers hold secrets.
    return _shortened(_hidden(f"{kind}: {cause}", token))


def _may_pass(status: int) -> bool:
    return status in (408, 429) or (500 <= status < 600 and status != COOKIE_EXPIRED)


def _advice(answer: requests.Response, endpoint: str, settings: ConnectionSettings) -> str | None:
    connection = f"connection '{settings.conn_id}'"
    if answer.status_code in (401, 403):
        return f"check the API token in {connection}"
    if answer.status_code == 404:
        # That the accounts can be read proves base URL and service right for any other endpoint.
        asked = "base URL" if endpoint.strip("/") == CAPACITY_ENDPOINT else f"endpoint '{endpoint}'"
        return f"check the {asked} and the service ('{settings.service}') in {connection}"
    if answer.status_code in _NO_CREDITS:
        return "there are no credits, or no subscription; see the account at useapi.net"
    if answer.status_code == HTTPStatus.UNPROCESSABLE_ENTITY:
        return "the prompt was moderated; change it"
    if answer.status_code == COOKIE_EXPIRED:
        return "an account was logged out; renew its cookie at useapi.net"
    if 300 <= answer.status_code < 400:
        target = _target(answer, settings.token)
        return f"it redirects to {target}, which is not followed; check the base URL in {connection}"
    return None


def _target(answer: requests.Response, token: str) -> str:
    """Return the origin that an answer redirects to, without what may be secret in it or in the rest."""
    try:
        parts = urlsplit(_hidden(answer.headers.get("Location", ""), token))
    except ValueError:
        return "a malformed address"
    host = parts.netloc.rpartition("@")[2]
    return _shortened(f"{parts.scheme}://{host}") if host else "elsewhere"


def without_token(body: bytes, token: str) -> bytes:
    """Return an answer without the API token, should the service echo it."""
    if len(token) < _SHORTEST_TOKEN:
        return body
    for spelling in {token, quote(token), quote(token, safe="")}:
        body = body.replace(spelling.encode(), b"***")
    return body


def _hidden(text: str, token: str) -> str:
    """Return a text without the API token, should it quote it; a library quotes bytes by their ``repr``."""
    for spelling in (repr(token.encode())[2:-1], token):
        text = without_token(text.encode(errors="replace"), spelling).decode()
    return text


def _said(body: bytes) -> str | None:
    """Return what an error's body says, shortened and on one line."""
    try:
        answer = from_json(body)
    except ValueError:
        answer = None
    if isinstance(answer, dict) and isinstance(answer.get("error"), str):
        text = answer["error"]
    else:
        text = body[:2000].decode("utf-8", "replace")
        if text.lstrip().startswith("<"):
            return "an HTML page"
    return _shortened(text) or None


def _shortened(text: str) -> str:
    """Return a text on one line, and not too long."""
    text = one_line(text)
    return f"{text[:_LONGEST_DETAIL]}…" if len(text) > _LONGEST_DETAIL else text


def _reason(status: int) -> str:
    if status == COOKIE_EXPIRED:
        return "Account Logged Out"
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Unknown Status"


def _retry_after(value: str | None) -> float | None:
    """Return the seconds of a ``Retry-After`` header, a number or a date; None if it makes no sense."""
    if value is None:
        return None
    value = value.strip()
    if value.isascii() and value.isdigit():
        return float(value[:12])
    try:
        moment = parsedate_to_datetime(value)
        moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        return max(0.0, (moment - clock.utc_now()).total_seconds())
    except (ValueError, OverflowError):
        return None


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and what it wraps, outermost first; urllib3 wraps in ``reason`` and in ``args``."""
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        yield current
        inner = [getattr(current, "reason", None), *current.args, current.__cause__, current.__context__]
        current = next((cause for cause in inner if isinstance(cause, BaseException)), None)
