"""
What a service of useapi.net is like: the questions that hook, gate and operators ask about one.

Pure: data and functions, no Airflow, no clock, no I/O.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic_core import from_json

from airflow_riffusion.core.capacity import CapacityFormatError
from airflow_riffusion.core.coerce import text
from airflow_riffusion.core.outcome import (
    Accepted,
    Audio,
    Outcome,
    State,
    failure,
    in_path,
    read_leniently,
    refusal,
)

if TYPE_CHECKING:
    from datetime import datetime

    from airflow_riffusion.core.capacity import Capacity


class Service(ABC):
    """
    One service: what it calls things, which endpoints it has, and what its answers mean.

    :cvar name: what it is called in URLs and in connections.
    :cvar title: what people call it.
    :cvar makes: what it makes, in words.
    :cvar version: the first part of its endpoints' path.
    :cvar account_field: what a submission and ``GET accounts`` call an account.
    :cvar capacity_endpoint: asked for each reading.
    :cvar lists_busy_accounts_only: whether an account that a reading does not list is idle. Then only
        ``GET accounts`` says which accounts take jobs. With the other services such an account is full, or
        takes none.
    :cvar says_slots: whether it says how many slots an account has; else the connection has to.
    :cvar slots_by_default: how many slots an account has that does not say it.
    :cvar names_references: whether a reading names the ``replyRef`` of each job that has one. Else a job is
        asked for it one by one.
    :cvar submit_endpoint: where songs are submitted to; None where no page says it.
    :cvar submit_fields: what belongs into each submission, so that its answer does not wait for the song.
    :cvar submission_interval: seconds that the service wants between two submissions.
    :cvar outcome_within: seconds after a job's end within which its outcome can be had at the latest.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    makes: ClassVar[str] = "music"
    version: ClassVar[str] = "v1"
    account_field: ClassVar[str]
    capacity_endpoint: ClassVar[str]
    lists_busy_accounts_only: ClassVar[bool] = False
    says_slots: ClassVar[bool] = True
    slots_by_default: ClassVar[int | None] = None
    names_references: ClassVar[bool] = True
    submit_endpoint: ClassVar[str | None] = None
    submit_fields: ClassVar[Mapping[str, Any]] = {}
    submission_interval: ClassVar[float] = 0.0
    outcome_within: ClassVar[float] = 0.0

    @property
    def path(self) -> str:
        """The path that all of its endpoints are below."""
        return f"{self.version}/{self.name}"

    def read_capacity(self, body: bytes, *, observed_at: datetime, max_jobs: int | None = None) -> Capacity:
        """
        Read the body of an answer of :attr:`capacity_endpoint`; ``max_jobs``: of accounts that don't say.

        :raises CapacityFormatError: if it is no capacity answer.
        """
        try:
            payload = from_json(body, cache_strings="keys")  # not ids, of which there are ever more
        except ValueError as error:
            raise CapacityFormatError(f"not JSON ({error})") from None
        return self.parse_capacity(payload, observed_at=observed_at, max_jobs=max_jobs)

    @abstractmethod
    def parse_capacity(
        self, payload: object, *, observed_at: datetime, max_jobs: int | None = None
    ) -> Capacity:
        """Read such an answer once it is decoded; see :meth:`read_capacity`."""

    def refusal(self, answer: object) -> str | None:
        """Return why a submission that was answered with 2xx made no job; None if it made one."""
        return None if self.accepted(answer).job_ids else refusal(answer)

    def accepted(self, answer: object) -> Accepted:
        """Read the answer to a submission."""
        if not isinstance(answer, Mapping):
            return Accepted()
        job_id = next((found for field in self._id_fields if (found := text(answer.get(field)))), None)
        user_id = text(answer.get(self.account_field)) or self.account_of(job_id)
        return Accepted(() if job_id is None else (job_id,), user_id)

    _id_fields: ClassVar[tuple[str, ...]] = ("job_id", "jobid", "id")

    def account_of(self, _job_id: str | None) -> str | None:
        """Return the account that a job's id names; None where ids name none."""
        return None

    @abstractmethod
    def stop_endpoint(self, job_id: str) -> str:
        """Return what to DELETE so that a job is tracked no longer, and its slot is free."""

    def outcome_endpoint(self, _job_id: str, _user_id: str | None, _submitted_to: str) -> str | None:
        """Return what says what became of a job; None where no page says it."""
        return None

    def outcome(self, answer: object) -> Outcome:
        """Read what became of a job; an answer that says nothing of a status counts as done."""
        return read_leniently(answer)

    def has_ended(self, _answer: object) -> bool:
        """Return whether the answer to a submission came with the song, as an answer that waits for it."""
        return False

    def reference_of(self, _answer: object) -> str | None:
        """
        Return with which ``replyRef`` a job was submitted, by the answer of :meth:`outcome_endpoint`.

        :raises LookupError: if the answer does not say.
        """
        raise LookupError("no page says where a job's replyRef is")

    def audio_endpoint(self, _job_id: str) -> str | None:
        """Return what says where a finished job's audio is; None if its outcome does."""
        return None


class JobEndpoint(Service):
    """The newer services: ``jobs/{jobid}`` says what became of a job, and stops it."""

    capacity_endpoint = "jobs"

    def stop_endpoint(self, job_id: str) -> str:
        """Return the job's own endpoint."""
        return f"jobs/{in_path(job_id)}"

    def outcome_endpoint(self, job_id: str, _user_id: str | None, _submitted_to: str) -> str | None:
        """Return the job's own endpoint."""
        return f"jobs/{in_path(job_id)}"

    def outcome(self, answer: object) -> Outcome:
        """Read the job's ``status``: whatever is not an end is on the way there."""
        if not isinstance(answer, Mapping):
            return Outcome(State.RUNNING)
        if reason := failure(answer):
            return Outcome(State.FAILED, reason)
        if str(answer.get("status")).lower() != "completed":
            return Outcome(State.RUNNING)
        return Outcome(State.DONE, audio=self._audio(answer))

    def has_ended(self, answer: object) -> bool:
        """Return whether the answer says that the job is over."""
        return self.outcome(answer).state is not State.RUNNING

    def reference_of(self, answer: object) -> str | None:
        """Return the ``replyRef`` in the job's ``request``, None if it was submitted without one."""
        request = answer.get("request") if isinstance(answer, Mapping) else None
        if not isinstance(request, Mapping):
            raise LookupError("the answer has no 'request'")
        return text(request.get("replyRef"))

    @abstractmethod
    def _audio(self, answer: Mapping[str, Any]) -> tuple[Audio, ...]:
        """Return the files of a job that is done."""
