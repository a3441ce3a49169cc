from __future__ import annotations

import pytest

from airflow_riffusion.emulator import EmulatorServer
from dev.airflow_client import attempts


@pytest.fixture(scope="module")
def tasks(airflow_stack, store_connection, token):
    """Replace the API token while 50 tasks wait, and free the slots when the old one was turned away."""
    with EmulatorServer(
        accounts=2,
        max_jobs=5,
        job_seconds=iter([3600] * 10 + [5] * 5).__next__,
        hide_full_accounts=True,
        token=token,
    ) as emulator:
        jobs = [emulator.service.submit("another client's job") for _ in range(10)]
        store_connection("riffusion_rotation", emulator)
        run = airflow_stack.trigger("token_is_replaced")
        for _ in attempts(120):
            waiting = [task for task in airflow_stack.task_instances(run) if task["state"] == "deferred"]
            read = emulator.service.stats().requests_by_endpoint["capacity"]  # with the old token
            if len(waiting) == 50 and all(task["triggerer_job"] for task in waiting) and read > 1:
                break
        else:
            pytest.fail(f"only {len(waiting)} tasks wait")
        airflow_stack.change_connection("riffusion_rotation", password=f"{token}-renewed")
        emulator.token = f"{token}-renewed"
        for _ in attempts(60):
            if emulator.service.stats().unauthorized:
                break
        else:
            pytest.fail("nobody has used the old token since")
        for job in jobs:
            emulator.service.cancel(str(job.job_id))
        airflow_stack.wait(run, 300)
        unauthorized = emulator.service.stats().unauthorized
    return airflow_stack.task_instances(run), unauthorized


def test_replaced_token_fails_and_retries_no_task(tasks):
    assert {(task["state"], task["try_number"]) for task in tasks[0]} == {("success", 1)}


def test_replaced_token_costs_one_rejected_request_for_all_tasks(tasks):
    assert tasks[1] == 1
