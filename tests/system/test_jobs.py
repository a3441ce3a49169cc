from __future__ import annotations

from collections import Counter

import pytest

from airflow_riffusion.emulator import EmulatorServer
from dev.airflow_client import attempts


@pytest.fixture(scope="module")
def run(airflow_stack, store_connection, token):
    """Wait for one job by six sensors, and end it when all wait; return their run, and the job's id."""
    with EmulatorServer(accounts=1, max_jobs=1, job_seconds=3600, token=token) as emulator:
        store_connection("riffusion_job_modes", emulator)
        job = emulator.service.submit("a song", reply_ref="my reference")
        run = airflow_stack.trigger("job_modes", {"job_id": str(job.job_id), "reply_ref": "my reference"})
        for _ in attempts(120):
            states = Counter(task["state"] for task in airflow_stack.task_instances(run))
            if states == {"deferred": 2, "running": 2, "up_for_reschedule": 2} and all(
                "is executing" in airflow_stack.log(run, f"deferred_{which}")
                for which in ("by_id", "by_reference")
            ):
                break
        else:
            pytest.fail(f"not all sensors wait: {states}")
        emulator.service.cancel(str(job.job_id))
        assert airflow_stack.wait(run, 180) == "success"
    return run, str(job.job_id)


@pytest.mark.parametrize("which", ["by_id", "by_reference"])
@pytest.mark.parametrize("mode", ["poke", "deferred"])
def test_job_sensor_returns_the_job_as_last_seen(airflow_stack, run, mode, which):
    ended, job_id = run
    xcom = airflow_stack.xcom(ended, f"{mode}_{which}")

    assert (xcom["job_id"], xcom["reply_ref"]) == (job_id, "my reference")


def test_job_sensor_needs_one_try_in_every_mode(airflow_stack, run):
    assert {task["try_number"] for task in airflow_stack.task_instances(run[0])} == {1}
