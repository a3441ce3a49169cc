from __future__ import annotations

import asyncio

import pytest
from fastapi import HTTPException

from airflow_riffusion.emulator.dialects import newer
from airflow_riffusion.emulator.dialects.base import Context
from airflow_riffusion.emulator.dialects.newer import wait_for_end
from airflow_riffusion.emulator.records import UnknownJob
from airflow_riffusion.emulator.service import SchedulerService


def wait(service, job, *, closing=False):
    async def run():
        context = Context(service, asyncio.Event())
        if closing:
            context.closing.set()
        return await wait_for_end(context, job)

    return asyncio.run(run())


def test_wait_for_end_failed_job_is_returned(service, clock):
    job = service.submit("a prompt", error="moderated")
    clock.advance(20)
    assert wait(service, job).status == "failed"


def test_wait_for_end_stopped_job_is_not_found(service):
    job = service.submit("a prompt")
    service.cancel(job.job_id)
    with pytest.raises(UnknownJob):
        wait(service, job)


def test_wait_for_end_of_an_emulator_that_closes_is_given_up(service):
    with pytest.raises(HTTPException) as error:
        wait(service, service.submit("a prompt"), closing=True)
    assert error.value.status_code == 504


def test_wait_for_end_with_a_clock_that_stands_still_is_given_up(clock, monkeypatch):
    monkeypatch.setattr(newer, "_GRACE_SECONDS", 0)
    service = SchedulerService(
        {"one": 1}, new_job_id=lambda *_arguments: "job-1", job_seconds=0.001, clock=clock
    )
    with pytest.raises(HTTPException) as error:
        wait(service, service.submit("a prompt"))
    assert error.value.status_code == 504
