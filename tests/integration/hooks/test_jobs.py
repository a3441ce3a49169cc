"""The hook's ways with jobs, over real HTTP."""

from __future__ import annotations

import pytest

from airflow_riffusion.emulator import EmulatorServer
from airflow_riffusion.emulator.faults import Fault
from airflow_riffusion.exceptions import RiffusionRejected, RiffusionUnavailable
from airflow_riffusion.hooks.riffusion import RiffusionHook
from airflow_riffusion.services import SERVICES

# No page read says how these stop a job.
CANT_STOP = ("acemusic", "mureka")


@pytest.fixture(params=[name for name in SERVICES if name not in CANT_STOP])
def emulator(request, connect):
    with EmulatorServer(service=request.param) as emulator:
        connect(emulator.url, extra={"service": request.param, "max_jobs": 2})
        yield emulator


def test_cancel_job_by_id_cancels_it(emulator):
    job = emulator.service.submit("a prompt")

    assert RiffusionHook("riffusion_test").cancel_job(str(job.job_id)) is True
    assert emulator.service.stats().cancelled == 1


def test_cancel_job_by_reference_cancels_no_other_job(emulator):
    emulator.service.submit("somebody else's", reply_ref="another")
    emulator.service.submit("a prompt", reply_ref="mine")

    assert RiffusionHook("riffusion_test").cancel_job(reply_ref="mine") is True
    assert [job.reply_ref for job in emulator.service.read().jobs] == ["another"]


@pytest.mark.parametrize("emulator", CANT_STOP, indirect=True)
def test_cancel_job_service_that_cant_stop_it_is_rejected(emulator):
    job = emulator.service.submit("a prompt")

    with pytest.raises(RiffusionRejected, match="405"):
        RiffusionHook("riffusion_test").cancel_job(str(job.job_id))


@pytest.mark.parametrize("which", [{"job_id": "no such"}, {"reply_ref": "no such"}])
def test_cancel_job_that_is_not_executing_returns_false(emulator, which):
    assert RiffusionHook("riffusion_test").cancel_job(**which) is False


@pytest.mark.parametrize("emulator", ["riffusion"], indirect=True)
def test_cancel_job_unavailable_service_is_retried(emulator, naps):
    job = emulator.service.submit("a prompt")
    emulator.faults.add(Fault(endpoint="stop", status=503, times=2))

    assert RiffusionHook("riffusion_test", retries=2).cancel_job(str(job.job_id)) is True


@pytest.mark.parametrize("emulator", ["riffusion"], indirect=True)
def test_cancel_job_lost_answer_returns_false_after_a_retry(emulator, naps):
    job = emulator.service.submit("a prompt")
    emulator.faults.add(Fault(endpoint="stop", lose_answer=True, times=1))

    assert RiffusionHook("riffusion_test", retries=2).cancel_job(str(job.job_id)) is False
    assert emulator.service.stats().cancelled == 1


@pytest.mark.parametrize("emulator", ["riffusion"], indirect=True)
def test_run_post_with_lost_answer_is_not_sent_again(emulator, naps):
    emulator.faults.add(Fault(endpoint="submit", lose_answer=True))

    with pytest.raises(RiffusionUnavailable):
        RiffusionHook("riffusion_test", retries=3).run("music/create-prompt", "POST", {"prompt": "a prompt"})
    assert emulator.service.stats().accepted == 1


@pytest.mark.parametrize("emulator", ["riffusion"], indirect=True)
def test_cancel_job_answered_403_is_rejected(emulator):
    emulator.faults.add(Fault(endpoint="stop", status=403))

    with pytest.raises(RiffusionRejected, match="403"):
        RiffusionHook("riffusion_test").cancel_job("1")
