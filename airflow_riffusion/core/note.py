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
    from collections.abc import Iterable

    from airflow_riffusion.core.capacity import ExecutingJob
    from airflow_riffusion.core.outcome import Accepted, Audio


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
    :param job_ids: its id, once it is known; some services make two jobs of one submission.
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
    job_ids: tuple[str, ...] = ()
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
        return {**asdict(self), "job_ids": list(self.job_ids)}

    @property
    def job_id(self) -> str | None:
        """The first job's id; None while it is not known."""
        return self.job_ids[0] if self.job_ids else None

    def accept(self, answer: Accepted) -> JobNote:
        """Note that the service has made the job; an answer may name neither its id nor its account."""
        return replace(
            self,
            accepted=True,
            job_ids=answer.job_ids or self.job_ids,
            user_id=answer.user_id or self.user_id,
        )

    def adopt(self, job: ExecutingJob) -> JobNote:
        """Note that a reading shows the job."""
        job_ids = self.job_ids or (() if job.job_id is None else (job.job_id,))
        return replace(
            self, accepted=True, is_seen=True, job_ids=job_ids, user_id=job.user_id or self.user_id
        )

    def over(self, job: ExecutingJob | None, now: float) -> JobNote:
        """Note that a job has ended; ``job``: as it was seen last, if that is news."""
        note = self if job is None else self.adopt(job)
        return replace(note, ran_seconds=round(max(0.0, now - self.submitted_at), 3))

    def to_xcom(self, result: Any, audio: Iterable[Audio] = ()) -> dict[str, Any]:
        """Return the XCom of the task, with what the service said of the outcome, and the files."""
        return {
            "job_id": self.job_id,
            "job_ids": list(self.job_ids),
            "user_id": self.user_id,
            "reply_ref": self.reply_ref,
            "submissions": self.submissions,
            "waited_seconds": self.waited_seconds,
            "ran_seconds": self.ran_seconds,
            "audio": [each.to_xcom() for each in audio],
            "result": result,
        }

    def __str__(self) -> str:
        if not self.job_ids:
            return f"the job with replyRef {self.reply_ref!r}"
        return f"job {' and '.join(self.job_ids)}"

    @property
    def title(self) -> str:
        """The job at the beginning of a sentence."""
        return str(self)[0].upper() + str(self)[1:]


@cache
def _adapter() -> TypeAdapter[JobNote]:
    return TypeAdapter(JobNote)
