"""Which slots can serve a request."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from airflow_riffusion.core.capacity import login_needed
from airflow_riffusion.core.coerce import names

if TYPE_CHECKING:
    from collections.abc import Mapping

    from airflow_riffusion.core.accounts import ConfiguredAccounts
    from airflow_riffusion.core.capacity import AccountCapacity, Capacity
    from airflow_riffusion.core.request import SlotRequest


@dataclass(frozen=True, slots=True)
class SlotDemand:
    """
    The part of a request that decides which slots can serve it; many waiters have the same.

    :param slots: how many free slots it needs.
    :param user_ids: only these accounts count; None for all.
    :param same_account: all slots must be on one account.
    :param plain_check: it takes nothing, so held slots may serve it, too.
    """

    slots: int
    user_ids: frozenset[str] | None
    same_account: bool
    plain_check: bool

    @classmethod
    def of(cls, request: SlotRequest) -> SlotDemand:
        """Return the demand of a request."""
        return cls(request.slots, request.user_ids, request.same_account, plain_check=request.hold == 0)

    def accounts(self, reading: Capacity) -> list[AccountCapacity]:
        """Return the accounts whose slots could serve it, now or later."""
        usable = reading.for_users(self.user_ids).accounts
        if not self.same_account:
            return list(usable)
        return [account for account in usable if account.max_jobs is None or account.max_jobs >= self.slots]

    def pick(self, free: Mapping[str, int]) -> dict[str, int] | None:
        """Choose slots, from the accounts with most free ones first; None if there aren't enough."""
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

    def impossible(self, slots: Mapping[str, int | None]) -> str | None:
        """Return why these accounts could never serve it, free or not; None if they could."""
        usable = {user_id: most for user_id, most in slots.items() if self._usable(user_id)}
        if None in usable.values():
            return None
        known = [most or 0 for most in usable.values()]
        if (max(known, default=0) if self.same_account else sum(known)) >= self.slots:
            return None
        if not slots:
            return "the service has no account"
        if not usable:
            return f"the service has no such account; it has {names(slots)}"
        if self.same_account:
            return f"the largest account has {max(known)} in all"
        return f"the accounts have {sum(known)} in all"

    def ruled_out(self, reading: Capacity, configured: ConfiguredAccounts) -> str | None:
        """Return why the request can never be served, or None if it may be."""
        # An account with a running job exists, however many slots it has.
        running = {job.user_id for job in reading.jobs if job.user_id is not None} - {*configured.logged_out}
        slots = dict.fromkeys(running, None) | configured.slots | reading.listed_slots
        reason = self.impossible(slots)
        locked = [name for name in configured.logged_out if self._usable(name) and name not in slots]
        if reason is None or not locked:
            return reason
        renew = login_needed(locked)
        return f"{reason}; {renew}" if any(map(self._usable, slots)) else renew

    def _usable(self, user_id: str) -> bool:
        return self.user_ids is None or user_id in self.user_ids
