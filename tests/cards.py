"""Made-up documents as Airflow gives them to the capacity page."""

from __future__ import annotations

from typing import Any


def document(*cards: dict[str, Any], interval: float = 1, error: str | None = None) -> dict[str, Any]:
    return {"interval_seconds": interval, "error": error, "cards": list(cards)}


def card(conn_id: str = "made_up", **changes: Any) -> dict[str, Any]:
    """Return one connection with two slots, of which one is free."""
    return {
        "connection_id": conn_id,
        "service": "riffusion",
        "read_at": "2026-01-01T12:00:00Z",
        "age_seconds": 0,
        "asking_seconds": None,
        "error": None,
        "failed_seconds": None,
        "next_try_seconds": None,
        "slots": numbers(1),
        "accounts": [],
        "more_accounts": 0,
        "jobs": [],
        "more_jobs": 0,
        "notes": [],
        "tasks": tasks(),
        **changes,
    }


def failed(seconds: float, **changes: Any) -> dict[str, Any]:
    """Return a connection whose last try failed so many seconds ago."""
    shown = card(error="503 Service Unavailable", failed_seconds=seconds, slots=None, age_seconds=600)
    return {**shown, **changes}


def numbers(executing: int, slots: int = 2) -> dict[str, Any]:
    return {"slots": slots, "executing": executing, "held": None, "free": slots - executing, "unknown": 0}


def account(name: str) -> dict[str, Any]:
    return {"account": name, **numbers(1)}


def tasks(*first: dict[str, Any], **changes: Any) -> dict[str, Any]:
    longest = first[0]["seconds"] if first else None
    waiting = {"waiting": len(first), "longest_seconds": longest, "first": list(first)}
    return {**waiting, "watching": 0, "complete": True, **changes}


def task(dag_id: str = "songs", run_id: str = "manual__1", task_id: str = "song") -> dict[str, Any]:
    return {"dag_id": dag_id, "run_id": run_id, "task_id": task_id, "map_index": -1, "seconds": 60}
