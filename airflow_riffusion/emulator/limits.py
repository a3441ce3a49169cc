"""What the emulator's arguments may be. Each error begins with the name of the argument."""

from __future__ import annotations

import ipaddress
import socket
from contextlib import suppress

MAX_ACCOUNTS = 1000
MAX_SLOTS = 10  # of an account, on most services
MAX_JOB_SECONDS = 7 * 24 * 3600
MAX_OTHER_CLIENTS = 1000
MAX_PAUSE_SECONDS = 3600


def check_between(name: str, value: float, least: int, most: int) -> None:
    """Refuse a number outside of its range."""
    if not least <= value <= most:
        raise ValueError(f"{name}: must be between {least} and {most}, not {value}")


def check_job_seconds(seconds: float) -> None:
    """Refuse a time that no job may take."""
    if not 0 < seconds <= MAX_JOB_SECONDS:
        raise ValueError(
            f"job_seconds: must be above 0 and at most {MAX_JOB_SECONDS} (a week), not {seconds}"
        )


def check_token(token: str | None) -> None:
    """Refuse a token that no ``Authorization`` header can carry."""
    if token is not None and not (token and token.isascii() and token.isprintable() and " " not in token):
        raise ValueError("token: must be printable ASCII without spaces, and not empty")


def check_reach(host: str, token: str | None) -> None:
    """Refuse to serve other machines without a token."""
    loopback = host == "localhost"
    with suppress(ValueError):
        loopback = loopback or ipaddress.ip_address(host).is_loopback
    if token is None and not loopback:
        raise ValueError(f"host: {host!r} can be reached from other machines, so a token is needed as well")


def plain_host(host: str) -> str:
    """Return a host as sockets and URLs want it, such as ``::1``, from a spelling such as ``[::1]``."""
    plain = host.strip().removeprefix("[").removesuffix("]").removesuffix(".").lower()
    with suppress(ValueError):
        address = ipaddress.ip_address(plain)
        # A socket for IPv6 alone can't listen on an IPv4 address.
        return str(getattr(address, "ipv4_mapped", None) or address)
    if ":" in plain or "/" in plain:
        raise ValueError(f"host: must be an address or a name, without scheme and port, not {host!r}")
    with suppress(OSError, UnicodeError):
        (*_, (numeric, *_)), *_ = socket.getaddrinfo(plain, None, flags=socket.AI_NUMERICHOST)
        return str(numeric)
    return plain
