"""Submits a job exactly once, over lost answers, restarts and retries."""

from __future__ import annotations

import asyncio
import logging
import uuid
from contextlib import suppress
from dataclasses import replace
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from airflow_riffusion import clock
from airflow_riffusion.core.note import JobNote
from airflow_riffusion.core.outcome import State, scrub
from airflow_riffusion.core.request import Grant, grant_line
from airflow_riffusion.exceptions import (
    RiffusionError,
    RiffusionJobFailed,
    RiffusionRejected,
    RiffusionUnavailable,
)
from airflow_riffusion.gate.notes import PatientNotes
from airflow_riffusion.gate.search import JobSearch
from airflow_riffusion.gate.setbacks import Setbacks
from airflow_riffusion.hooks.errors import ACCOUNT_LOGGED_OUT
from airflow_riffusion.hooks.submission import endpoint_of, read_answer, send

if TYPE_CHECKING:
    from airflow_riffusion.core.capacity import ExecutingJob
    from airflow_riffusion.core.outcome import Outcome
    from airflow_riffusion.core.request import SlotRequest
    from airflow_riffusion.core.submission import Submission
    from airflow_riffusion.gate.gate import CapacityGate
    from airflow_riffusion.hooks.riffusion import RiffusionHook
    from airflow_riffusion.services.base import Service
    from airflow_riffusion.xcoms import JobNotes

log = logging.getLogger(__name__)

# Seconds from a claim until the submission is sent. Airflow gives the triggers of a triggerer that has
# stalled for 30 s ([triggerer] triggerer_health_check_threshold) to another one: then it must not send.
_CLAIM_LIFETIME = 15.0

# Airflow gives the end of a trigger that a person has ended 30 s in all.
_LONGEST_STOP = 15.0
_STOP_RETRIES = 2


class _ClaimExpired(Exception):
    """The process has stalled between the claim and the submission."""


class Submitter:
    """
    Submits one job, when it has its slot, exactly once.

    The job is noted before the submission and after it, so that another one can go on after a restart. After
    a submission without a clear answer the job is looked for among those that are executing; another one is
    submitted only if two readings do not show it.

    :param gate: the connection's gate.
    :param notes: where the job is noted.
    :param submission: what to submit.
    :param request: the slot that the job needs, with its ``replyRef``.
    :param poke_interval: seconds between readings.
    :param noted: what an earlier try has noted.
    :param in_doubt: whether an earlier try may have made a job of which nothing was noted.
    :param resubmit_in_doubt: whether to submit another job although an executing one may be this task's,
        and the service does not tell.
    """

    def __init__(
        self,
        gate: CapacityGate,
        notes: JobNotes,
        submission: Submission,
        request: SlotRequest,
        *,
        poke_interval: float,
        noted: JobNote | None = None,
        in_doubt: bool = False,
        resubmit_in_doubt: bool = False,
    ) -> None:
        assert request.reply_ref is not None
        self.note = JobNote(request.reply_ref)
        # The XCom of the task, if the answer to the submission came with the song.
        self.result: dict[str, Any] | None = None
        self._gate = gate
        self._notes = PatientNotes(notes, poke_interval)
        self._submission = submission
        self._request = request
        self._poke_interval = poke_interval
        self._noted = noted
        self._search = JobSearch(
            gate, request, poke_interval, in_doubt=in_doubt, resubmit_in_doubt=resubmit_in_doubt
        )
        self._is_stopped = self._stops_late = False
        self._grant_id: str | None = None
        self._sending: asyncio.Task[None] | None = None
        self._setbacks = Setbacks(poke_interval)

    async def submit(self) -> None:
        """
        Wait for slots and submit, until the job is accepted or turns out to be.

        :raises RiffusionRejected: if no submission can succeed.
        :raises RiffusionError: if several in a row have failed in the same way.
        """
        try:
            while not await self._find():
                await self._check_endpoint()
                self._setbacks.check()
                if grant := await self._wait_for_slot():
                    await self._send(grant)
        except BaseException:
            if not self._is_sending:
                self.give_back()
            raise

    async def update(self, note: JobNote) -> None:
        """Note what has become of the job."""
        if note != self.note:
            self.note = note
            await self._notes.keep(self.note)

    async def stop(self) -> None:
        """Stop the job if there may be one, and free its slot."""
        self._is_stopped = True
        if self._sending is not None:
            # Its answer tells which job to stop.
            _, unanswered = await asyncio.wait([self._sending], timeout=_LONGEST_STOP)
            if unanswered:
                self._stops_late = True
                return
        self.give_back()
        # Thousands may be ended at once: only those ask the service that know of a job, or can't know yet.
        if not self.note.accepted and not self._search.may_exist(self.note):
            return
        try:
            stopped = await self._gate.call(self._stop)
        except RiffusionRejected as error:
            log.warning("%s can't be stopped, and goes on. %s", self.note.title, error)
        else:
            said = "is stopped, and its slot is free. The service may still make it, and bill it"
            log.info("%s %s.", self.note.title, said if stopped else "was not executing")
        await self._notes.delete(self.note)

    def give_back(self) -> None:
        """Give the last granted slot back, if no job has been seen to use it."""
        if self._grant_id is not None:
            self._gate.give_back(self._grant_id)
            self._grant_id = None

    def _stop(self, hook: RiffusionHook) -> bool:
        hook.retries = _STOP_RETRIES  # of this copy
        if not self.note.job_ids:
            return hook.cancel_job(reply_ref=self.note.reply_ref)
        stopped = [hook.cancel_job(job_id) for job_id in self.note.job_ids]
        return any(stopped)

    async def _find(self) -> bool:
        """Return whether the job is made: by the notes, or, if that is in doubt, by two readings."""
        if not self.note.accepted:
            await self._recall()
        if self._search.is_due and not self.note.accepted:
            found = await self._seen_during_pause() or await self._search.look(self.note)
            if found is not None:
                await self._adopt(found)
        if not self.note.accepted:
            self.give_back()  # No job uses the slot of the last submission.
        return self.note.accepted

    async def _seen_during_pause(self) -> ExecutingJob | None:
        """Leave the service alone if it asked for that; return the job if another task's reading shows it."""
        if not (pause := self._setbacks.leave_alone):
            return None
        self.give_back()  # A hold needs readings.
        with self._gate.submissions.expecting(self.note.reply_ref) as seen:
            await asyncio.sleep(pause)
            return seen()

    async def _recall(self) -> None:
        """Take over what an earlier try, or another triggerer, has noted."""
        noted, is_of_earlier_try = await self._notes.read(), False
        if noted is None and self._noted is not None:
            noted, is_of_earlier_try = self._noted, True
        if noted is None:
            return
        if noted.accepted:
            self.note = noted
            log.info("%s was accepted before: no other is submitted.", noted.title)
            if is_of_earlier_try:
                await self._notes.keep(self.note)
        elif noted.submitted_by != self.note.submitted_by:
            self.note = noted
            self._search.begin()

    async def _wait_for_slot(self) -> Grant | None:
        """Wait for a slot; None if a reading shows the job of an unclear submission after all."""
        await asyncio.sleep(self._setbacks.pause)
        self._grant_id = uuid.uuid4().hex
        waiting = self._gate.wait(self._grant_id, self._request, self._poke_interval)
        outcome = await self._search.unless_seen(self.note, waiting)
        if isinstance(outcome, Grant):
            log.info("%s", grant_line(outcome.to_xcom()))
            return outcome
        self.give_back()
        if outcome is not None:
            await self._adopt(outcome)
        return None

    async def _send(self, grant: Grant) -> None:
        """Send the one submission of a grant; if this is cancelled meanwhile, the job is still noted."""
        self._sending = asyncio.create_task(self._claim_and_send(grant))
        await asyncio.shield(self._sending)

    async def _claim_and_send(self, grant: Grant) -> None:
        try:
            interval = (await self._gate.settings()).service.submission_interval
        except RiffusionUnavailable as error:
            self._set_back(error, may_exist=False)
            return
        user_id = next(iter(grant.slots))
        async with self._gate.submissions.turn(interval) as submit:
            if not self._renew_hold():
                return
            self.note = replace(
                self.note,
                submitted_by=uuid.uuid4().hex,
                submissions=self.note.submissions + 1,
                waited_seconds=round(grant.waited_seconds, 3),
                submitted_at=clock.epoch(),
                user_id=user_id,
            )
            not_after = clock.monotonic() + _CLAIM_LIFETIME
            if not await self._notes.claim(self.note, carefully=self._gate.has_stalled):
                log.warning("The task is another triggerer's by now: nothing is submitted here.")
                self._search.begin()
                return
            with self._gate.submissions.expecting(self.note.reply_ref) as seen:
                try:
                    service, answer = await submit(
                        partial(self._post, user_id, self.note.reply_ref, not_after)
                    )
                except _ClaimExpired:
                    log.warning(
                        "This triggerer has stalled before the submission: looking for the job first."
                    )
                    self._search.begin()
                except RiffusionError as error:
                    self._take_error(error)
                    if (job := seen()) is not None:
                        await self._adopt(job)
                else:
                    await self._take_answer(service, answer)
            if self._stops_late and self.note.accepted:
                self.give_back()
                await self._gate.call(self._stop)

    def _renew_hold(self) -> bool:
        """Return whether the slot is still held when it is this submission's turn to be sent."""
        if self._grant_id is not None and self._gate.renew(self._grant_id, self._request.hold):
            return True
        log.warning("The slot is not held any more: it took too long to submit. Waiting for another one.")
        self._grant_id = None
        return False

    async def _take_answer(self, service: Service, answer: Any) -> None:
        self.note = self.note.accept(read_answer(service, answer))
        self._gate.accepted(self._grant_id, self.note.job_ids, self.note.reply_ref)
        log.info("Submitted %s on account %s.", self.note, self.note.user_id)
        if service.has_ended(answer):
            self._take_outcome(answer, service.outcome(answer))
        await self._notes.keep(self.note)

    def _take_outcome(self, answer: Any, outcome: Outcome) -> None:
        """End with an answer that came with the song."""
        self.give_back()
        self.note = self.note.over(None, clock.epoch())
        if outcome.state is State.FAILED:
            raise RiffusionJobFailed(f"{self.note.title} failed: {outcome.reason}")
        self.result = self.note.to_xcom(scrub(answer), outcome.audio)

    def _take_error(self, error: RiffusionError) -> None:
        """Plan the next submission, or raise an error that no other one would mend."""
        if not isinstance(error, RiffusionRejected):
            self._set_back(error, may_exist=error.status != HTTPStatus.TOO_MANY_REQUESTS)
        elif error.status == ACCOUNT_LOGGED_OUT and self._request.user_ids != frozenset({self.note.user_id}):
            self._gate.doubt_accounts()
            self._set_back(error, may_exist=False)
        else:
            raise error

    async def _check_endpoint(self) -> None:
        """Find out before the wait that the service has no endpoint for this."""
        with suppress(RiffusionUnavailable):
            endpoint_of(self._submission, (await self._gate.settings()).service)

    def _post(
        self, user_id: str, reply_ref: str, not_after: float, hook: RiffusionHook
    ) -> tuple[Service, Any]:
        if clock.monotonic() > not_after or self._is_stopped:
            raise _ClaimExpired
        return send(hook, self._submission, user_id=user_id, reply_ref=reply_ref)

    def _set_back(self, error: RiffusionError, *, may_exist: bool) -> None:
        """Plan the next submission after one that failed, or was not even sent."""
        self._setbacks.add(error)
        if may_exist:
            log.warning("%s Looking for the job: it may have been accepted all the same.", error)
            self._search.begin()
        else:
            log.warning("%s Waiting for another slot, at the same place in the queue.", error)
            self.give_back()

    async def _adopt(self, job: ExecutingJob) -> None:
        """Go on with a job that a reading shows."""
        started = job.started.timestamp() if job.started else clock.epoch()
        submitted_by = self.note.submitted_by or uuid.uuid4().hex
        job_ids = self.note.job_ids or self._gate.job_ids(self.note.reply_ref)
        self.note = replace(
            self.note, submitted_by=submitted_by, submitted_at=started, job_ids=job_ids
        ).adopt(job)
        self._gate.accepted(self._grant_id, self.note.job_ids, self.note.reply_ref)
        log.info("%s of an earlier submission is executing: no other is submitted.", self.note.title)
        await self._notes.keep(self.note)

    @property
    def _is_sending(self) -> bool:
        return self._sending is not None and not self._sending.done()
