from __future__ import annotations

from collections import defaultdict
from datetime import datetime, timedelta
from itertools import pairwise

import pytest

from airflow_riffusion.emulator import EmulatorServer
from dev.airflow_client import attempts

PRECISION = timedelta(milliseconds=1)  # of waited_seconds


@pytest.fixture(scope="module")
def grants(airflow_stack, store_connection, token):
    """Kill the triggerer while 50 tasks wait, start another one, free the slots; return all XComs."""
    with EmulatorServer(
        accounts=2, max_jobs=5, job_seconds=3600, hide_full_accounts=True, token=token
    ) as emulator:
        jobs = [emulator.service.submit("another client's job") for _ in range(10)]
        store_connection("riffusion_restart", emulator)
        run = airflow_stack.trigger("many_wait")
        for _ in attempts(120):
            waiting = [task for task in airflow_stack.task_instances(run) if task["state"] == "deferred"]
            if len(waiting) == 50 and all(task["triggerer_job"] for task in waiting):
                break
        else:
            pytest.fail(f"only {len(waiting)} tasks wait")
        airflow_stack.kill("triggerer")
        airflow_stack.start("triggerer")
        for job in jobs:
            emulator.service.cancel(str(job.job_id))
        assert airflow_stack.wait(run, 300) == "success"
    tasks = airflow_stack.task_instances(run)
    assert {task["try_number"] for task in tasks} == {1}
    return [airflow_stack.xcom(run, task["task_id"], map_index=task["map_index"]) for task in tasks]


def test_killed_triggerer_loses_no_waiting_task_and_grants_none_twice(grants):
    assert len({grant["grant_id"] for grant in grants}) == 50


def test_killed_triggerer_keeps_the_order_of_waiting_tasks(grants):
    began = defaultdict(list)
    for grant in grants:
        granted_at = datetime.fromisoformat(grant["observed_at"])
        began[granted_at].append(granted_at - timedelta(seconds=grant["waited_seconds"]))

    assert len(began) >= 5  # 10 slots, 50 tasks
    for earlier, later in pairwise(sorted(began)):
        assert max(began[earlier]) <= min(began[later]) + PRECISION
