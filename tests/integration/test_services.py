"""What stands on readings works with each service: command line, events, job sensors, whole songs."""

from __future__ import annotations

import asyncio
import json

import pytest

from airflow_riffusion.cli.__main__ import main
from airflow_riffusion.core.jobs import WantedJob
from airflow_riffusion.core.request import SlotRequest
from airflow_riffusion.emulator import EmulatorServer
from airflow_riffusion.gate.gate import CapacityGate
from airflow_riffusion.sensors.job import JobSensor
from airflow_riffusion.services import SERVICES
from airflow_riffusion.triggers.submission import SubmissionTrigger
from tests.versions import needs_airflow_3
from tests.virtual_time import run

CONN_ID = "riffusion_default"
SONGS = [name for name, service in SERVICES.items() if service.submit_endpoint is not None]


@pytest.fixture(params=SERVICES)
def emulator(request, connect):
    with EmulatorServer(service=request.param, accounts=1, max_jobs=2, job_seconds=3600) as emulator:
        connect(emulator.url, conn_id=CONN_ID, extra={"service": request.param, "max_jobs": 2})
        yield emulator


def test_command_line_shows_the_slots_and_jobs_of_each_service(emulator, capsys, restore_process):
    job = emulator.service.submit("polka on the moon")

    with pytest.raises(SystemExit) as ended:
        main(["capacity", "--output", "json"])

    shown = json.loads(capsys.readouterr().out)
    assert ended.value.code == 0
    assert (shown["available"], shown["max_jobs"]) == (1, 2)
    assert [each["job_id"] for each in shown["jobs"]] == [str(job.job_id)]


@needs_airflow_3
def test_event_fires_when_a_slot_of_each_service_comes_free(emulator):
    from airflow_riffusion.triggers.event import CapacityEventTrigger

    jobs = [emulator.service.submit("polka on the moon") for _ in range(2)]

    async def scenario():
        events = CapacityEventTrigger(CONN_ID).run()
        event = asyncio.ensure_future(anext(events))
        await asyncio.sleep(20)
        assert not event.done()
        emulator.service.cancel(str(jobs[0].job_id))
        return (await event).payload

    assert run(scenario())["available"] == 1


def test_job_sensor_sees_a_job_of_each_service_end(emulator):
    job = emulator.service.submit("polka on the moon", reply_ref="mine")

    async def scenario():
        watch = CapacityGate.of(CONN_ID).watch("w", WantedJob(reply_ref="mine"), 5)
        watching = asyncio.ensure_future(watch)
        await asyncio.sleep(20)
        assert not watching.done()
        emulator.service.cancel(str(job.job_id))
        return await watching

    assert run(scenario()).job_id == str(job.job_id)


def test_job_sensor_that_pokes_finds_a_job_of_each_service_by_its_reference(emulator):
    emulator.service.submit("another's", reply_ref="another")
    emulator.service.submit("polka on the moon", reply_ref="mine")
    sensor = JobSensor(task_id="over", reply_ref="mine", deferrable=False)

    assert not sensor.poke({})


@pytest.mark.parametrize("emulator", SONGS, indirect=True)
def test_song_of_each_service_is_submitted_to_the_account_of_its_grant(emulator):
    trigger = SubmissionTrigger.of(
        CONN_ID,
        SlotRequest(since=1.0),
        poke_interval=5,
        json={"prompt": "polka on the moon"},
        reply_ref="mine",
        wait_for_completion=False,
    )

    async def scenario():
        return [event.payload async for event in trigger.run()]

    (event,) = run(scenario())
    (job,) = emulator.service.jobs()
    assert (event["status"], event["result"]["job_id"]) == ("done", str(job.job_id))
    assert (job.user_id, job.reply_ref) == (event["result"]["user_id"], "mine")
