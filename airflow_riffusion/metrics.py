"""
Metrics, sent with Airflow's own (``[metrics]`` in its configuration): one function per event.

Each metric is sent as Airflow sends its own: once with tags, and once with their values in its name (unless
``legacy_names_on`` is off), for a statsd without tags. A metric that can't be sent never raises an error.
"""

from __future__ import annotations

import logging
import re
import socket
import time
from contextlib import contextmanager
from datetime import timedelta
from functools import cache
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from airflow_riffusion.exceptions import RiffusionBadResponse, RiffusionError, RiffusionRejected

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airflow_riffusion.core.capacity import Capacity
    from airflow_riffusion.core.request import Grant

log = logging.getLogger(__name__)

# Other characters are replaced: statsd allows no more, and a dot separates the parts of a name.
# Two parts, a connection's and an account's id, must fit into the 255 characters that OpenTelemetry allows
# (63 on Airflow 2.11, too few for a UUID: there, the long name is left out).
_ODD_CHARACTERS = re.compile(r"[^A-Za-z0-9_-]")
_LONGEST_PART = 80
_LABELS = r"[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*"
_ADDRESS = re.compile(f"{_LABELS}@{_LABELS}")
_DIGITS = 8  # of a hash

# The gauges that were sent last for each connection: a gauge keeps its value until another is sent.
_gauges_sent: dict[str, set[tuple[str, str]]] = {}


def reading(conn_id: str, capacity: Capacity) -> None:
    """Send each account's slots, and zeros once for an account that is gone."""
    numbers = {
        (name, account.user_id): number
        for account in capacity.accounts
        for name, number in (
            ("riffusion.slots.available", account.available),
            ("riffusion.slots.executing", account.executing),
            ("riffusion.slots.max", account.max_jobs),
        )
        if number is not None
    }
    gone = dict.fromkeys(_gauges_sent.get(conn_id, set()) - numbers.keys(), 0)
    _gauges_sent[conn_id] = set(numbers)
    for (name, user_id), number in (numbers | gone).items():
        _send("gauge", name, number, {"conn_id": conn_id, "account": user_id})


def gate(conn_id: str, *, waiting: int, held: int) -> None:
    """Send how many tasks wait at this triggerer's gate, and how many slots it holds for granted ones."""
    tags = {"conn_id": conn_id, "hostname": _hostname()}
    _send("gauge", "riffusion.gate.waiting", waiting, tags)
    _send("gauge", "riffusion.gate.held", held, tags)


def granted(conn_id: str, grant: Grant) -> None:
    """Count a grant, and send how long its task waited."""
    tags = {"conn_id": conn_id}
    _send("incr", "riffusion.grants", 1, tags)
    _send("timing", "riffusion.gate.wait", timedelta(seconds=grant.waited_seconds), tags)


@contextmanager
def request(conn_id: str) -> Iterator[None]:
    """Send how long a request takes, and count it as an error if it fails."""
    began = time.monotonic()
    try:
        yield
    except RiffusionError as error:
        request_failed(conn_id, error)
        raise
    finally:
        took = timedelta(seconds=time.monotonic() - began)
        _send("timing", "riffusion.request", took, {"conn_id": conn_id})


def request_failed(conn_id: str, error: RiffusionError) -> None:
    """Count a request without a good answer, by kind and status."""
    tags = {"conn_id": conn_id, "kind": _kind(error), "status": str(error.status or "none")}
    _send("incr", "riffusion.request.error", 1, tags)


def _kind(error: RiffusionError) -> str:
    if isinstance(error, RiffusionRejected):
        return "rejected"
    return "bad_response" if isinstance(error, RiffusionBadResponse) else "unavailable"


def _send(method: str, name: str, value: Any, tags: dict[str, str]) -> None:
    try:
        tags = {tag: _clean(text) for tag, text in tags.items()}
        send = getattr(_stats(), method)
        send(name, value, tags=tags)
        if _has_long_names():
            send(".".join([name, *tags.values()]), value)
    except Exception as error:  # noqa: BLE001 - a metric must fail no wait and no request
        _log_once(error)


def _clean(text: str) -> str:
    """
    Return a part of a metric's name for a text: unique to it, and the same in every process.

    It is the text itself, or an e-mail address with "__" for "@" and "_" for dots. Other texts get a hash at
    the end, as two of them may become the same name.
    """
    name = _ODD_CHARACTERS.sub("_", text.replace("@", "__"))
    stands_for_one = _ADDRESS.fullmatch(text) if "__" in name else name == text
    if stands_for_one and len(name) <= _LONGEST_PART:
        return name
    digits = sha256(text.encode()).hexdigest()[:_DIGITS]
    return f"{name[: _LONGEST_PART - _DIGITS - 1]}_{digits}"


@cache
def _stats() -> Any:
    from airflow.providers.common.compat.sdk import Stats

    return Stats


@cache
def _has_long_names() -> bool:
    from airflow.providers.common.compat.sdk import conf

    return bool(conf.getboolean("metrics", "legacy_names_on", fallback=True))


@cache
def _hostname() -> str:
    # Airflow's own asks DNS for the full name, which may take long. A host's name has no "_", so that "_" can
    # stand for its dots.
    return socket.gethostname().replace(".", "_")


_logged: set[type[Exception]] = set()


def _log_once(error: Exception) -> None:
    """Log each type of error once."""
    if type(error) not in _logged:
        _logged.add(type(error))
        log.warning("A metric can't be sent: %r", error)
