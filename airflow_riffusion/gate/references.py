"""The references of jobs, on services whose readings do not name them."""

from __future__ import annotations

import asyncio
import contextvars
import logging
from collections import Counter
from typing import TYPE_CHECKING

from airflow_riffusion.core.backoff import Backoff
from airflow_riffusion.exceptions import RiffusionUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_riffusion.core.capacity import Capacity, ExecutingJob
    from airflow_riffusion.gate.source import ReadingSource

log = logging.getLogger(__name__)

# How often a job is asked for its reference in vain: the first time, it may have ended just then; an
# unavailable service may be well again after some minutes.
_MOST_QUESTIONS = 2
_MOST_FAILURES = 10
_SHORTEST_PAUSE, _LONGEST_PAUSE = 1.0, 60.0  # seconds
_PATIENCE = 3.0  # seconds


class JobReferences:
    """
    Finds out with which ``replyRef`` jobs were submitted, and adds that to readings.

    A job is asked once, and only while a watch needs a reference on the job's account. Jobs that were
    submitted here are known without asking. A reading waits some seconds for the answers; later ones are in
    the next reading.
    """

    def __init__(self, source: ReadingSource) -> None:
        self._source = source
        self._found: dict[str, str | None] = {}
        self._in_vain: Counter[str] = Counter()
        self._failures: Counter[str] = Counter()
        self._listed: set[str | None] = set()
        self._asking: asyncio.Task[None] | None = None
        self._backoff = Backoff(_SHORTEST_PAUSE, longest=_LONGEST_PAUSE)

    def learn(self, job_id: str, reply_ref: str) -> None:
        """Remember a job that was submitted here."""
        self._found[job_id] = reply_ref

    async def complete(self, reading: Capacity, sought: Callable[[ExecutingJob], bool]) -> Capacity:
        """Return a reading with the references that are known, and ask the jobs that are sought."""
        self._forget_ended(reading)
        unknown = {job.job_id: job for job in reading.jobs if job.reference_status == "unknown"}
        if not unknown:
            return reading
        withheld = {job_id for job_id in unknown if job_id is not None and self._is_withheld(job_id)}
        asked = [
            job_id
            for job_id, job in unknown.items()
            if job_id is not None and job_id not in self._found.keys() | withheld and sought(job)
        ]
        if asked and self._asking is None and _now() >= self._backoff.not_before:
            asked.sort(key=self._failures.__getitem__)  # One that always fails must not keep others from it.
            self._asking = asyncio.create_task(self._ask_all(asked), context=contextvars.Context())
            await asyncio.wait([self._asking], timeout=_PATIENCE)
        return reading.with_references(self._found, withheld)

    def _is_withheld(self, job_id: str) -> bool:
        return self._in_vain[job_id] >= _MOST_QUESTIONS or self._failures[job_id] >= _MOST_FAILURES

    def _forget_ended(self, reading: Capacity) -> None:
        before, self._listed = self._listed, {job.job_id for job in reading.jobs}
        for job_id in before - self._listed:
            if job_id is not None:
                self._found.pop(job_id, None)
                del self._in_vain[job_id], self._failures[job_id]

    async def _ask_all(self, job_ids: list[str]) -> None:
        try:
            for job_id in job_ids:
                await self._ask(job_id)
            self._backoff.succeeded()
        except RiffusionUnavailable as error:
            log.warning("Jobs can't be asked for their replyRef now: %s", error)
            self._backoff.failed(_now(), error.retry_after)
        finally:
            self._asking = None

    async def _ask(self, job_id: str) -> None:
        try:
            self._found[job_id] = await self._source.call(lambda hook: hook.reference_of(job_id))
        except RiffusionUnavailable:
            self._failures[job_id] += 1
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, that job can't be told
            self._in_vain[job_id] += 1
            log.warning("Job %s does not tell its replyRef: %s", job_id, error)


def _now() -> float:
    return asyncio.get_running_loop().time()
