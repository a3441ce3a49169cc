"""Readings as the service would give them, for tests."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from airflow_riffusion.capacity import Capacity

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
    return Capacity.parse(payload, service="riffusion", observed_at=NOON)
