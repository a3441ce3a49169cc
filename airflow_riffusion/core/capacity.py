"""
The answer of ``GET v1/<service>/scheduler/available``, parsed and typed.

Every field of the answer is optional (https://useapi.net/docs/api-riffusion-v1/get-riffusion-scheduler-available),
and four services name them differently, so nothing is taken for granted: what makes no sense is noted and
never counts as a free slot. Pure: no Airflow, no clock, no I/O.
"""

from __future__ import annotations

from collections import Counter
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict
from pydantic_core import from_json

from airflow_riffusion.core.coerce import count, duration, instant, names, shown, text, without_secrets

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping


class CapacityFormatError(ValueError):
    """The answer is no capacity answer at all: not JSON, not an object, or without both of its lists."""


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True)


class ExecutingJob(_Frozen):
    """
    A job that the service says is running.

    :param job_id: the service's id of the job.
    :param user_id: the account it runs on; None where the service names none (tempolor).
    :param started: when it started, with a time zone.
    :param elapsed: how long it has been running.
    :param reply_url: where the service will report its end, without query string and user info
        (callback addresses carry secrets).
    :param reply_ref: the reference given when the job was submitted.
    """

    job_id: str | None = None
    user_id: str | None = None
    started: datetime | None = None
    elapsed: timedelta | None = None
    reply_url: str | None = None
    reply_ref: str | None = None

    @classmethod
    def parse(cls, raw: Mapping[str, Any]) -> ExecutingJob:
        """Read one entry of ``executing`` in any service's spelling; what can't be read is None."""
        return cls(
            job_id=_first_text(raw, "job_id", "jobId", "id"),
            user_id=_first_text(raw, "user_id", "email"),
            started=instant(raw.get("started")),
            elapsed=duration(raw.get("elapsed")),
            reply_url=without_secrets(raw.get("replyUrl")),
            reply_ref=text(raw.get("replyRef")),
        )

    def to_xcom(self) -> dict[str, Any]:
        """Return the job as plain JSON; ``elapsed`` becomes ``elapsed_seconds``."""
        return {
            "job_id": self.job_id,
            "user_id": self.user_id,
            "started": self.started.isoformat() if self.started else None,
            "elapsed_seconds": self.elapsed.total_seconds() if self.elapsed is not None else None,
            "reply_url": self.reply_url,
            "reply_ref": self.reply_ref,
        }


class AccountCapacity(_Frozen):
    """
    The slots of one account.

    :param user_id: the account; an e-mail address on kling and ltxstudio.
    :param max_jobs: how many slots it has; None if the service did not say.
    :param executing: how many of them are in use.
    :param available: how many are free: never more than any of the service's numbers supports.
    :param listed: whether the reading names the account. One that is known and not listed counts as full.
    """

    user_id: str
    max_jobs: int | None
    executing: int
    available: int
    listed: bool = True

    @classmethod
    def parse(cls, user_id: str, raw: Mapping[str, Any]) -> tuple[AccountCapacity, list[str]]:
        """
        Read one entry of ``available``; return the account, and what about it made no sense.

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
        account = cls(
            user_id=user_id,
            max_jobs=max_jobs,
            executing=executing,
            available=0 if nonsense else min(supported),
        )
        return account, nonsense

    @classmethod
    def full(cls, user_id: str, max_jobs: int | None, running: int) -> AccountCapacity:
        """Return an account that the reading does not list, and on which it shows ``running`` jobs."""
        executing = running if max_jobs is None else max_jobs
        return cls(user_id=user_id, max_jobs=max_jobs, executing=executing, available=0, listed=False)

    def to_xcom(self) -> dict[str, Any]:
        """Return the account as plain JSON."""
        return {
            "user_id": self.user_id,
            "max_jobs": self.max_jobs,
            "executing": self.executing,
            "available": self.available,
        }


class Capacity(_Frozen):
    """
    A reading: what the service said about all accounts at one moment.

    :param service: which service was read, for example ``riffusion``.
    :param observed_at: when it was read, with a time zone.
    :param accounts: the accounts, in the service's order.
    :param jobs: the executing jobs, in the service's order.
    :param warnings: what in the answer made no sense, in words, for the log.
    :param logged_out: accounts that take no jobs until their login is renewed, as far as that is known.
    """

    service: str
    observed_at: datetime
    accounts: tuple[AccountCapacity, ...]
    jobs: tuple[ExecutingJob, ...]
    warnings: tuple[str, ...] = ()
    logged_out: tuple[str, ...] = ()

    @classmethod
    def from_json(cls, body: bytes, *, service: str, observed_at: datetime) -> Capacity:
        """
        Read an answer's body.

        :raises CapacityFormatError: if it is no capacity answer.
        """
        try:
            payload = from_json(body, cache_strings="keys")  # not ids, of which there are ever more
        except ValueError as error:
            raise CapacityFormatError(f"not JSON ({error})") from None
        return cls.parse(payload, service=service, observed_at=observed_at)

    @classmethod
    def parse(cls, payload: object, *, service: str, observed_at: datetime) -> Capacity:
        """
        Read an answer that is already decoded from JSON.

        :raises CapacityFormatError: if it is no capacity answer.
        """
        if not isinstance(payload, dict):
            raise CapacityFormatError(f"a JSON object was expected, not {shown(payload)}")
        if payload.get("executing") is None and payload.get("available") is None:
            raise CapacityFormatError("neither 'executing' nor 'available' is in it")
        warnings: list[str] = []
        jobs = tuple(ExecutingJob.parse(raw) for raw in _objects(payload, "executing", warnings))
        accounts = _accounts(_objects(payload, "available", warnings), warnings)
        return cls(
            service=service,
            observed_at=observed_at,
            accounts=accounts,
            jobs=jobs,
            warnings=tuple(warnings),
        )

    @property
    def available(self) -> int:
        """How many slots are free on all accounts together."""
        return sum(account.available for account in self.accounts)

    @property
    def executing(self) -> int:
        """How many jobs run on all accounts together: by the accounts, or by the jobs if those are more."""
        return max(sum(account.executing for account in self.accounts), len(self.jobs))

    @property
    def max_jobs(self) -> int:
        """How many slots the accounts have in all, as far as the service said."""
        return sum(account.max_jobs or 0 for account in self.accounts)

    @property
    def slots(self) -> dict[str, int | None]:
        """How many slots each account has, listed or not; None where the service did not say."""
        return {account.user_id: account.max_jobs for account in self.accounts}

    @property
    def listed_slots(self) -> dict[str, int | None]:
        """How many slots each account has that the reading names."""
        return {account.user_id: account.max_jobs for account in self.accounts if account.listed}

    @property
    def lacks_accounts(self) -> bool:
        """Whether accounts seem to be missing: none is listed, a known one is not, or jobs run elsewhere."""
        listed = [account for account in self.accounts if account.listed]
        known = {None, *(account.user_id for account in listed)}
        elsewhere = len(self.jobs) > sum(account.executing for account in listed)
        elsewhere = elsewhere or any(job.user_id not in known for job in self.jobs)
        return not listed or len(listed) < len(self.accounts) or elsewhere

    @property
    def notes(self) -> tuple[str, ...]:
        """What a person should know about the reading, in words."""
        return (*self.warnings, login_needed(self.logged_out)) if self.logged_out else self.warnings

    def best_account(self) -> AccountCapacity | None:
        """Return the account with most free slots (the first of equals), or None if all are full."""
        best = max(self.accounts, key=lambda account: account.available, default=None)
        return best if best is not None and best.available else None

    def for_users(self, user_ids: Collection[str] | None) -> Capacity:
        """Return the reading as if only these accounts existed; None for all."""
        if user_ids is None:
            return self
        return self.model_copy(
            update={
                "accounts": tuple(account for account in self.accounts if account.user_id in user_ids),
                "jobs": tuple(job for job in self.jobs if job.user_id in user_ids),
                "logged_out": tuple(user_id for user_id in self.logged_out if user_id in user_ids),
            }
        )

    def with_full_accounts(
        self, slots: Mapping[str, int | None], *, logged_out: tuple[str, ...] = ()
    ) -> Capacity:
        """Return the reading with exactly these accounts; those that it does not list are full."""
        listed = {account.user_id: account for account in self.accounts if account.listed}
        if listed.keys() == slots.keys():
            accounts = tuple(listed.values())
        else:
            running = Counter(job.user_id for job in self.jobs)
            accounts = tuple(
                listed.get(user_id) or AccountCapacity.full(user_id, max_jobs, running[user_id])
                for user_id, max_jobs in slots.items()
            )
        return self.model_copy(update={"accounts": accounts, "logged_out": logged_out})

    def to_xcom(self) -> dict[str, Any]:
        """Return the reading as plain JSON, totals first, as the XComs have it."""
        best = self.best_account()
        return {
            "available": self.available,
            "executing": self.executing,
            "max_jobs": self.max_jobs,
            "best_user_id": best.user_id if best else None,
            "service": self.service,
            "observed_at": self.observed_at.isoformat(),
            "accounts": [account.to_xcom() for account in self.accounts],
            "jobs": [job.to_xcom() for job in self.jobs],
        }

    def __str__(self) -> str:
        accounts = "1 account" if len(self.accounts) == 1 else f"{len(self.accounts)} accounts"
        return f"{self.available} of {self.max_jobs} slots free on {accounts}"


def login_needed(user_ids: Collection[str]) -> str:
    """Say what a person has to do so that these accounts take jobs again."""
    if len(user_ids) == 1:
        return f"account {names(user_ids)} needs its login renewed at useapi.net"
    return f"accounts {names(user_ids)} need their logins renewed at useapi.net"


def _accounts(entries: Iterable[Mapping[str, Any]], warnings: list[str]) -> tuple[AccountCapacity, ...]:
    accounts: dict[str, AccountCapacity] = {}
    for raw in entries:
        user_id = _first_text(raw, "user_id", "email")
        if user_id is None:
            warnings.append("an account without id: its slots don't count")
        elif user_id in accounts:
            warnings.append(f"account {shown(user_id)} is listed twice: the first counts")
        else:
            accounts[user_id], nonsense = AccountCapacity.parse(user_id, raw)
            warnings.extend(nonsense)
    return tuple(accounts.values())


def _objects(payload: Mapping[str, Any], name: str, warnings: list[str]) -> list[dict[str, Any]]:
    entries = payload.get(name)
    if entries is None:
        return []
    if not isinstance(entries, list):
        raise CapacityFormatError(f"'{name}' must be a list, not {shown(entries)}")
    objects = [entry for entry in entries if isinstance(entry, dict)]
    if len(objects) < len(entries):
        warnings.append(f"'{name}' holds something that is no object")
    return objects


def _first_text(raw: Mapping[str, Any], *names: str) -> str | None:
    return next((found for name in names if (found := text(raw.get(name))) is not None), None)
