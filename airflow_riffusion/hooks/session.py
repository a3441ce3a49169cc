"""
A ``requests`` session that can't be held up, flooded or made to leak the API token.

``requests`` limits the time between two bytes, not the time of an answer, and an answer's size not at
all: a server that sends one header a second, or an endless line, holds its caller as long as it likes.
"""

from __future__ import annotations

import io
import time
from http.client import HTTPResponse
from typing import TYPE_CHECKING, Any, TypeVar, cast
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter
from requests.auth import AuthBase
from requests.exceptions import InvalidProxyURL, InvalidSchema
from requests.utils import prepend_scheme_if_needed, select_proxy
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import ConnectionPool, HTTPConnectionPool, HTTPSConnectionPool
from urllib3.util import Timeout, parse_url

from airflow_riffusion import __version__
from airflow_riffusion.hooks.settings import can_be_a_host

if TYPE_CHECKING:
    from collections.abc import Mapping
    from socket import SocketIO, socket

    from urllib3.poolmanager import PoolManager, ProxyManager

    from airflow_riffusion.hooks.settings import ConnectionSettings

LARGEST_ANSWER = 4 * 1024 * 1024
_LARGEST_HEADERS = 64 * 1024

_Manager = TypeVar("_Manager", bound="PoolManager")


class AnswerTooLarge(OSError):
    """An answer went on after :data:`LARGEST_ANSWER` bytes."""


class _BoundedReader(io.RawIOBase):
    """Reads an answer, headers and body, from a socket until its time or its size is used up."""

    def __init__(self, raw: SocketIO, connection: socket) -> None:
        self._raw = raw
        self._connection = connection
        # urllib3 has just set the socket's timeout to what is left of the request's total.
        timeout = connection.gettimeout()
        self._deadline = None if timeout is None else time.monotonic() + timeout
        self._left = LARGEST_ANSWER + _LARGEST_HEADERS

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        if self._deadline is not None:
            left = self._deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError("timed out")
            self._connection.settimeout(left)
        count = self._raw.readinto(buffer)
        self._left -= count or 0
        if self._left < 0:
            raise AnswerTooLarge(f"more than {LARGEST_ANSWER // 1024**2} MiB")
        return count

    def close(self) -> None:
        self._raw.close()
        super().close()


class _BoundedResponse(HTTPResponse):
    def __init__(self, sock: socket, *args: Any, **kwargs: Any) -> None:
        super().__init__(sock, *args, **kwargs)
        raw = cast("SocketIO", self.fp.detach())
        self.fp = io.BufferedReader(_BoundedReader(raw, sock))


class _HTTPConnection(HTTPConnection):
    response_class = _BoundedResponse


class _HTTPSConnection(HTTPSConnection):
    response_class = _BoundedResponse


class _HTTPPool(HTTPConnectionPool):
    ConnectionCls = _HTTPConnection


class _HTTPSPool(HTTPSConnectionPool):
    ConnectionCls = _HTTPSConnection


class _BoundedAdapter(HTTPAdapter):
    """Gives every request a total time, also those of whoever borrowed the session."""

    def __init__(self, timeout: float) -> None:
        self._timeout = timeout
        super().__init__()

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        _use_bounded_pools(self.poolmanager)

    def proxy_manager_for(self, *args: Any, **kwargs: Any) -> ProxyManager:
        manager: ProxyManager = super().proxy_manager_for(*args, **kwargs)
        return _use_bounded_pools(manager)

    def get_connection_with_tls_context(
        self,
        request: requests.PreparedRequest,
        verify: bool | str | None,
        proxies: Mapping[str, str] | None = None,
        cert: Any = None,
    ) -> ConnectionPool:
        """Turn all that a malformed proxy makes requests raise into one error, which doesn't quote it."""
        try:
            proxy = select_proxy(request.url or "", proxies) or ""
            if not urlsplit(proxy).scheme.startswith("socks"):
                _check_proxy(proxy)
                return super().get_connection_with_tls_context(request, verify, proxies, cert)
        except (ValueError, TypeError):
            raise InvalidProxyURL("the proxy is malformed", request=request) from None
        # PySocks has connections of its own, whose answers would not be bounded.
        raise InvalidSchema("SOCKS proxies are not supported", request=request)

    def send(
        self,
        request: requests.PreparedRequest,
        stream: bool = False,
        timeout: Any = None,
        verify: bool | str = True,
        cert: Any = None,
        proxies: Mapping[str, str] | None = None,
    ) -> requests.Response:
        if not isinstance(timeout, Timeout):
            timeout = Timeout(total=timeout if isinstance(timeout, int | float) else self._timeout)
        return super().send(request, stream, timeout, verify, cert, proxies)


def _check_proxy(proxy: str) -> None:
    """Raise ValueError unless a proxy is scheme, user info, host and port, and its host can exist."""
    # Of an address with more than that, requests would use the parts that it understands.
    if proxy:
        parts = parse_url(prepend_scheme_if_needed(proxy, "http"))  # type: ignore[no-untyped-call]
        more = (parts.path or "").strip("/") or parts.query or parts.fragment
        if more or not can_be_a_host((parts.host or "").strip("[]")):
            raise ValueError


def _use_bounded_pools(manager: _Manager) -> _Manager:
    manager.pool_classes_by_scheme = {"http": _HTTPPool, "https": _HTTPSPool}
    return manager


class _Session(requests.Session):
    """Follows no redirect, and doesn't look into one either: requests would unpack its body unasked."""

    def get_redirect_target(self, resp: requests.Response) -> None:  # noqa: ARG002
        return None


class _BearerAuth(AuthBase):
    """Signs requests to one origin, and nothing else: a borrowed session can't carry the token away."""

    def __init__(self, settings: ConnectionSettings) -> None:
        self._origin = settings.origin
        self._token = settings.token

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        parts = urlsplit(request.url or "")
        if f"{parts.scheme}://{parts.netloc}" == self._origin:
            request.headers["Authorization"] = f"Bearer {self._token}"
        return request


def open_session(settings: ConnectionSettings) -> requests.Session:
    """Return a session for one connection: signed for its origin, bounded in time and size, no redirects."""
    session = _Session()
    adapter = _BoundedAdapter(settings.timeout)
    session.mount("https://", adapter)
    session.mount("http://", adapter)
    session.auth = _BearerAuth(settings)
    session.headers["User-Agent"] = f"airflow-riffusion/{__version__}"
    session.headers["Accept"] = "application/json"
    session.headers["Accept-Encoding"] = "identity"  # no compression, so no compression bombs
    # A proxy for plain http would read the token.
    session.trust_env = settings.origin.startswith("https://")
    return session
