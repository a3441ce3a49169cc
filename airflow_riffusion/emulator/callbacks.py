"""Calling the ``replyUrl`` of jobs that have completed or failed."""

from __future__ import annotations

import asyncio
import logging
from concurrent.futures import Future
from threading import Thread
from typing import TYPE_CHECKING, Any

import requests

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_riffusion.emulator.dialects.base import Dialect
    from airflow_riffusion.emulator.service import SchedulerService

CALLBACK_SECONDS = 5.0
_TICK_SECONDS = 0.05

_log = logging.getLogger(__name__)


async def report_ended_jobs(service: SchedulerService, dialect: Dialect, base_url: Callable[[], str]) -> None:
    """Call the ``replyUrl`` of each job soon after its end, with its outcome, until cancelled."""
    async with asyncio.TaskGroup() as calls:
        while True:
            for job in service.take_ended():
                if job.reply_url is not None:
                    outcome = dialect.outcome(job, base_url())
                    calls.create_task(_call(job.reply_url, outcome, job.job_id))
            await asyncio.sleep(_TICK_SECONDS)


async def _call(url: str, outcome: Any, job_id: str | int) -> None:
    status: Future[int] = Future()
    status.set_running_or_notify_cancel()
    # A thread each, as a daemon: a receiver that never answers delays no other call, nor the emulator's end.
    Thread(target=_post, args=(url, outcome, status), daemon=True).start()
    try:
        async with asyncio.timeout(CALLBACK_SECONDS):
            code = await asyncio.wrap_future(status)
    except TimeoutError:
        _log.warning("Job %s: its replyUrl did not answer within %g s", job_id, CALLBACK_SECONDS)
    except Exception as error:  # noqa: BLE001 - the next receivers are called all the same
        _log.warning("Job %s: its replyUrl could not be called: %s", job_id, _reason(error))
    else:
        level = logging.DEBUG if 200 <= code < 300 else logging.WARNING
        _log.log(level, "Job %s: its replyUrl answered %d", job_id, code)


def _post(url: str, outcome: Any, status: Future[int]) -> None:
    try:
        with requests.Session() as session:
            session.trust_env = False
            # With stream=True, no body is read.
            with session.post(
                url, json=outcome, timeout=CALLBACK_SECONDS, allow_redirects=False, stream=True
            ) as answer:
                status.set_result(answer.status_code)
    except requests.Timeout:
        pass  # One wait was too long, which ends this thread. The limit of the whole call is in _call().
    except Exception as error:  # noqa: BLE001 - it is logged with the job
        status.set_exception(error)


def _reason(error: BaseException) -> str:
    """Return the operating system's words, or the kind of error: other words may quote the URL's secrets."""
    cause: BaseException | None = error
    while cause is not None:
        if reason := getattr(cause, "strerror", None):
            return str(reason)
        cause = cause.__context__
    return type(error).__name__
