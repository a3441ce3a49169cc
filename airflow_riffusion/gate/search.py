"""Looks for the job of a submission that got no clear answer."""

from __future__ import annotations

import asyncio
import logging
import math
import uuid
from typing import TYPE_CHECKING

from airflow_riffusion.core.jobs import WantedJob
from airflow_riffusion.core.request import Grant
from airflow_riffusion.exceptions import RiffusionJobAmbiguous

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterable

    from airflow_riffusion.core.capacity import ExecutingJob
    from airflow_riffusion.core.note import JobNote
    from airflow_riffusion.core.request import SlotRequest
    from airflow_riffusion.gate.gate import CapacityGate

log = logging.getLogger(__name__)


class JobSearch:
    """
    Whether a submission without a clear answer has made a job, by the readings of the gate.

    :param gate: the connection's gate.
    :param request: the slot that the job needs.
    :param poke_interval: seconds between readings.
    :param in_doubt: whether there may be a job.
    :param resubmit_in_doubt: whether a job that may be the one, and does not tell, counts as another.
    """

    def __init__(
        self,
        gate: CapacityGate,
        request: SlotRequest,
        poke_interval: float,
        *,
        in_doubt: bool,
        resubmit_in_doubt: bool,
    ) -> None:
        self._gate = gate
        self._request = request
        self._poke_interval = poke_interval
        self._in_doubt = in_doubt
        self._is_over = False
        self._resubmit_in_doubt = resubmit_in_doubt

    @property
    def is_due(self) -> bool:
        """Whether there may be a job, and it was not looked for yet."""
        return self._in_doubt and not self._is_over

    def begin(self) -> None:
        """Look for the job before the next submission: there may be one from now on."""
        self._in_doubt, self._is_over = True, False

    def may_exist(self, note: JobNote) -> bool:
        """Return whether there may be a job: it was not looked for, or the last reading shows it."""
        return self.is_due or (self._in_doubt and bool(self._gate.job_ids(note.reply_ref)))

    async def look(self, note: JobNote) -> ExecutingJob | None:
        """
        Return the job; None if two readings do not show it.

        :raises RiffusionJobAmbiguous: if another may be the one, and that is not to be risked.
        """
        try:
            found = await self._gate.watch(uuid.uuid4().hex, self._wanted(note), self._poke_interval)
        except RiffusionJobAmbiguous as error:
            if not self._resubmit_in_doubt:
                raise RiffusionJobAmbiguous(
                    f"{error} Another song might be made twice, so none is submitted. Look for the job at "
                    "useapi.net; to make another one, clear the task when the job is over, or set "
                    "resubmit_in_doubt=True."
                ) from None
            log.warning("%s Another one is submitted, as resubmit_in_doubt says.", error)
            found = None
        self._is_over = True
        return found

    async def unless_seen(
        self, note: JobNote, waiting: Coroutine[None, None, Grant]
    ) -> Grant | ExecutingJob | None:
        """Wait for a slot; return the job instead if a reading shows it, None if it has to be looked for."""
        outcome = await (self._first(note, waiting) if self._in_doubt else waiting)
        if not isinstance(outcome, Grant):
            return outcome
        jobs = outcome.reading.jobs
        if (job := next((job for job in jobs if job.reply_ref == note.reply_ref), None)) is not None:
            return job
        if self._may_be_among(note, jobs):
            self.begin()
            return None
        return outcome

    async def _first(self, note: JobNote, waiting: Coroutine[None, None, Grant]) -> Grant | ExecutingJob:
        watching = self._gate.watch(
            uuid.uuid4().hex, self._wanted(note), self._poke_interval, unseen_for=math.inf
        )
        # The job first: one reading may bring both.
        tasks = [asyncio.create_task(each) for each in (watching, waiting)]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            outcome = next(task.result() for task in tasks if task.done())
            assert outcome is not None  # a watch without end does not end with nothing
            return outcome
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _may_be_among(self, note: JobNote, jobs: Iterable[ExecutingJob]) -> bool:
        """Return whether the job may be one that was not asked for its reference yet."""
        unknown = (job for job in jobs if job.reference_status == "unknown")
        return self._in_doubt and any(self._wanted(note).may_be(job) for job in unknown)

    def _wanted(self, note: JobNote) -> WantedJob:
        user_ids = frozenset([note.user_id]) if note.user_id else self._request.user_ids
        return WantedJob(reply_ref=note.reply_ref, user_ids=user_ids, until_seen=True)
