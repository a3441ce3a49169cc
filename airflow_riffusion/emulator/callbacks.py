"""Calling the ``replyUrl`` of jobs that have ended by themselves."""

from __future__ import annotations

import asyncio
import json
import logging
from typing import TYPE_CHECKING

from pydantic import AnyHttpUrl

if TYPE_CHECKING:
    from airflow_riffusion.emulator.dialects import Dialect, JsonObject
    from airflow_riffusion.emulator.service import SchedulerService

CALLBACK_SECONDS = 5.0
"""How long a callback may take in all, in seconds."""

_TICK_SECONDS = 0.05

_log = logging.getLogger(__name__)


async def report_ended_jobs(service: SchedulerService, dialect: Dialect) -> None:
    """
    Call the ``replyUrl`` of each job soon after it has ended, until cancelled.

    :param service: whose jobs.
    :param dialect: how to name things in the report.
    """
    async with asyncio.TaskGroup() as calls:
        while True:
            for job in service.take_ended():
                if job.reply_url is not None:
                    calls.create_task(_call(job.reply_url, dialect.ended(job), job.job_id))
            await asyncio.sleep(_TICK_SECONDS)


async def _call(url: str, report: JsonObject, job_id: str | int) -> None:
    try:
        async with asyncio.timeout(CALLBACK_SECONDS):
            status = await _post(AnyHttpUrl(url), json.dumps(report).encode())
    except Exception as error:  # noqa: BLE001  (whatever one receiver does, the others are still called)
        # Of other errors only the kind is told: they may quote the URL, which can carry secrets.
        reason = str(error) if isinstance(error, OSError) else ""
        _log.warning("Job %s: its replyUrl could not be called: %s", job_id, reason or type(error).__name__)
    else:
        level = logging.DEBUG if 200 <= status < 300 else logging.WARNING
        _log.log(level, "Job %s: its replyUrl answered %d", job_id, status)


async def _post(url: AnyHttpUrl, body: bytes) -> int:
    """
    Post a body and read no more of the answer than its status.

    No HTTP library is used: the time limit is on the whole call, a redirect has nobody to follow it, and
    neither a proxy nor a ``.netrc`` of this machine can come between.
    """
    host, port = url.host or "", url.port or 0
    target = (url.path or "/") + (f"?{url.query}" if url.query else "")
    head = (
        f"POST {target} HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    reader, writer = await asyncio.open_connection(host.strip("[]"), port, ssl=url.scheme == "https" or None)
    try:
        writer.write(head.encode() + body)
        await writer.drain()
        return int((await reader.readline()).split()[1])
    finally:
        writer.close()
