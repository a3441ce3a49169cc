"""What an Airflow connection of type ``riffusion`` says, checked before any request is sent."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any
from urllib.parse import SplitResult, urlsplit

from airflow_riffusion.exceptions import RiffusionRejected
from airflow_riffusion.request import checked_endpoint, seconds

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Connection

DEFAULT_HOST = "https://api.useapi.net"
DEFAULT_TIMEOUT = 30.0
LONGEST_TIMEOUT = 600.0
SERVICES = ("riffusion", "tempolor", "kling", "ltxstudio")


@dataclass(frozen=True)
class ConnectionSettings:
    """
    A connection's settings, as the hook uses them.

    :param conn_id: the connection they came from.
    :param origin: scheme, host and port of the service, for example ``https://api.useapi.net``.
    :param token: the API token, whole.
    :param service: one of :data:`SERVICES`.
    :param timeout: seconds that one request may take in all.
    :param separate_triggerers: whether each triggerer grants slots without asking the others.
    """

    conn_id: str
    origin: str
    token: str = field(repr=False)
    service: str
    timeout: float
    separate_triggerers: bool = False

    @classmethod
    def of(cls, conn_id: str, connection: Connection) -> ConnectionSettings:
        """
        Read and check a connection.

        :param conn_id: the id it was looked up by.
        :param connection: what Airflow has stored under it.
        :raises RiffusionRejected: if a setting can't work, naming the connection and the setting.
        """
        try:
            extra = _extra(connection.extra)
            return cls(
                conn_id=conn_id,
                origin=_origin(connection.host, connection.port, _flag("allow_http", extra)),
                token=_token(connection.password),
                service=_service(extra.get("service")),
                timeout=_timeout(extra.get("timeout")),
                separate_triggerers=_flag("separate_triggerers", extra),
            )
        except ValueError as error:
            raise RiffusionRejected(f"Connection '{conn_id}': {error}") from None

    @property
    def account_field(self) -> str:
        """What a submission calls the account: ``user_id``, or ``email`` on kling and ltxstudio."""
        return "email" if self.service in ("kling", "ltxstudio") else "user_id"

    def url(self, endpoint: str) -> str:
        """
        Return the address of one of the service's endpoints.

        :param endpoint: relative to ``v1/<service>/``; it may have a query string.
        :raises ValueError: if it leads elsewhere.
        """
        return f"{self.origin}/v1/{self.service}/{checked_endpoint(endpoint).lstrip('/')}"


def _extra(extra: str | None) -> dict[str, Any]:
    # Not Connection.extra_dejson: it turns a typing error into an empty dict, and calls the supervisor
    # to mask secrets, which blocks an event loop.
    try:
        fields = json.loads(extra) if extra else {}
    except ValueError:
        raise ValueError("the extra field is not JSON") from None
    if not isinstance(fields, dict):
        raise ValueError("the extra field must be a JSON object")
    return fields


def _token(password: str | None) -> str:
    if not password:
        raise ValueError("the API token is missing; it belongs into the password field")
    # The HTTP library would print such a token in its error.
    if not (password.isascii() and password.isprintable()) or " " in password:
        raise ValueError("the API token has a space, a control or a non-ASCII character; copy it again")
    return password


def _origin(host: str | None, port: int | None, allow_http: bool) -> str:
    host = (host or DEFAULT_HOST).strip()
    parts = urlsplit(host if "://" in host else f"https://{host}")
    try:
        name, own_port = parts.hostname, parts.port
    except ValueError:
        raise ValueError("the port in the base URL must be a number from 1 to 65535") from None
    if parts.scheme not in ("http", "https") or not name or not name.isascii() or " " in name:
        raise ValueError("the base URL must look like https://api.useapi.net")
    if parts.path.strip("/") or parts.query or parts.fragment or "@" in parts.netloc:
        raise ValueError("the base URL must not have a path, a query or a user name: only scheme, host, port")
    if parts.scheme == "http" and not allow_http and not _is_this_machine(name):
        raise ValueError("plain http would send the API token unencrypted; use https, or set allow_http")
    return _without_default_port(parts, own_port or port)


def _without_default_port(parts: SplitResult, port: int | None) -> str:
    name = parts.hostname or ""
    host = f"[{name}]" if ":" in name else name
    if port is None or port == 0 or port == {"http": 80, "https": 443}[parts.scheme]:
        return f"{parts.scheme}://{host}"
    return f"{parts.scheme}://{host}:{port}"


def _is_this_machine(name: str) -> bool:
    try:
        return ip_address(name).is_loopback
    except ValueError:
        return name == "localhost" or name.endswith(".localhost")


def _service(service: object) -> str:
    if service in (None, ""):
        return SERVICES[0]
    if service not in SERVICES:
        raise ValueError(f"service must be one of {', '.join(SERVICES)}, not {service!r}")
    return str(service)


def _timeout(timeout: object) -> float:
    if timeout in (None, ""):
        return DEFAULT_TIMEOUT
    if isinstance(timeout, str):  # a connection URI has text only
        try:
            timeout = float(timeout)
        except ValueError:
            raise ValueError(f"timeout must be a number of seconds, not {timeout!r}") from None
    number = seconds("timeout", timeout)
    if number > LONGEST_TIMEOUT:
        raise ValueError(f"timeout must be at most {LONGEST_TIMEOUT:g} seconds, not {number:g}")
    return number


def _flag(name: str, extra: dict[str, Any]) -> bool:
    value = extra.get(name)
    flags = {"true": True, "false": False, "": False}
    if isinstance(value, str) and value.strip().lower() in flags:  # a connection URI has text only
        return flags[value.strip().lower()]
    if value is not None and not isinstance(value, bool):
        raise ValueError(f"{name} must be true or false, not {value!r}")
    return bool(value)
