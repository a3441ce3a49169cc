"""Waits for the end of a job that was submitted, and fetches its outcome."""

from __future__ import annotations

import asyncio
import logging
import uuid
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from airflow_riffusion import clock
from airflow_riffusion.core.backoff import Backoff
from airflow_riffusion.core.jobs import WantedJob
from airflow_riffusion.core.outcome import failure, fill_in, scrub
from airflow_riffusion.exceptions import (
    RiffusionBadResponse,
    RiffusionError,
    RiffusionJobFailed,
    RiffusionUnavailable,
)

if TYPE_CHECKING:
    from airflow_riffusion.core.note import JobNote
    from airflow_riffusion.gate.gate import CapacityGate

log = logging.getLogger(__name__)


async def watch(gate: CapacityGate, note: JobNote, poke_interval: float, hold: float) -> JobNote:
    """Wait until a job is over, by the gate's readings; return the note of it with the time it ran."""
    if note.ran_seconds is not None:
        return note  # An earlier try has seen its end.
    may_come = note.submitted_at + hold - clock.epoch()  # maybe by another machine's clock
    job = await gate.watch(
        uuid.uuid4().hex,
        WantedJob(note.job_id, note.reply_ref),
        poke_interval,
        unseen_for=0.0 if note.is_seen else min(hold, max(0.0, may_come)),
    )
    if job is None and not note.is_seen:
        log.warning("No reading showed %s: it was very short, or is lost.", note)
        return note
    note = note.over(job, clock.epoch())
    log.info("%s is over after %.1f s.", note.title, note.ran_seconds)
    return note


async def fetch(
    gate: CapacityGate, note: JobNote, result_endpoint: str, poke_interval: float, patience: float
) -> Any:
    """
    Ask for a job's outcome, and again for some seconds if it is not to be had: it may come late.

    An unavailable service is asked for as long as it takes. None if the job's id is not known.

    :raises RiffusionJobFailed: if the job has failed.
    :raises RiffusionError: if the outcome can't be had.
    """
    if note.job_id is None:
        log.warning("The job's id is not known, so its outcome can't be asked for.")
        return None
    endpoint = fill_in(result_endpoint, job_id=note.job_id, user_id=note.user_id or "")
    late = _now() + patience
    backoff = Backoff(poke_interval)
    while True:
        try:
            result = scrub(await gate.call(lambda hook: hook.run(endpoint)))
            break
        except RiffusionError as error:
            if not (_is_passing(error) or (_may_be_late(error) and _now() < late)):
                raise
            log.warning("%s Asking for the outcome again.", error)
            pause = backoff.failed(0.0, getattr(error, "retry_after", None))
        await asyncio.sleep(pause)
    if reason := failure(result):
        raise RiffusionJobFailed(f"{note.title} failed: {reason}")
    return result


def _is_passing(error: RiffusionError) -> bool:
    """Return whether the service is unavailable; a server error may be what it always answers."""
    return isinstance(error, RiffusionUnavailable) and error.status != HTTPStatus.INTERNAL_SERVER_ERROR


def _may_be_late(error: RiffusionError) -> bool:
    """Return whether an outcome that can't be had now may come soon."""
    late = (HTTPStatus.NOT_FOUND, HTTPStatus.INTERNAL_SERVER_ERROR)
    return isinstance(error, RiffusionBadResponse) or error.status in late


def _now() -> float:
    return asyncio.get_running_loop().time()
