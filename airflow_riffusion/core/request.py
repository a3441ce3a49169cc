"""What a task asks for, and what it gets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from airflow_riffusion.core.arguments import account_ids, seconds, whole_number

if TYPE_CHECKING:
    from airflow_riffusion.core.capacity import Capacity

READINGS_TO_CONFIRM = 3
"""How many readings in a row must list too little for a request: one alone may be blank or stale."""


@dataclass(frozen=True, slots=True)
class SlotRequest:
    """
    What one task asks for.

    :param slots: how many free slots it needs.
    :param user_ids: only these accounts count; None for all.
    :param same_account: all slots must be on one account.
    :param hold: seconds for which granted slots are kept from other waiting tasks until their jobs are
        seen executing. 0 is a plain check: it takes nothing and has no place in the queue.
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

    :param slots: how many slots on which account, the account with most of them first.
    :param reading: by which the slots were granted.
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
        """Seconds from when the task began to wait until the reading that served it."""
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
    """Say in one line what was granted, for the log."""
    slots = [
        f"{slots} {'slot' if slots == 1 else 'slots'} on account {user_id}"
        for user_id, slots in granted["granted"].items()
    ]
    waited = f"{granted['waited_seconds']:.1f} s"
    return f"Granted {', '.join(slots)} after {waited}; the grant is {granted['grant_id']}."
