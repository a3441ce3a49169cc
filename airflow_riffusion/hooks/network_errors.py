"""Which error a request is that got no complete answer: what happened, where, and what to do."""

from __future__ import annotations

import re
import ssl
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING

import requests
from urllib3.exceptions import HTTPError, LocationValueError, ProxyError, ReadTimeoutError

from airflow_riffusion.exceptions import (
    RiffusionBadResponse,
    RiffusionError,
    RiffusionRejected,
    RiffusionUnavailable,
)
from airflow_riffusion.hooks.environment import authorities_variable, proxy_variable, unusable_file
from airflow_riffusion.hooks.errors import hidden, may_pass, reason_phrase, shortened
from airflow_riffusion.hooks.session import AnswerTooLarge

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airflow_riffusion.hooks.settings import ConnectionSettings

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
    if status is None or may_pass(status):
        return None
    detail = f"{status} {reason_phrase(status)}"
    fix = f"the user name and password in {variable}"
    if status != HTTPStatus.PROXY_AUTHENTICATION_REQUIRED:
        fix = f"{variable}, or put the host into NO_PROXY"
    message = f"{detail} from the proxy in {variable}, on the way to {url}: check {fix}."
    return RiffusionRejected(message, url=url, detail=detail)


def _detail(cause: BaseException, token: str, *, quoting: bool) -> str:
    """Return what a library said, without the token: a peer may have made it quote what it was sent."""
    kind = type(cause).__name__
    if refused := _TUNNEL_REFUSED.match(str(cause)):
        return f"{refused[1]} {reason_phrase(int(refused[1]))}"
    if not quoting and not isinstance(cause, OSError):
        return kind  # A proxy is sent its password, and some answers hold secrets.
    return shortened(hidden(f"{kind}: {cause}", token))


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and what it wraps, outermost first; urllib3 wraps in ``reason`` and in ``args``."""
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        yield current
        inner = [getattr(current, "reason", None), *current.args, current.__cause__, current.__context__]
        current = next((cause for cause in inner if isinstance(cause, BaseException)), None)
