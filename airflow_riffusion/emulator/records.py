"""What the scheduler service keeps, shows and refuses, as plain data."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PlainSerializer

from airflow_riffusion.emulator.clock import timestamp

if TYPE_CHECKING:
    from collections.abc import Mapping

    from airflow_riffusion.core.capacity import AccountCapacity


def _encodable(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("must be text that UTF-8 can encode") from None
    return text


# JSON can escape half a surrogate pair, which no answer could then repeat.
Text = Annotated[str, AfterValidator(_encodable)]
Timestamp = Annotated[datetime, PlainSerializer(timestamp, return_type=str, when_used="json-unless-none")]
Endpoint = Literal["capacity", "accounts", "jobs", "submit", "outcome", "audio", "stop"]


class UnknownAccount(Exception):
    """A submission names an account that the service does not have."""


class AccountRequired(Exception):
    """A submission names no account, though there are several, and the service chooses none."""


class LoginExpired(Exception):
    """Every account that a submission could have used needs its login renewed."""


class UnknownJob(Exception):
    """There is no such job."""


class NotExecuting(UnknownJob):
    """No job of that id is executing."""


class NoFreeSlot(Exception):
    """Every slot that a submission could have used is taken."""


class TooSoon(Exception):
    """A submission comes too soon after the previous one."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"to be sent again in {seconds:g} s")
        self.seconds = seconds


class NoAudio(Exception):
    """There is no such audio, or it is not there yet."""


class Job(BaseModel):
    """A job at one moment. As JSON it has the same names for every service."""

    model_config = ConfigDict(frozen=True)

    job_id: str | int
    user_id: str
    prompt: str
    reply_ref: str | None = None
    started: Timestamp
    ended: Timestamp | None = None
    status: Literal["executing", "completed", "failed", "cancelled"] = "executing"
    error: str | None = None
    other_client: bool = False
    instrumental: Annotated[bool, Field(exclude=True)] = False
    reply_url: Annotated[str | None, Field(exclude=True)] = None
    over_at: Annotated[datetime, Field(exclude=True)]
    fails_with: Annotated[str | None, Field(exclude=True)] = None


@dataclass(frozen=True)
class Snapshot:
    """The whole service at one moment: its executing jobs, the oldest first, and all its accounts."""

    now: datetime
    jobs: tuple[Job, ...]
    accounts: tuple[AccountCapacity, ...]
    login_errors: Mapping[str, str]


@dataclass(frozen=True)
class Stats:
    """
    What the service has counted since it started or was reset.

    ``requests`` has none to ``/emulator/``. The ``accepted`` jobs are ``completed``, ``failed``,
    ``cancelled`` or still executing. ``executing`` and both peaks include the jobs of other clients.
    """

    slots: int
    requests: int
    requests_by_endpoint: dict[str, int]
    unauthorized: int
    refusals: int
    accepted: int
    completed: int
    cancelled: int
    executing: int
    peak: int
    peak_by_account: dict[str, int]
    failed: int
    other_clients: int
