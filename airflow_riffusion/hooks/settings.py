"""What an Airflow connection of type ``riffusion`` says, checked before any request is sent."""

from __future__ import annotations

import json
import re
import socket
from dataclasses import dataclass, field
from difflib import get_close_matches
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any
from urllib.parse import SplitResult, urlsplit

from airflow_riffusion.core.arguments import checked_endpoint, seconds, whole_number
from airflow_riffusion.exceptions import RiffusionRejected
from airflow_riffusion.services import DEFAULT_SERVICE, GONE, SERVICES

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Connection

    from airflow_riffusion.services.base import Service

DEFAULT_HOST = "https://api.useapi.net"
DEFAULT_TIMEOUT = 30.0
LONGEST_TIMEOUT = 600.0
MOST_SLOTS = 100
EXTRAS = ("service", "max_jobs", "timeout", "allow_http", "separate_triggerers")
_LONGEST_HOST = 253
_LABEL = re.compile("[a-z0-9_-]{1,63}")


@dataclass(frozen=True)
class ConnectionSettings:
    """A connection's settings, as the hook uses them."""

    conn_id: str
    origin: str  # scheme, host and port of the service, for example https://api.useapi.net
    token: str = field(repr=False)
    service: Service
    timeout: float  # seconds that one request may take in all
    max_jobs: int | None = None  # slots of an account, where the service does not say it
    separate_triggerers: bool = False  # whether each triggerer grants slots without asking the others

    @classmethod
    def of(cls, conn_id: str, connection: Connection) -> ConnectionSettings:
        """Read and check a connection; a RiffusionRejected names the setting that can't work."""
        try:
            _no_login(connection.login)
            _no_schema(connection.schema)
            extra = _extra(connection.extra)
            service = _service(extra.get("service"))
            return cls(
                conn_id=conn_id,
                origin=_origin(connection.host, connection.port, _flag("allow_http", extra)),
                token=_token(connection.password),
                service=service,
                timeout=_timeout(extra.get("timeout")),
                max_jobs=_max_jobs(extra.get("max_jobs"), service),
                separate_triggerers=_flag("separate_triggerers", extra),
            )
        except ValueError as error:
            raise RiffusionRejected(f"Connection '{conn_id}': {error}") from None

    def url(self, endpoint: str) -> str:
        """Return the address of one of the service's endpoints; ValueError if it leads elsewhere."""
        return f"{self.origin}/{self.service.path}/{checked_endpoint(endpoint).lstrip('/')}"


def _extra(extra: str | None) -> dict[str, Any]:
    # Not Connection.extra_dejson: it turns a typing error into an empty dict, and calls the supervisor
    # to mask secrets, which blocks an event loop.
    try:
        fields = json.loads(extra) if extra else {}
    except ValueError:
        raise ValueError("the extra field is not JSON") from None
    if not isinstance(fields, dict):
        raise ValueError("the extra field must be a JSON object")
    for name in fields:
        if name not in EXTRAS:
            raise ValueError(f"there is no extra field {name!r:.60}; {_meant(name)}")
    return fields


def _meant(name: str) -> str:
    # Scripts may still call it "extra__riffusion__service", as Airflow before 2.3 stored it.
    near = get_close_matches(name.lower().rpartition("__")[2], EXTRAS, n=1)
    return f"did you mean '{near[0]}'?" if near else f"there are {', '.join(EXTRAS)}"


def _no_login(login: str | None) -> None:
    # Not quoted: it may be the token.
    if login:
        raise ValueError(
            "it has a login, which must be empty: the whole API token belongs in the password field; in a "
            "connection URI its ':' is written %3A"
        )


def _no_schema(schema: str | None) -> None:
    # Not quoted either. In a connection URI it is the path.
    if schema:
        raise ValueError(
            "it has a schema, which must be empty: the service belongs in the extra field 'service', https "
            "or http into the host; a connection URI has no path"
        )


def _token(password: str | None) -> str:
    if not password:
        raise ValueError("the API token is missing; it belongs in the password field")
    # The HTTP library would print such a token in its error.
    if not (password.isascii() and password.isprintable()) or " " in password:
        raise ValueError("the API token has a space, a control or a non-ASCII character; copy it again")
    return password


def _origin(host: str | None, port: int | None, allow_http: bool) -> str:
    host = (host or DEFAULT_HOST).strip()
    try:
        parts = urlsplit(host if "://" in host else f"https://{host}")
    except ValueError:
        raise ValueError("the base URL must look like https://api.useapi.net") from None
    name = parts.hostname
    try:
        own_port = parts.port
    except ValueError:
        own_port = -1
    if own_port is not None and port and port != own_port:
        raise ValueError("the base URL and the port field have different ports: give it in one of them")
    if own_port is None:
        own_port = port or None  # Airflow's form sends 0 for none
    if own_port is not None and not 0 < own_port < 65536:
        raise ValueError("the port in the base URL must be a number from 1 to 65535")
    if parts.scheme not in ("http", "https") or not name or not name.isascii() or " " in name:
        raise ValueError("the base URL must look like https://api.useapi.net")
    if parts.path.strip("/") or parts.query or parts.fragment or "@" in parts.netloc:
        raise ValueError("the base URL must not have a path, a query or a user name: only scheme, host, port")
    if not can_be_a_host(name):
        raise ValueError(
            "the base URL has a host that can't exist: the parts between its dots have 1 to 63 of a-z, 0-9, "
            f"'-' and '_', and all of them at most {_LONGEST_HOST}, or it is an IP address"
        )
    if parts.scheme == "http" and not allow_http and not _is_this_machine(name):
        raise ValueError("plain http would send the API token unencrypted; use https, or set allow_http")
    return _without_default_port(parts, own_port)


def can_be_a_host(name: str) -> bool:
    """Return whether a name can be looked up at all; whether there is such a host, only DNS knows."""
    name = name.removesuffix(".")
    try:
        if ":" in name:
            return bool(ip_address(name))
        if not name.strip("0123456789."):
            return bool(socket.inet_aton(name))  # as the operating system reads it: 127.1 is one, too
    except (ValueError, OSError):
        return False
    return len(name) <= _LONGEST_HOST and all(map(_LABEL.fullmatch, name.split(".")))


def _without_default_port(parts: SplitResult, port: int | None) -> str:
    name = parts.hostname or ""
    host = f"[{name}]" if ":" in name else name
    if not port or port == {"http": 80, "https": 443}[parts.scheme]:
        return f"{parts.scheme}://{host}"
    return f"{parts.scheme}://{host}:{port}"


def _is_this_machine(name: str) -> bool:
    try:
        return ip_address(name).is_loopback
    except ValueError:
        return name == "localhost" or name.endswith(".localhost")


def _service(name: object) -> Service:
    if name in (None, ""):
        return DEFAULT_SERVICE
    if isinstance(name, str) and name in GONE:
        raise ValueError(f"there is no service {name}: {GONE[name]}; {', '.join(SERVICES)} are there")
    if not isinstance(name, str) or name not in SERVICES:
        raise ValueError(f"service must be one of {', '.join(SERVICES)}, not {name!r:.60}")
    return SERVICES[name]


def _max_jobs(value: object, service: Service) -> int | None:
    if value in (None, ""):
        if not service.says_slots:
            raise ValueError(
                f"{service.title} does not say how many slots an account has, so the extra field 'max_jobs' "
                "must"
            )
        return service.slots_by_default
    number = whole_number("max_jobs", value)
    if number > MOST_SLOTS:
        raise ValueError(f"max_jobs must be at most {MOST_SLOTS}, not {number}")
    return number


def _timeout(timeout: object) -> float:
    if timeout in (None, ""):
        return DEFAULT_TIMEOUT
    if isinstance(timeout, str):  # a connection URI has text only
        try:
            timeout = float(timeout)
        except ValueError:
            raise ValueError(f"timeout must be a number of seconds, not {timeout!r:.60}") from None
    number = seconds("timeout", timeout)
    if number > LONGEST_TIMEOUT:
        raise ValueError(f"timeout must be at most {LONGEST_TIMEOUT:g} seconds, not {number:g}")
    return number


def _flag(name: str, extra: dict[str, Any]) -> bool:
    value = extra.get(name)
    # A connection URI has text only, and the Test button of Airflow 2 sends "y" for a ticked box.
    flags = {"true": True, "y": True, "false": False, "": False}
    if isinstance(value, str) and value.strip().lower() in flags:
        return flags[value.strip().lower()]
    if value is not None and not isinstance(value, bool):
        raise ValueError(f"{name} must be true or false, not {value!r:.60}")
    return bool(value)
