"""
How many free slots are unclaimed, and whether they have just become enough for a request.

Pure, as :mod:`airflow_riffusion.core.ledger` is.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from airflow_riffusion.core.demand import SlotDemand
from airflow_riffusion.core.request import READINGS_TO_CONFIRM

if TYPE_CHECKING:
    from collections.abc import Mapping

    from airflow_riffusion.core.accounts import ConfiguredAccounts
    from airflow_riffusion.core.capacity import Capacity
    from airflow_riffusion.core.request import SlotRequest


@dataclass(frozen=True, slots=True)
class Availability:
    """
    A reading, and how many of its free slots a new task could have.

    :param slots: the unclaimed slots, by account: free, and neither held nor waited for.
    :param configured: the accounts that the service has; None if they were not requested.
    """

    reading: Capacity
    slots: Counter[str]
    configured: ConfiguredAccounts | None = None

    def to_xcom(self, user_ids: frozenset[str] | None = None) -> dict[str, Any]:
        """Return the reading as plain JSON, with ``unclaimed``: free slots neither held nor waited for."""
        usable = (slots for user_id, slots in self.slots.items() if user_ids is None or user_id in user_ids)
        return {**self.reading.for_users(user_ids).to_xcom(), "unclaimed": sum(usable)}

    @property
    def free(self) -> dict[str, int]:
        """How many slots of each account the service says are free, claimed or not."""
        return {account.user_id: account.available for account in self.reading.accounts}

    def less(self, wanted: Mapping[frozenset[str] | None, int]) -> Availability:
        """Subtract what others want; requests for certain accounts take theirs first."""
        left = self.slots
        for user_ids, number in sorted(wanted.items(), key=lambda each: each[0] is None):
            usable = sum(slots for user_id, slots in left.items() if user_ids is None or user_id in user_ids)
            theirs = SlotDemand(min(number, usable), user_ids, same_account=False, plain_check=True)
            left = left - Counter(theirs.pick(left))
        return replace(self, slots=left)


class RisingEdge:
    """
    Reports once that enough slots for a request are unclaimed, and again only after too few were free.

    Claimed slots do not re-arm it: a DAG whose songs are refused takes the slots that it was started for, and
    gives them back, so it would start itself for ever.

    :ivar armed: whether it may rise: too few slots were free since it rose last.
    :ivar in_doubt: whether so many readings in a row list too little that the accounts must be known.
    :ivar unsatisfiable: why the request can never be served; None if it may be.
    """

    def __init__(self, request: SlotRequest, *, armed: bool = True) -> None:
        self.armed = armed
        self.in_doubt = False
        self.unsatisfiable: str | None = None
        self._request = request
        self._demand = SlotDemand.of(request)
        self._reading: Capacity | None = None
        self._accounts: set[str] = set()
        self._warnings: set[str] = set()
        self._impossible = self._doubtful = 0

    def observe(self, availability: Availability) -> bool:
        """
        Take in a reading; return whether its unclaimed slots have just become enough.

        One reading may be blank, stale or odd. So one that could never serve the request, has new warnings,
        or lacks a known account and its jobs is ignored, until several in a row are like that.
        """
        if availability.reading is self._reading:
            return False
        self._reading = availability.reading
        self._judge(availability)
        if not self._is_believed(availability.reading):
            return False
        enough = self._demand.pick(availability.slots) is not None
        risen = enough and self.armed
        if risen:
            self.armed = False
        elif self._demand.pick(availability.free) is None:
            self.armed = True
        return risen

    def _is_believed(self, reading: Capacity) -> bool:
        usable = reading.for_users(self._request.user_ids)
        accounts = set(usable.slots)
        warnings = set(reading.warnings)
        running = Counter(job.user_id for job in reading.jobs)
        # A full account may be missing from the list, but then its jobs are there.
        vanished = (self._accounts - accounts) | {
            account.user_id
            for account in usable.accounts
            if not account.listed and running[account.user_id] + running[None] < (account.max_jobs or 1)
        }
        # After a restart, an edge that rose before does not know yet which accounts there are.
        knows_none = not self._accounts and not self.armed
        doubtful = (
            self._demand.impossible(usable.slots) or knows_none or warnings - self._warnings or vanished
        )
        self._doubtful = self._doubtful + 1 if doubtful else 0
        if 0 < self._doubtful < READINGS_TO_CONFIRM:
            return False
        self._accounts, self._warnings = accounts, warnings
        return True

    def _judge(self, availability: Availability) -> None:
        impossible = self._demand.impossible(availability.reading.listed_slots)
        self._impossible = self._impossible + 1 if impossible else 0
        self.in_doubt = self._impossible >= READINGS_TO_CONFIRM
        self.unsatisfiable = None
        if self.in_doubt and availability.configured is not None:
            self.unsatisfiable = self._demand.ruled_out(availability.reading, availability.configured)
