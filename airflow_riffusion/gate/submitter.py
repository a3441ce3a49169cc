"""Submits a job exactly once, over lost answers, restarts and retries."""

from __future__ import annotations

import asyncio
import logging
import math
import uuid
from dataclasses import replace
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, TypeVar

from airflow_riffusion import clock
from airflow_riffusion.core.backoff import Backoff, capped
from airflow_riffusion.core.capacity import ExecutingJob
from airflow_riffusion.core.jobs import WantedJob
from airflow_riffusion.core.note import JobNote
from airflow_riffusion.core.outcome import refusal
from airflow_riffusion.core.request import Grant, grant_line
from airflow_riffusion.exceptions import (
    RiffusionBadResponse,
    RiffusionError,
    RiffusionRejected,
    RiffusionUnavailable,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from airflow_riffusion.core.request import SlotRequest
    from airflow_riffusion.core.submission import Submission
    from airflow_riffusion.gate.gate import CapacityGate
    from airflow_riffusion.hooks.riffusion import RiffusionHook
    from airflow_riffusion.xcoms import JobNotes

Returned = TypeVar("Returned")

log = logging.getLogger(__name__)

# Seconds from a claim until the submission is sent. Airflow gives the triggers of a triggerer that has
# stalled for 30 s ([triggerer] triggerer_health_check_threshold) to another one: then it must not send.
_CLAIM_LIFETIME = 15.0

# Airflow gives the end of a trigger that a person has ended 30 s in all.
_LONGEST_STOP = 15.0
_STOP_RETRIES = 2

# So many questions to Airflow may fail in a row, which take some minutes.
_MOST_FAILURES_OF_AIRFLOW = 8


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
    ) -> None:
        assert request.reply_ref is not None
        self.note = JobNote(request.reply_ref)
        self._gate = gate
        self._notes = notes
        self._submission = submission
        self._request = request
        self._poke_interval = poke_interval
        self._noted = noted
        self._in_doubt = in_doubt
        self._is_searched = False
        self._is_stopped = self._stops_late = False
        self._grant_id: str | None = None
        self._sending: asyncio.Task[None] | None = None
        self._backoff = Backoff(poke_interval)
        self._not_before = float("-inf")
        self._last_error: RiffusionError | None = None

    async def submit(self) -> None:
        """
        Wait for slots and submit, until the job is accepted or turns out to be.

        :raises RiffusionRejected: if no submission can succeed.
        :raises RiffusionError: if several in a row have failed in the same way.
        """
        try:
            while not await self._find():
                if self._backoff.gives_up:
                    raise self._gives_up()
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
            await self._keep_note()

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
        may_exist = self._in_doubt and (not self._is_searched or self._gate.executes(self.note.reply_ref))
        if not self.note.accepted and not may_exist:
            return
        if await self._gate.call(self._stop):
            said = "is stopped, and its slot is free. The service may still make it, and bill it"
        else:
            said = "was not executing"
        log.info("%s %s.", self.note.title, said)
        await self._notes.delete(self.note)

    def give_back(self) -> None:
        """Give the last granted slot back, if no job has been seen to use it."""
        if self._grant_id is not None:
            self._gate.give_back(self._grant_id)
            self._grant_id = None

    def _stop(self, hook: RiffusionHook) -> bool:
        hook.retries = _STOP_RETRIES  # of this copy
        return hook.cancel_job(self.note.job_id, self.note.reply_ref)

    async def _find(self) -> bool:
        """Return whether the job is made: by the notes, or, if that is in doubt, by two readings."""
        if not self.note.accepted:
            await self._recall()
        if self._in_doubt and not self.note.accepted and not self._is_searched:
            # At once, unless the service asked for a pause: a short job might be over after one.
            if (pause := self._not_before - _now()) > 0:
                self.give_back()  # A hold needs readings.
                await asyncio.sleep(pause)
            found = await self._gate.watch(uuid.uuid4().hex, self._unclear_job, self._poke_interval)
            self._is_searched = True
            if found is not None:
                await self._adopt(found)
        if not self.note.accepted:
            self.give_back()  # No job uses the slot of the last submission.
        return self.note.accepted

    async def _recall(self) -> None:
        """Take over what an earlier try, or another triggerer, has noted."""
        noted, is_of_earlier_try = await self._ask_airflow(self._notes.read), False
        if noted is None and self._noted is not None:
            noted, is_of_earlier_try = self._noted, True
        if noted is None:
            return
        if noted.accepted:
            self.note = noted
            log.info("%s was accepted before: no other is submitted.", noted.title)
            if is_of_earlier_try:
                await self._keep_note()
        elif noted.submitted_by != self.note.submitted_by:
            self.note = noted
            self._doubt()

    async def _wait_for_slot(self) -> Grant | None:
        """Wait for a slot; None if a reading shows the job of an unclear submission after all."""
        await asyncio.sleep(self._backoff.not_before - _now())
        self._grant_id = uuid.uuid4().hex
        outcome = await self._slot_or_job(self._grant_id)
        if isinstance(outcome, Grant):
            listed = (job for job in outcome.reading.jobs if job.reply_ref == self.note.reply_ref)
            if (job := next(listed, None)) is None:
                log.info("%s", grant_line(outcome.to_xcom()))
                return outcome
            outcome = job
        self.give_back()
        await self._adopt(outcome)
        return None

    async def _slot_or_job(self, grant_id: str) -> Grant | ExecutingJob:
        waiting = self._gate.wait(grant_id, self._request, self._poke_interval)
        if not self._in_doubt:
            return await waiting
        watching = self._gate.watch(
            uuid.uuid4().hex, self._unclear_job, self._poke_interval, unseen_for=math.inf
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

    async def _send(self, grant: Grant) -> None:
        """Send the one submission of a grant; if this is cancelled meanwhile, the job is still noted."""
        self._sending = asyncio.create_task(self._claim_and_send(grant))
        await asyncio.shield(self._sending)

    async def _claim_and_send(self, grant: Grant) -> None:
        try:
            settings = await self._gate.settings()
        except RiffusionUnavailable as error:
            self._set_back(error, may_exist=False)
            return
        user_id = next(iter(grant.slots))
        body = self._submission.body(self.note.reply_ref, settings.account_field, user_id)
        async with self._gate.submission() as submit:
            self.note = replace(
                self.note,
                submitted_by=uuid.uuid4().hex,
                submissions=self.note.submissions + 1,
                waited_seconds=round(grant.waited_seconds, 3),
                submitted_at=clock.epoch(),
                user_id=user_id,
            )
            not_after = clock.monotonic() + _CLAIM_LIFETIME
            claim = partial(self._notes.claim, self.note, carefully=self._gate.has_stalled)
            if not await self._ask_airflow(claim):
                log.warning("The task is another triggerer's by now: nothing is submitted here.")
                self._doubt()
                return
            try:
                answer = await submit(partial(self._post, body, not_after))
            except _ClaimExpired:
                log.warning("This triggerer has stalled before the submission: looking for the job first.")
                self._doubt()
            except (RiffusionUnavailable, RiffusionBadResponse) as error:
                self._set_back(error, may_exist=error.status != HTTPStatus.TOO_MANY_REQUESTS)
            else:
                await self._take_answer(answer)

    async def _take_answer(self, answer: Any) -> None:
        if reason := refusal(answer):
            raise RiffusionRejected(f"The service made no job of the submission: {reason}")
        self.note = self.note.accept(ExecutingJob.parse(answer if isinstance(answer, dict) else {}))
        log.info("Submitted %s on account %s.", self.note, self.note.user_id)
        await self._keep_note()
        if self._stops_late:
            self.give_back()
            await self._gate.call(self._stop)

    def _post(self, body: dict[str, Any], not_after: float, hook: RiffusionHook) -> Any:
        if clock.monotonic() > not_after or self._is_stopped:
            raise _ClaimExpired
        return hook.run(self._submission.endpoint, "POST", body)

    def _set_back(self, error: RiffusionUnavailable | RiffusionBadResponse, *, may_exist: bool) -> None:
        """Plan the next submission after one that failed, or was not even sent."""
        is_bad = isinstance(error, RiffusionBadResponse) or error.status == HTTPStatus.INTERNAL_SERVER_ERROR
        retry_after = getattr(error, "retry_after", None)
        self._backoff.failed(_now(), retry_after, bad_answer=is_bad)
        self._not_before = _now() + capped(retry_after)
        self._last_error = error
        if may_exist:
            log.warning("%s Looking for the job: it may have been accepted all the same.", error)
            self._doubt()
        else:
            log.warning("%s Waiting for another slot, at the same place in the queue.", error)
            self.give_back()

    def _gives_up(self) -> RiffusionError:
        """Return the error of submissions that fail again and again, while readings are fine."""
        error = self._last_error
        # No JSON is the fault of the endpoint or the base URL. A server error may be that of the prompt, or
        # may be mended until the next try.
        kind = RiffusionRejected if isinstance(error, RiffusionBadResponse) else RiffusionUnavailable
        return kind(
            f"{self._backoff.bad_answers} submissions in a row failed, and no reading shows a job of theirs. "
            f"The last one: {error}"
        )

    def _doubt(self) -> None:
        self._in_doubt, self._is_searched = True, False

    async def _adopt(self, job: ExecutingJob) -> None:
        """Go on with a job that a reading shows."""
        started = job.started.timestamp() if job.started else clock.epoch()
        submitted_by = self.note.submitted_by or uuid.uuid4().hex
        self.note = replace(self.note, submitted_by=submitted_by, submitted_at=started, is_seen=True).accept(
            job
        )
        log.info("%s of an earlier submission is executing: no other is submitted.", self.note.title)
        await self._keep_note()

    async def _ask_airflow(
        self, ask: Callable[[], Awaitable[Returned]], tries: int = _MOST_FAILURES_OF_AIRFLOW
    ) -> Returned:
        """Ask again if Airflow does not answer: without the note, a second job might be made."""
        backoff = Backoff(self._poke_interval)
        while True:
            try:
                return await ask()
            except Exception as error:
                pause = backoff.failed(0.0)
                if backoff.failures >= tries:
                    raise
                log.warning("Airflow does not answer (%r). Asking again in %.0f s.", error, pause)
            await asyncio.sleep(pause)

    async def _keep_note(self) -> None:
        try:
            await self._ask_airflow(partial(self._notes.write, self.note), tries=3)
        except Exception as error:  # noqa: BLE001 - the job exists: to fail now would lose it
            log.warning("%s can't be noted for a restart: %r", self.note.title, error)

    @property
    def _unclear_job(self) -> WantedJob:
        return WantedJob(reply_ref=self.note.reply_ref, until_seen=True)

    @property
    def _is_sending(self) -> bool:
        return self._sending is not None and not self._sending.done()


def _now() -> float:
    return asyncio.get_running_loop().time()
