"""Parse single JSON values: what makes no sense is None, and nothing raises."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from urllib.parse import SplitResult, urlsplit, urlunsplit

if TYPE_CHECKING:
    from collections.abc import Collection

# No service has accounts with so many slots: a larger number is a fault, not capacity.
_MOST_SLOTS = 1_000_000
_MOST_SECONDS = 1e9
_ELAPSED = re.compile(r"(?:([0-9]{1,6}):)?([0-9]{1,4}):([0-9]{1,2})")
_MOST_NAMES = 20
_WHOLE_NUMBER = re.compile(r"\s*[+-]?[0-9]{1,18}\s*")


def count(value: object) -> int | None:
    """Return a number of slots, a negative one as 0; None if it makes no sense as such."""
    if isinstance(value, str):
        value = int(value) if _WHOLE_NUMBER.fullmatch(value) else None
    elif isinstance(value, float):
        value = int(value) if value.is_integer() else None
    if isinstance(value, bool) or not isinstance(value, int) or value > _MOST_SLOTS:
        return None
    return max(0, value)


def positive(value: object) -> float | None:
    """Return a number above 0; None if it is none."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < _MOST_SECONDS:
        return None
    return float(value)


def text(value: object) -> str | None:
    """Return an id or a reference as text; kling's job ids are numbers."""
    if isinstance(value, int) and not isinstance(value, bool):
        return shown(value)
    if not isinstance(value, str) or not value:
        return None
    # Half a surrogate pair is a valid JSON string that neither a database nor a log can hold.
    return value.encode("utf-8", "replace").decode()


def instant(value: object) -> datetime | None:
    """Return an ISO 8601 time, in UTC unless it says otherwise."""
    if not isinstance(value, str):
        return None
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def duration(value: object) -> timedelta | None:
    """Return a duration written as ``MM:SS`` or ``HH:MM:SS``."""
    match = _ELAPSED.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        return None
    hours, minutes, seconds = (int(part or 0) for part in match.groups())
    return timedelta(hours=hours, minutes=minutes, seconds=seconds)


def web_address(value: object) -> SplitResult | None:
    """Return the parts of an http(s) address; None if it is none."""
    if not isinstance(value, str):
        return None
    try:
        parts = urlsplit(value)
    except ValueError:
        return None
    has_host = bool(parts.netloc.rpartition("@")[2])
    return parts if parts.scheme in ("http", "https") and has_host else None


def without_secrets(value: object) -> str | None:
    """Return a callback address without user info, query and fragment; None if it is no http(s) address."""
    if (parts := web_address(value)) is None:
        return None
    host = parts.netloc.rpartition("@")[2]
    return text(urlunsplit((parts.scheme, host, parts.path, "", "")))


def names(user_ids: Collection[str]) -> str:
    """Return accounts' ids for a message: printable, and not too many."""
    some = list(user_ids)[:_MOST_NAMES]
    listed = (name if name.isprintable() and len(name) <= 60 else shown(name) for name in some)
    more = len(user_ids) - len(some)
    return ", ".join(listed) + (f" and {more} more" if more else "")


def shown(value: object) -> str:
    """Return any JSON value for a message, short and printable."""
    if isinstance(value, dict | list):
        return "an object" if isinstance(value, dict) else "a list"
    if isinstance(value, int) and abs(value) > 10**30:  # Python refuses to print very long numbers
        return "a huge number"
    text = ascii(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def one_line(text: str) -> str:
    """Return a text without line breaks and without what a terminal would interpret."""
    return " ".join("".join(char if char.isprintable() else " " for char in text).split())
