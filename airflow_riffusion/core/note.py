"""
What a task notes of the job that it submits.

Pure: no Airflow, no clock, no I/O.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from functools import cache
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter, ValidationError

if TYPE_CHECKING:
    from airflow_riffusion.core.capacity import ExecutingJob


@dataclass(frozen=True, slots=True)
class JobNote:
    """
    How far a task's job has come, as plain JSON: before the submission, and when the job is accepted.

    :param reply_ref: the job's ``replyRef``, the same in every try.
    :param submitted_by: the claim of the trigger that sends the submission: another one steps back.
    :param submissions: how often a submission was sent.
    :param waited_seconds: from the beginning of the wait until the last submission.
    :param submitted_at: when the last submission was sent, in seconds since the epoch.
    :param accepted: whether the service is known to have made the job.
    :param job_id: its id, once it is known.
    :param user_id: its account, once it is known.
    :param is_seen: whether a reading has shown it.
    :param ran_seconds: from the submission until a reading showed that the job is over.
    """

    reply_ref: str
    submitted_by: str | None = None
    submissions: int = 0
    waited_seconds: float = 0.0
    submitted_at: float = 0.0
    accepted: bool = False
    job_id: str | None = None
    user_id: str | None = None
    is_seen: bool = False
    ran_seconds: float | None = None

    @classmethod
    def parse(cls, value: object) -> JobNote | None:
        """Return what was noted, or None if nothing was, or something else."""
        try:
            return _adapter().validate_python(value)
        except ValidationError:
            return None

    def to_json(self) -> dict[str, Any]:
        """Return the note as plain JSON."""
        return asdict(self)

    def accept(self, job: ExecutingJob) -> JobNote:
        """Note that the service has made the job; an answer may name neither its id nor its account."""
        return replace(
            self, accepted=True, job_id=job.job_id or self.job_id, user_id=job.user_id or self.user_id
        )

    def over(self, job: ExecutingJob | None, now: float) -> JobNote:
        """Note that a job that was seen has ended; ``job``: as it was seen last, if that is news."""
        note = self if job is None else self.accept(job)
        return replace(note, ran_seconds=round(max(0.0, now - self.submitted_at), 3))

    def to_xcom(self, result: Any) -> dict[str, Any]:
        """Return the XCom of the task, with what the service said of the outcome."""
        return {
            "job_id": self.job_id,
            "user_id": self.user_id,
            "reply_ref": self.reply_ref,
            "submissions": self.submissions,
            "waited_seconds": self.waited_seconds,
            "ran_seconds": self.ran_seconds,
            "result": result,
        }

    def __str__(self) -> str:
        if self.job_id is None:
            return f"the job with replyRef {self.reply_ref!r}"
        return f"job {self.job_id}"

    @property
    def title(self) -> str:
        """The job at the beginning of a sentence."""
        return str(self)[0].upper() + str(self)[1:]


@cache
def _adapter() -> TypeAdapter[JobNote]:
    return TypeAdapter(JobNote)
