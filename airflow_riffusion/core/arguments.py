"""
Checks of the arguments of operators, sensors and triggers, when they are given and once they are rendered.

Pure: no Airflow, no clock, no I/O.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping, MappingView, Set
from datetime import timedelta
from functools import partial
from typing import Any
from urllib.parse import unquote

_LONGEST = timedelta.max.total_seconds()
_TEXT = str | bytes | bytearray | memoryview
_WHOLE_NUMBER = re.compile(r"([0-9]{1,9})(?:\.0+)?")


def whole_number(name: str, value: object) -> int:
    """
    Return a positive whole number; a template may have rendered it to text, or divided to get it.

    :raises ValueError: for any other value.
    """
    number = value
    if isinstance(value, str) and (match := _WHOLE_NUMBER.fullmatch(value.strip())):
        number = int(match[1])
    elif isinstance(value, float) and value.is_integer():
        number = int(value)
    if isinstance(number, bool) or not isinstance(number, int) or number < 1:
        raise ValueError(f"{name} must be a positive whole number, not {value!r:.200}")
    return number


def identifier(name: str, value: object) -> str:
    """
    Return an id as text. A whole number is one, too: kling uses them, and native templates make them of text.

    :raises ValueError: for any other value, or an empty one.
    """
    text = str(value) if type(value) is int else value
    if not isinstance(text, str) or not text:
        raise ValueError(f"{name} must be text, not {value!r:.200}")
    return text


def reference(name: str, value: object) -> str:
    """
    Return a ``replyRef`` as text; a whole number is one, too.

    A number with a fraction is not: native templates make the same one of "2026.1" and "2026.10", so two
    jobs would get one reference.

    :raises ValueError: for any other value, or an empty one.
    """
    if isinstance(value, float):
        raise ValueError(
            f"{name} must be text, not {value!r}: a native template made a number of it; begin it with a "
            "letter"
        )
    return identifier(name, value)


def plain(value: object) -> Any:
    """
    Convert other tasks' outputs in a value, at any depth, to what JSON knows.

    Airflow gives the outputs of a mapped task as a lazy sequence, and a native template gives generators and
    views of a dict: any collection or iterator that is no text becomes a list. Anything else is left as it
    is.
    """
    if isinstance(value, Mapping):
        return {name: plain(item) for name, item in value.items()}
    if isinstance(value, Set) and not isinstance(value, MappingView):  # a view has an order
        value = sorted(value, key=str)
    if isinstance(value, Collection | Iterator) and not isinstance(value, _TEXT):
        return [plain(item) for item in value]
    return value


def seconds(name: str, value: object, *, zero: bool = False) -> float:
    """
    Return a finite number of seconds.

    :raises ValueError: for any other value.
    """
    number = value.total_seconds() if isinstance(value, timedelta) else value
    if (
        isinstance(number, bool)
        or not isinstance(number, int | float)
        or not number < _LONGEST  # not a number, too; as a float it is too long for a timedelta
        or number < 0
        or (number == 0 and not zero)
    ):
        bound = "0 or more" if zero else "more than 0"
        raise ValueError(f"{name} must be seconds or a timedelta, finite and {bound}, not {value!r:.200}")
    return float(number)


def boolean(name: str, value: object) -> bool:
    """
    Return a boolean; the text ``"false"`` would count as true.

    :raises ValueError: for any other value.
    """
    if not isinstance(value, bool):
        raise ValueError(f"{name} must be True or False, not {value!r:.200}")
    return value


def conn_id(value: object) -> str:
    """
    Return a connection's id.

    :raises ValueError: if it is neither text nor a whole number, or empty.
    """
    try:
        return identifier("riffusion_conn_id", value)
    except ValueError:
        raise ValueError(f"riffusion_conn_id must be the id of a connection, not {value!r:.200}") from None


def checked_endpoint(value: object) -> str:
    """
    Return an endpoint of the service.

    :raises ValueError: if it leads elsewhere.
    """
    quoted = value.partition("?")[0] if isinstance(value, str) else ""
    path = unquote(quoted)
    # A quoted "#" is part of an id: an e-mail address may have one.
    leads_out = "://" in path or ".." in path.replace("\\", "/").split("/") or set(quoted) & set("#\\")
    if not isinstance(value, str) or not path.strip("/") or leads_out or not value.isprintable():
        raise ValueError(
            f"an endpoint is a path below that of the service, such as 'music', not {value!r:.200}"
        )
    return value


def optional_endpoint(value: object) -> str | None:
    """Return :func:`checked_endpoint`, or None for the service's own."""
    return None if value is None else checked_endpoint(value)


def account_ids(value: object) -> frozenset[str] | None:
    """
    Return the accounts that count, or None for all.

    :raises ValueError: if it is no list of ids. A single string is an error: it is more often a list that
        a template turned into text than one account.
    """
    if value is None:
        return None
    ids = plain(value)
    if not isinstance(ids, list) or not ids:
        raise ValueError(f"user_ids must be a list of account ids, or None for all, not {value!r:.200}")
    return frozenset(identifier("each of user_ids", user_id) for user_id in ids)


def is_template(value: object) -> bool:
    """Return whether an argument is known only after rendering: a Jinja template or another task's output."""
    if isinstance(value, str):
        return "{{" in value or "{%" in value
    if isinstance(value, list | tuple | set):
        return any(is_template(item) for item in value)
    return hasattr(value, "resolve")


def unless_template(check: Callable[..., Any], *arguments: Any) -> Any:
    """Check the last of the arguments, unless it is a template; return it as the check does."""
    return arguments[-1] if is_template(arguments[-1]) else check(*arguments)


def templated(check: Callable[..., Any], *arguments: Any) -> Callable[[object], Any]:
    """Return a check that lets templates pass, for an argument that is checked again once it is rendered."""
    return partial(unless_template, check, *arguments)


def sorted_account_ids(value: object) -> list[str] | None:
    """Return :func:`account_ids` as plain JSON, in the same order each time."""
    ids = account_ids(value)
    return None if ids is None else sorted(ids)
