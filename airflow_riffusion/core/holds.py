"""
Slots that were granted and not yet seen in use.

Pure, as :mod:`airflow_riffusion.core.ledger` is.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Iterator

    from airflow_riffusion.core.capacity import ExecutingJob
    from airflow_riffusion.core.request import Grant


@dataclass(slots=True)
class Hold:
    """
    A grant whose jobs were not all seen executing yet.

    :param expires: when it ends, in seconds on the clock that readings are observed by.
    :param left: its slots that are not in use yet, by account.
    :param job_ids: the jobs that were made with it, once they are known.
    """

    grant: Grant
    expires: float
    left: dict[str, int]
    job_ids: frozenset[str] = frozenset()

    @property
    def is_for_one_job(self) -> bool:
        """Whether all of its slots are settled by the first job that is known to be its own."""
        return (self.is_submissions and len(self.job_ids) < 2) or self.grant.request.slots == 1

    @property
    def is_submissions(self) -> bool:
        """Whether its job is submitted here, and will be known by its id."""
        return self.grant.request.reply_ref is not None

    @property
    def awaits_id(self) -> bool:
        """Whether its job may be executing before its id is known."""
        return self.is_submissions and not self.job_ids

    def settle(self, user_id: str | None) -> None:
        """Release one slot, on the job's own account if one is held there."""
        account = user_id if user_id in self.left else next(iter(self.left))
        assert account is not None
        self.left[account] -= 1
        if not self.left[account]:
            del self.left[account]


class Holds:
    """
    All holds of one ledger, oldest first.

    A grant is held until its jobs are seen executing, or until the hold expires. A job settles the hold that
    it was made with, if that is known, or whose reference it carries. As long as no job ever carried one, the
    oldest hold is guessed to be its own, except for holds whose job will be known by its id.

    :ivar references_seen: whether a job ever carried the reference of a hold.
    """

    def __init__(self) -> None:
        self.references_seen = False
        self._holds: dict[str, Hold] = {}
        self._executing: set[Hashable] = set()

    def __iter__(self) -> Iterator[Hold]:
        """Iterate over the holds."""
        return iter(self._holds.values())

    @property
    def slots(self) -> Counter[str]:
        """How many slots are held, by account."""
        held: Counter[str] = Counter()
        for hold in self._holds.values():
            held.update(hold.left)
        return held

    def add(self, grant: Grant, expires: float) -> None:
        """Hold a grant until it expires."""
        self._holds[grant.grant_id] = Hold(grant, expires, dict(grant.slots))

    def remove(self, grant_id: str) -> Hold | None:
        """Remove a hold and return it; None if its jobs were all seen, or it has expired."""
        return self._holds.pop(grant_id, None)

    def renew(self, grant_id: str, now: float, expires: float) -> bool:
        """Let a hold expire later; return whether it has not expired yet."""
        hold = self._holds.get(grant_id)
        if hold is None or hold.expires <= now:
            return False
        hold.expires = max(hold.expires, expires)
        return True

    def expire(self, now: float) -> None:
        """Remove the holds that have expired."""
        self._holds = {grant_id: hold for grant_id, hold in self._holds.items() if hold.expires > now}

    def assign(self, grant_id: str, job_ids: Iterable[str]) -> None:
        """Note which jobs a grant has become; if one was seen already, that settles the hold."""
        hold = self._holds.get(grant_id)
        if hold is None:
            return
        hold.job_ids = frozenset(job_ids)
        for _ in hold.job_ids & self._executing:
            if hold.left:
                self._settle_one(hold, None)

    def settle(self, jobs: Iterable[ExecutingJob], *, guess: bool = True) -> None:
        """
        Let each job that was not seen before settle a slot of the hold that it belongs to.

        Without ``guess``, a job that is not known to belong to a hold settles nothing.
        """
        executing = {_identity(job): job for job in jobs}
        new = [job for identity, job in executing.items() if identity not in self._executing]
        self._executing = set(executing)
        others = [job for job in new if not self._settle_exactly(job)]
        if self.references_seen or not guess:
            return  # Our jobs carry references, so the others belong to other clients.
        if any(hold.awaits_id for hold in self._holds.values()):
            return  # One of the others may be its job, before the answer to its submission.
        for job in others:
            hold = self._guess(job)
            if hold is not None:
                self._settle_one(hold, job.user_id)

    def _settle_exactly(self, job: ExecutingJob) -> bool:
        """Settle the hold that a job is known to belong to; return whether there is one."""
        by_id = (hold for hold in self._holds.values() if job.job_id in hold.job_ids)
        if (hold := next(by_id, None)) is None:
            hold = next(
                (hold for hold in self._holds.values() if hold.grant.reply_ref == job.reply_ref), None
            )
            # One that was found by asking does not show that other jobs carry references.
            self.references_seen |= hold is not None and job.reference_status == "known"
        if hold is None:
            return False
        self._settle_one(hold, job.user_id)
        return True

    def _guess(self, job: ExecutingJob) -> Hold | None:
        """Return the oldest hold on the job's account, else the oldest that could have used it."""
        holds = [hold for hold in self._holds.values() if not hold.is_submissions]
        on_account = (hold for hold in holds if job.user_id in hold.left)
        usable = (hold for hold in holds if job.user_id is None or hold.grant.request.usable(job.user_id))
        return next(on_account, None) or next(usable, None)

    def _settle_one(self, hold: Hold, user_id: str | None) -> None:
        """Release a slot for a job on an account, or the whole hold if there will be no other job of it."""
        if hold.is_for_one_job:
            hold.left.clear()
        else:
            hold.settle(user_id)
        if not hold.left:
            self.remove(hold.grant.grant_id)


def _identity(job: ExecutingJob) -> Hashable:
    """Return what identifies a job in the next reading, also where the service gives it no id."""
    return job.job_id or (job.user_id, job.started, job.reply_ref)
