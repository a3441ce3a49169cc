"""
Which jobs are executing, and which are over.

Pure, as :mod:`airflow_riffusion.core.ledger` is: no Airflow, no clock, no I/O; times are passed in.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from airflow_riffusion.core.capacity import Capacity, ExecutingJob

READINGS_UNTIL_GONE = 2
"""How many readings in a row must miss a job until it is gone: one alone may be blank or stale."""


@dataclass(frozen=True, slots=True)
class WantedJob:
    """
    Which job to watch: by its id if that is known, else by the reference that it was submitted with.

    :param job_ids: its id, or those of all jobs that one submission has made.
    :param reply_ref: the reference.
    :param user_ids: the accounts on which it may be; None for all.
    :param until_seen: stop as soon as it is seen executing; otherwise when it is over.
    """

    job_ids: tuple[str, ...] = ()
    reply_ref: str | None = None
    user_ids: frozenset[str] | None = None
    until_seen: bool = False

    def may_be(self, job: ExecutingJob) -> bool:
        """Return whether a job whose reference is not known may be this one."""
        on_account = self.user_ids is None or job.user_id is None or job.user_id in self.user_ids
        return not self.job_ids and not job.is_identified and on_account

    def __str__(self) -> str:
        if not self.job_ids:
            return f"a job with replyRef {self.reply_ref!r}"
        return f"job {' and '.join(self.job_ids)}"


@dataclass(frozen=True, slots=True)
class JobUpdate:
    """
    The end of a watch.

    :param job: the job as it was seen last; None if it never was.
    :param ambiguous: another job that may be the one, if the service does not tell.
    """

    watcher_id: str
    job: ExecutingJob | None
    ambiguous: ExecutingJob | None = None


@dataclass(slots=True)
class _Watch:
    wanted: WantedJob
    unseen_until: float
    job: ExecutingJob | None = None
    missed: int = 0

    def look(self, job: ExecutingJob | None) -> None:
        if job is None:
            self.missed += 1
        else:
            self.job, self.missed = job, 0

    def is_over(self, now: float) -> bool:
        if self.wanted.until_seen and self.job is not None:
            return True
        return self.missed >= READINGS_UNTIL_GONE and not self.may_come(now)

    def may_come(self, now: float) -> bool:
        return self.job is None and now < self.unseen_until


class JobLedger:
    """Follows jobs from reading to reading, until they are seen, are over, or have never come."""

    def __init__(self) -> None:
        self._watches: dict[str, _Watch] = {}

    def __len__(self) -> int:
        """Return how many watches there are."""
        return len(self._watches)

    def in_doubt(self, now: float) -> bool:
        """Return whether the last reading missed a job, so that the next one may end its watch."""
        return any(watch.missed and not watch.may_come(now) for watch in self._watches.values())

    def join(self, watcher_id: str, wanted: WantedJob, unseen_until: float) -> None:
        """
        Watch a job from the next reading on.

        A job that was never seen may be on its way until ``unseen_until``, by the clock of the readings.
        """
        self._watches[watcher_id] = _Watch(wanted, unseen_until)

    def leave(self, watcher_id: str) -> None:
        """End a watch, if it has not ended."""
        self._watches.pop(watcher_id, None)

    def seen(self, watcher_id: str) -> ExecutingJob | None:
        """Return the job as it was seen last."""
        return self._watches[watcher_id].job

    def seeks(self, job: ExecutingJob) -> bool:
        """Return whether a job whose reference is not known may be one that is watched by its reference."""
        return any(watch.wanted.may_be(job) for watch in self._watches.values())

    def observe(self, reading: Capacity, now: float) -> list[JobUpdate]:
        """Take in a new reading, and return the watches that it ends."""
        by_id = {job.job_id: job for job in reading.jobs}
        by_ref: dict[str | None, ExecutingJob] = {job.reply_ref: job for job in reading.jobs if job.reply_ref}
        nameless = [job for job in reading.jobs if not job.is_identified]
        ended = []
        for watcher_id, watch in list(self._watches.items()):
            wanted = watch.wanted
            ids = wanted.job_ids
            job = next((by_id[each] for each in ids if each in by_id), None) or (
                None if ids else by_ref.get(wanted.reply_ref)
            )
            candidates = [each for each in nameless if wanted.may_be(each)] if job is None else []
            if any(each.reference_status == "unknown" for each in candidates):
                continue  # The service was not asked yet, or did not answer: this reading tells nothing.
            watch.look(job)
            if watch.is_over(now):
                ended.append(JobUpdate(watcher_id, watch.job, next(iter(candidates), None)))
                self.leave(watcher_id)
        return ended
