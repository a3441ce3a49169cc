"""Whether and how free slots serve a request: alike for all requests that ask for the same."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from airflow_riffusion.capacity import AccountCapacity, Capacity
    from airflow_riffusion.request import SlotRequest


@dataclass(frozen=True, slots=True)
class Shape:
    """
    What of a request decides whether slots can serve it, and which.

    :param slots: how many free slots it needs.
    :param user_ids: only these accounts count; None for all.
    :param same_account: all slots must be on one account.
    :param plain_check: it takes nothing, so that held slots are as good as others.
    """

    slots: int
    user_ids: frozenset[str] | None
    same_account: bool
    plain_check: bool

    @classmethod
    def of(cls, request: SlotRequest) -> Shape:
        """Return the shape of a request."""
        return cls(request.slots, request.user_ids, request.same_account, plain_check=request.hold == 0)

    def accounts(self, reading: Capacity) -> list[AccountCapacity]:
        """
        Return the accounts that could have a part in serving it, now or later.

        :param reading: what the service says.
        """
        usable = reading.for_users(self.user_ids).accounts
        if not self.same_account:
            return list(usable)
        return [account for account in usable if account.max_jobs is None or account.max_jobs >= self.slots]

    def pick(self, free: Mapping[str, int]) -> dict[str, int] | None:
        """
        Choose slots, those of the accounts with most free ones first; None if there aren't enough.

        :param free: how many slots are free on which account.
        """
        usable = sorted(
            ((user_id, slots) for user_id, slots in free.items() if self._usable(user_id)),
            key=lambda account: -account[1],
        )
        if self.same_account:
            usable = usable[:1]
        picked: dict[str, int] = {}
        wanted = self.slots
        for user_id, slots in usable:
            if not wanted:
                break
            picked[user_id] = min(slots, wanted)
            wanted -= picked[user_id]
        return None if wanted else picked

    def impossible(self, reading: Capacity) -> str | None:
        """
        Return why no slot that becomes free could help, or None if one could.

        :param reading: what the service says; one alone may be wrong.
        """
        accounts = self.accounts(reading)
        if any(account.max_jobs is None for account in accounts):
            return None
        most = sum(account.max_jobs or 0 for account in accounts)
        if most >= self.slots:
            return None
        usable = reading.for_users(self.user_ids)
        if not reading.accounts:
            return "the service names no account at all"
        if not usable.accounts:
            known = ", ".join(account.user_id for account in reading.accounts)
            return f"the service has no such account; it has {known}"
        if self.same_account:
            largest = max(account.max_jobs or 0 for account in usable.accounts)
            return f"the largest account has {largest} in all"
        return f"the accounts have {most} in all"

    def _usable(self, user_id: str) -> bool:
        return self.user_ids is None or user_id in self.user_ids
