"""What a task asks for and what it gets: the same words for sensor, trigger and every mode."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, MappingView, Set
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

if TYPE_CHECKING:
    from airflow_riffusion.core.capacity import Capacity


_LONGEST = timedelta.max.total_seconds()
_TEXT = str | bytes | bytearray | memoryview
_WHOLE_NUMBER = re.compile(r"([0-9]{1,9})(?:\.0+)?")


@dataclass(frozen=True, slots=True)
class SlotRequest:
    """
    What one task asks for.

    :param slots: how many free slots it needs.
    :param user_ids: only these accounts count; None for all.
    :param same_account: all slots must be on one account.
    :param hold: seconds for which granted slots are kept from other waiting tasks until their jobs are
        seen executing. 0 is a plain check: it takes nothing and keeps no place.
    :param priority: a higher one is served first; the task's ``priority_weight``.
    :param since: when the task began to wait, in seconds since the epoch; the earlier is served first.
    :param reply_ref: the ``replyRef`` of the one job that all its slots are for; None if that is the
        grant's id, and each slot is for a job of its own.
    """

    slots: int = 1
    user_ids: frozenset[str] | None = None
    same_account: bool = False
    hold: float = 120.0
    priority: int = 1
    since: float = 0.0
    reply_ref: str | None = None

    @classmethod
    def checked(
        cls,
        *,
        slots: object = 1,
        user_ids: object = None,
        same_account: bool = False,
        hold: object = 120,
        priority: int = 1,
        since: float = 0.0,
        reply_ref: str | None = None,
    ) -> SlotRequest:
        """
        Build a request from what a DAG author gave.

        :raises ValueError: if a value can't be what it should, naming the argument.
        """
        return cls(
            slots=whole_number("slots", slots),
            user_ids=account_ids(user_ids),
            same_account=same_account,
            hold=seconds("hold", hold, zero=True),
            priority=priority,
            since=since,
            reply_ref=reply_ref,
        )

    def usable(self, user_id: str | None) -> bool:
        """Return whether slots of an account count for this request."""
        return self.user_ids is None or user_id in self.user_ids

    def __str__(self) -> str:
        slots = "1 slot" if self.slots == 1 else f"{self.slots} slots"
        together = " on one account" if self.same_account and self.slots > 1 else ""
        among = f" of {', '.join(sorted(self.user_ids))}" if self.user_ids is not None else ""
        return slots + together + among


@dataclass(frozen=True, slots=True)
class Grant:
    """
    Slots handed to one task.

    :param grant_id: name of the grant.
    :param request: what was asked for.
    :param slots: how many slots on which account, the account with most of them first.
    :param reading: what the service said when the slots were granted.
    """

    grant_id: str
    request: SlotRequest
    slots: dict[str, int]
    reading: Capacity

    @property
    def reply_ref(self) -> str:
        """The ``replyRef`` of a job that settles exactly this grant."""
        return self.request.reply_ref or self.grant_id

    @property
    def waited_seconds(self) -> float:
        """How long the task waited, until the reading: so it tells the order in which tasks began to."""
        return max(0.0, self.reading.observed_at.timestamp() - self.request.since)

    def to_xcom(self) -> dict[str, Any]:
        """Return the sensor's XCom: the reading of the accounts asked for, and what was granted."""
        return {
            **self.reading.for_users(self.request.user_ids).to_xcom(),
            "user_id": next(iter(self.slots)),
            "granted": self.slots,
            "grant_id": self.grant_id,
            "waited_seconds": round(self.waited_seconds, 3),
        }


def grant_line(granted: dict[str, Any]) -> str:
    """Say in one line of the log what was granted."""
    slots = [
        f"{slots} {'slot' if slots == 1 else 'slots'} on account {user_id}"
        for user_id, slots in granted["granted"].items()
    ]
    waited = f"{granted['waited_seconds']:.1f} s"
    return f"Granted {', '.join(slots)} after {waited}; the grant is {granted['grant_id']}."


def whole_number(name: str, value: object) -> int:
    """
    Return a positive whole number; a template may have rendered it to text, or divided to get it.

    :raises ValueError: if it is none.
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
    Return an id as text; a whole number is one, too: kling's jobs have them, and native templates make them.

    :raises ValueError: if it is none, or empty.
    """
    text = str(value) if type(value) is int else value
    if not isinstance(text, str) or not text:
        raise ValueError(f"{name} must be text, not {value!r:.200}")
    return text


def reference(name: str, value: object) -> str:
    """
    Return a ``replyRef`` as text; a whole number is one, too.

    A number with a fraction is not: native templates make the same one of "2026.1" and "2026.10", and jobs
    of one reference are taken for one.

    :raises ValueError: if it is none, or empty.
    """
    if isinstance(value, float):
        raise ValueError(
            f"{name} must be text, not {value!r}: a native template made a number of it; begin it with a "
            "letter"
        )
    return identifier(name, value)


def plain(value: object) -> Any:
    """
    Return a value of which other tasks' outputs may be a part, at any depth, as what JSON knows.

    Airflow gives the outputs of a mapped task as a lazy sequence, and a native template gives generators and
    views of a dict: any collection or iterator that is no text becomes a list. What else JSON doesn't know is
    left as it is.
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

    :raises ValueError: if it is none.
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

    :raises ValueError: if it is none.
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
    path = unquote(value.partition("?")[0]) if isinstance(value, str) else ""
    leads_out = "://" in path or ".." in path.split("/") or set(path) & set("#\\")
    if not isinstance(value, str) or not path.strip("/") or leads_out or not value.isprintable():
        raise ValueError(f"an endpoint is a path below v1/<service>/, not {value!r:.200}")
    return value


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
