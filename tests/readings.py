"""Readings as the service would give them, for tests."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from airflow_riffusion.core.accounts import ConfiguredAccounts, KnownAccounts
from airflow_riffusion.services import SERVICES

if TYPE_CHECKING:
    from airflow_riffusion.core.capacity import Capacity

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def job(job_id: str, user_id: str | None = None, reply_ref: str | None = None) -> dict[str, Any]:
    fields = {"job_id": job_id, "user_id": user_id, "replyRef": reply_ref}
    return {name: value for name, value in fields.items() if value is not None}


def reading(*jobs: dict[str, Any], **free: int | tuple[int, int]) -> Capacity:
    """Return a reading with the free slots of each account: ``a=1``, or ``a=(1, 2)`` for 1 of 2."""
    accounts = []
    for user_id, slots in free.items():
        available, max_jobs = slots if isinstance(slots, tuple) else (slots, 10)
        accounts.append(
            {
                "user_id": user_id,
                "maxJobs": max_jobs,
                "executing": max_jobs - available,
                "available": available,
            }
        )
    payload = {"executing": list(jobs), "available": accounts}
    return parsed(payload)


def parsed(payload: object, service: str = "riffusion") -> Capacity:
    """Return what a service reads in an answer."""
    return SERVICES[service].parse_capacity(payload, observed_at=NOON)


def configured(*logged_out: str, **slots: int | None) -> ConfiguredAccounts:
    """Return what ``GET accounts`` says: slots by account, and the accounts that are logged out."""
    return ConfiguredAccounts(slots, logged_out)


class FakeAccounts:
    """What a hook knows of the accounts: a test sets what ``GET accounts`` says, None if it can't be had."""

    ACCOUNTS_AGES = (600.0, 60.0)
    configured: ConfiguredAccounts | None = None
    accounts_retry_after = 0.0

    def __init__(self) -> None:
        self.accounts_asked: list[float] = []
        self._known = KnownAccounts()

    def configured_accounts(self, max_age: float = 600.0) -> ConfiguredAccounts | None:
        self.accounts_asked.append(max_age)
        return None if self.configured is None else self._known.learn(self.configured)

    async def aconfigured_accounts(self, max_age: float = 600.0) -> ConfiguredAccounts | None:
        return self.configured_accounts(max_age)

    def complete(self, capacity: Capacity) -> Capacity:
        return self._known.complete(capacity)
