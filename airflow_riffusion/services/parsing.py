"""Reading single parts of what services answer; what makes no sense is noted, and is never a free slot."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from airflow_riffusion.core.capacity import AccountCapacity, CapacityFormatError, ExecutingJob
from airflow_riffusion.core.coerce import count, duration, instant, shown, text, without_secrets
from airflow_riffusion.core.outcome import said

if TYPE_CHECKING:
    from collections.abc import Iterable


def json_object(payload: object) -> Mapping[str, Any]:
    """Return an answer that is a JSON object."""
    if not isinstance(payload, Mapping):
        raise CapacityFormatError(f"a JSON object was expected, not {shown(payload)}")
    return payload


def no_error(payload: object) -> Mapping[str, Any]:
    """Return an answer that is a JSON object, and no error: services put errors into a 200, too."""
    answer = json_object(payload)
    if error := answer.get("error"):
        raise CapacityFormatError(f"an error inside a 200: {shown(said(error))}")
    return answer


def objects(payload: Mapping[str, Any], name: str, warnings: list[str]) -> list[dict[str, Any]]:
    """Return the objects in a list of an answer; none if the list is missing."""
    entries = payload.get(name)
    if entries is None:
        return []
    if not isinstance(entries, list):
        raise CapacityFormatError(f"'{name}' must be a list, not {shown(entries)}")
    found = [entry for entry in entries if isinstance(entry, dict)]
    if len(found) < len(entries):
        warnings.append(f"'{name}' holds something that is no object")
    return found


def first_text(raw: Mapping[str, Any], *names: str) -> str | None:
    """Return the first of some fields that holds an id."""
    return next((found for name in names if (found := text(raw.get(name))) is not None), None)


def account_id(raw: Mapping[str, Any], account_field: str) -> str | None:
    """Return the account that an entry names, by the service's own field or another's."""
    return first_text(raw, account_field, "user_id", "email", "account")


def job(raw: Mapping[str, Any], *, account_field: str) -> ExecutingJob:
    """Read one executing job, whichever names its service has for things; what can't be read is None."""
    return ExecutingJob(
        job_id=first_text(raw, "job_id", "jobid", "jobId", "id", "video_id"),
        user_id=account_id(raw, account_field),
        started=instant(
            next((raw[name] for name in ("started", "created_at", "created") if name in raw), None)
        ),
        elapsed=duration(raw.get("elapsed")),
        reply_url=without_secrets(raw.get("replyUrl")),
        reply_ref=text(raw.get("replyRef")),
    )


def unnamed_job(raw: Mapping[str, Any], *, account_field: str) -> ExecutingJob:
    """Read an executing job of a list that names no references; one without id can't be asked for it."""
    found = job(raw, account_field=account_field)
    status = "unknown" if found.job_id is not None else "withheld"
    return found.model_copy(update={"reference_status": status})


def busy(raw: Mapping[str, Any], jobs: int) -> dict[str, Any]:
    """Return an account's entry with as many ``running`` as it lists jobs, at least."""
    running = count(raw.get("running"))
    return {**raw, "running": max(running, jobs)} if running is not None else dict(raw)


def accounts(
    entries: Iterable[tuple[str | None, Mapping[str, Any]]],
    warnings: list[str],
    *,
    max_jobs: int | None,
    executing_field: str = "executing",
) -> tuple[AccountCapacity, ...]:
    """Read accounts, each with its id; the first of two with the same id counts."""
    found: dict[str, AccountCapacity] = {}
    for user_id, raw in entries:
        if user_id is None:
            warnings.append("an account without id: its slots don't count")
        elif user_id in found:
            warnings.append(f"account {shown(user_id)} is listed twice: the first counts")
        else:
            raw = {**raw, "executing": raw.get(executing_field)}
            if raw.get("maxJobs") is None:
                raw["maxJobs"] = max_jobs
            found[user_id], nonsense = account(user_id, raw)
            warnings.extend(nonsense)
    return tuple(found.values())


def account(user_id: str, raw: Mapping[str, Any]) -> tuple[AccountCapacity, list[str]]:
    """
    Read ``maxJobs``, ``executing`` and ``available``; return the account, and what about it made no sense.

    An account with a number that makes no sense has no free slot.
    """
    numbers: dict[str, int | None] = {}
    nonsense: list[str] = []
    for name in ("maxJobs", "executing", "available"):
        value = raw.get(name)
        numbers[name] = count(value)
        if value is not None and numbers[name] is None:
            nonsense.append(f"account {shown(user_id)}: {name} is {shown(value)}")
    max_jobs, executing, available = numbers["maxJobs"], numbers["executing"], numbers["available"]
    if executing is None:
        executing = max(0, max_jobs - available) if max_jobs is not None and available is not None else 0
        unused = max_jobs if available is not None else None
    else:
        unused = max(0, max_jobs - executing) if max_jobs is not None else None
    supported = [number for number in (available, unused) if number is not None]
    if not supported and not nonsense:
        nonsense.append(f"account {shown(user_id)}: nothing says how many slots are free")
    read = AccountCapacity(
        user_id=user_id,
        max_jobs=max_jobs,
        executing=executing,
        available=0 if nonsense else min(supported),
    )
    return read, nonsense
