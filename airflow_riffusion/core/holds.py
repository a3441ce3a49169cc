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
    """

    grant: Grant
    expires: float
    left: dict[str, int]

    @property
    def is_for_one_job(self) -> bool:
        """Whether all of its slots are settled by the first job with its reference."""
        return self.grant.request.reply_ref is not None or self.grant.request.slots == 1

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

    A grant is held until its jobs are seen executing, or until the hold expires. A job settles the hold
    whose reference it carries. As long as no job ever carried one, the oldest hold is guessed to be its own.

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

    def expire(self, now: float) -> None:
        """Remove the holds that have expired."""
        self._holds = {grant_id: hold for grant_id, hold in self._holds.items() if hold.expires > now}

    def settle(self, jobs: Iterable[ExecutingJob], *, guess: bool = True) -> None:
        """
        Let each job that was not seen before settle a slot of the hold that it belongs to.

        Without ``guess``, a job that carries no hold's reference settles nothing.
        """
        executing = {_identity(job): job for job in jobs}
        new = [job for identity, job in executing.items() if identity not in self._executing]
        self._executing = set(executing)
        by_reference: dict[str | None, Hold] = {hold.grant.reply_ref: hold for hold in self._holds.values()}
        others = []
        for job in new:
            hold = by_reference.get(job.reply_ref)
            if hold is None or not hold.left:
                others.append(job)
                continue
            self.references_seen = True
            if hold.is_for_one_job:
                self._holds.pop(hold.grant.grant_id, None)
            else:
                self._settle_one(hold, job)
        if self.references_seen or not guess:
            return  # Our jobs carry references, so the others belong to other clients.
        for job in others:
            hold = self._guess(job)
            if hold is not None:
                self._settle_one(hold, job)

    def _guess(self, job: ExecutingJob) -> Hold | None:
        """Return the oldest hold on the job's account, else the oldest that could have used it."""
        holds = self._holds.values()
        on_account = (hold for hold in holds if job.user_id in hold.left)
        usable = (hold for hold in holds if job.user_id is None or hold.grant.request.usable(job.user_id))
        return next(on_account, None) or next(usable, None)

    def _settle_one(self, hold: Hold, job: ExecutingJob) -> None:
        hold.settle(job.user_id)
        if not hold.left:
            del self._holds[hold.grant.grant_id]


def _identity(job: ExecutingJob) -> Hashable:
    """Return what identifies a job in the next reading, also where the service gives it no id."""
    return job.job_id or (job.user_id, job.started, job.reply_ref)
