from __future__ import annotations

import pytest

from airflow_riffusion.emulator import EmulatorServer

MODES = ["poke", "reschedule", "deferred"]
ONLY_THE_SENSORS = {"user_id", "granted", "grant_id", "waited_seconds"}
DIFFERS_BY_NATURE = {"observed_at", "grant_id", "waited_seconds"}


@pytest.fixture(scope="module")
def service(token, store_connection):
    """The service behind ``riffusion_modes`` and ``riffusion_wrong_token``: all slots are free."""
    with EmulatorServer(accounts=2, max_jobs=2, token=token) as emulator:
        store_connection("riffusion_modes", emulator)
        store_connection("riffusion_wrong_token", emulator, password="user:0-wrong")
        yield emulator.service


def test_capacity_sensor_returns_the_same_xcom_in_every_mode(airflow_stack, service):
    account = service.read().accounts[1].user_id
    run = airflow_stack.trigger("modes_that_succeed", {"account": account, "slots": 2})
    assert airflow_stack.wait(run, 180) == "success"

    operator = airflow_stack.xcom(run, "operator")
    xcoms = [airflow_stack.xcom(run, mode) for mode in MODES]

    assert [set(xcom) for xcom in xcoms] == [set(operator) | ONLY_THE_SENSORS] * 3
    same = [{key: xcom[key] for key in xcom if key not in DIFFERS_BY_NATURE} for xcom in xcoms]
    assert same[0] == same[1] == same[2]
    assert same[0] == {
        **{key: operator[key] for key in operator if key != "observed_at"},
        "user_id": account,
        "granted": {account: 2},
    }
    assert (operator["available"], operator["max_jobs"], operator["best_user_id"]) == (2, 2, account)


@pytest.fixture(scope="module")
def endings(airflow_stack, service, store_connection, token):
    """Run every mode into every failure, once; return what Airflow tells of each task, and its log."""
    with EmulatorServer(
        accounts=1, max_jobs=1, job_seconds=3600, hide_full_accounts=True, token=token
    ) as full:
        full.service.submit("a very long song")
        store_connection("riffusion_full", full)
        run = airflow_stack.trigger("modes_that_fail")
        airflow_stack.wait(run, 300)
    tasks = {task["task_id"]: task for task in airflow_stack.task_instances(run)}
    for task in tasks.values():
        task["log"] = airflow_stack.log(run, task["task_id"], try_number=task["try_number"])
    return tasks


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    ("case", "message"),
    [
        ("timeout", "AirflowSensorTimeout"),
        ("wrong_token", "check the API token in connection 'riffusion_wrong_token'"),
        ("no_connection", "The connection 'riffusion_missing' does not exist"),
        ("too_many_slots", "99 slots asked for, but the accounts have 4 in all"),
    ],
)
class TestEveryModeEndsAlike:
    def test_capacity_sensor_timeout_or_rejection_fails_without_retry(self, endings, mode, case, message):
        task = endings[f"{mode}_{case}_fails"]

        assert (task["state"], task["try_number"]) == ("failed", 1)
        assert message in task["log"]

    def test_capacity_sensor_soft_fail_timeout_or_rejection_skips_the_task(
        self, endings, mode, case, message
    ):
        task = endings[f"{mode}_{case}_skips"]

        assert (task["state"], task["try_number"]) == ("skipped", 1)
