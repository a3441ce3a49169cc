"""Waits for the end of a job that was submitted, and fetches its outcome."""

from __future__ import annotations

import asyncio
import logging
import uuid
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, TypeVar

from airflow_riffusion import clock
from airflow_riffusion.core.backoff import Backoff
from airflow_riffusion.core.jobs import WantedJob
from airflow_riffusion.core.outcome import State, audio_files, fill_in, names_status, read_leniently, scrub
from airflow_riffusion.exceptions import (
    RiffusionBadResponse,
    RiffusionError,
    RiffusionJobFailed,
    RiffusionUnavailable,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_riffusion.core.note import JobNote
    from airflow_riffusion.core.outcome import Audio, Outcome
    from airflow_riffusion.gate.gate import CapacityGate
    from airflow_riffusion.services.base import Service

Returned = TypeVar("Returned")

# Seconds for which a job may still run by its outcome, although no reading shows it any more.
_LONGEST_RUN = 3600.0
_LONGEST_PAUSE = 60.0

log = logging.getLogger(__name__)


async def watch(gate: CapacityGate, note: JobNote, poke_interval: float, hold: float) -> JobNote:
    """Wait until a job is over, by the gate's readings; return the note of it with the time it ran."""
    if note.ran_seconds is not None:
        return note  # An earlier try has seen its end.
    may_come = note.submitted_at + hold - clock.epoch()  # maybe by another machine's clock
    job = await gate.watch(
        uuid.uuid4().hex,
        WantedJob(note.job_ids, note.reply_ref),
        poke_interval,
        unseen_for=0.0 if note.is_seen else min(hold, max(0.0, may_come)),
    )
    if job is None and not note.is_seen:
        log.warning("No reading showed %s: it was very short, or is lost.", note)
        return note
    note = note.over(job, clock.epoch())
    log.info("%s is over after %.1f s.", note.title, note.ran_seconds)
    return note


class OutcomeReader:
    """
    Asks for the outcome of a job that is over, and asks again for a while if it comes late.

    An unavailable service is asked for as long as it takes.

    :param gate: the connection's gate.
    :param note: what is known of the job.
    :param submitted_to: the endpoint that it was submitted to; None for the service's own.
    :param result_endpoint: asked for the outcome; None for the service's own.
    :param poke_interval: seconds between questions, at first.
    :param patience: seconds for which an outcome may come late, at least.
    """

    def __init__(
        self,
        gate: CapacityGate,
        note: JobNote,
        *,
        submitted_to: str | None,
        result_endpoint: str | None,
        poke_interval: float,
        patience: float,
    ) -> None:
        self._gate = gate
        self._note = note
        self._submitted_to = submitted_to
        self._result_endpoint = result_endpoint
        self._poke_interval = poke_interval
        self._patience = patience

    async def fetch(self) -> dict[str, Any]:
        """
        Return the XCom of the task: the job, what the service says of its outcome, and its audio.

        :raises RiffusionJobFailed: if the job has failed.
        :raises RiffusionError: if the outcome can't be had.
        """
        if not self._note.job_ids:
            return self._without_id()
        service = await self._service()
        late = _now() + max(self._patience, service.outcome_within)
        results: list[Any] = []
        audio: list[Audio] = []
        for job_id in self._note.job_ids:
            endpoint = self._endpoint(service, job_id)
            if endpoint is None:
                return self._note.to_xcom(None)
            result, outcome = await self._ask(endpoint, late, partial(self._read_outcome, service, job_id))
            results.append(result)
            audio += outcome.audio or await self._audio(service, job_id, late)
        for each in audio:
            log.info("The audio of %s: %s", self._note, each.url)
        return self._note.to_xcom(results[0] if len(results) == 1 else results, audio)

    def _without_id(self) -> dict[str, Any]:
        if not self._note.is_seen:
            raise RiffusionUnavailable(
                "The answer to the submission named no job, and no reading showed one with its replyRef."
            )
        log.warning("The job's id is not known, so its outcome can't be asked for.")
        return self._note.to_xcom(None)

    async def _service(self) -> Service:
        backoff = Backoff(self._poke_interval)
        while True:
            try:
                return (await self._gate.settings()).service
            except RiffusionUnavailable as error:
                log.warning("%s Asking for the outcome again.", error)
                await asyncio.sleep(backoff.failed(0.0))

    def _endpoint(self, service: Service, job_id: str) -> str | None:
        if self._result_endpoint is not None:
            return fill_in(self._result_endpoint, job_id=job_id, user_id=self._note.user_id or "")
        submitted_to = self._submitted_to or service.submit_endpoint or ""
        return service.outcome_endpoint(job_id, self._note.user_id, submitted_to)

    def _read_outcome(self, service: Service, job_id: str, answer: Any) -> Outcome | None:
        """Return the outcome in an answer; None if the job is not over yet."""
        outcome = service.outcome(answer)
        if self._result_endpoint is not None and not names_status(answer):
            outcome = read_leniently(answer)  # Another endpoint has other fields.
        if outcome.state is State.FAILED:
            raise RiffusionJobFailed(f"Job {job_id} failed: {outcome.reason}")
        return outcome if outcome.state is State.DONE else None

    async def _audio(self, service: Service, job_id: str, late: float) -> tuple[Audio, ...]:
        """Ask for the audio of a job where its outcome does not name it."""
        endpoint = service.audio_endpoint(job_id)
        if endpoint is None or self._result_endpoint is not None:
            return ()
        return (await self._ask(endpoint, late, lambda answer: audio_files(answer, "url") or None))[1]

    async def _ask(
        self, endpoint: str, late: float, read: Callable[[Any], Returned | None]
    ) -> tuple[Any, Returned]:
        """Ask until the answer can be read; return it, and what was read."""
        backoff = Backoff(self._poke_interval, longest=_LONGEST_PAUSE)
        began = _now()
        while True:
            try:
                answer = scrub(await self._gate.call(lambda hook: hook.run(endpoint)))
                if (found := read(answer)) is not None:
                    return answer, found
                error: RiffusionError = RiffusionUnavailable(f"The answer from {endpoint} is not final yet.")
                may_come = _now() < max(late, began + _LONGEST_RUN)
            except RiffusionJobFailed:
                raise
            except RiffusionError as raised:
                error, may_come = raised, self._may_come(raised, began, late)
            if not may_come:
                raise error
            log.warning("%s Asking for the outcome again.", error)
            await asyncio.sleep(backoff.failed(0.0, getattr(error, "retry_after", None)))

    @staticmethod
    def _may_come(error: RiffusionError, began: float, late: float) -> bool:
        """Return whether an outcome that can't be had now may come."""
        if error.status == HTTPStatus.GATEWAY_TIMEOUT:
            return _now() < max(late, began + _LONGEST_RUN)  # Some services say so of a job that takes long.
        return _is_passing(error) or (_may_be_late(error) and _now() < late)


def _is_passing(error: RiffusionError) -> bool:
    """Return whether the service is unavailable; a server error may be what it always answers."""
    return isinstance(error, RiffusionUnavailable) and error.status != HTTPStatus.INTERNAL_SERVER_ERROR


def _may_be_late(error: RiffusionError) -> bool:
    """Return whether an outcome that can't be had now may come soon."""
    late = (HTTPStatus.NOT_FOUND, HTTPStatus.INTERNAL_SERVER_ERROR)
    return isinstance(error, RiffusionBadResponse) or error.status in late


def _now() -> float:
    return asyncio.get_running_loop().time()
