"""``airflow dags test``, which runs a DAG without a scheduler or a triggerer, with stored connections."""

from __future__ import annotations

import json
import shutil

import pytest

from airflow_riffusion.emulator import EmulatorServer
from dev.airflow_stack import AirflowStack
from tests.system.conftest import EXAMPLE_DAGS, TEST_DAGS

PROMPTS = ["one", "two"]


@pytest.fixture(scope="module")
def emulator(token):
    with EmulatorServer(accounts=2, max_jobs=2, job_seconds=6, token=token) as emulator:
        yield emulator


@pytest.fixture(scope="module")
def run(emulator, token, tmp_path_factory):
    """Return a function that runs a DAG in an Airflow of which nothing else is running."""
    dags = tmp_path_factory.mktemp("dags")
    for file in (*EXAMPLE_DAGS.glob("*.py"), TEST_DAGS / "zero_worker.py"):
        shutil.copy(file, dags)
    airflow = AirflowStack(tmp_path_factory.mktemp("airflow"), dags_folder=dags)
    connection = json.dumps({"conn_type": "riffusion", "host": emulator.url, "password": token})

    def command(*arguments):
        ended = airflow.cli(*arguments, timeout=240)
        assert ended.returncode == 0, ended.stdout[-3000:] + ended.stderr[-3000:]

    command("db", "migrate")
    for conn_id in ("riffusion_default", "riffusion_zero_worker"):
        command("connections", "add", conn_id, "--conn-json", connection)
    return lambda dag_id, conf: command("dags", "test", dag_id, "--conf", json.dumps(conf))


@pytest.mark.parametrize("dag_id", ["riffusion_capacity_gate", "riffusion_songs"])
def test_dags_test_of_an_example_makes_its_jobs(run, emulator, dag_id):
    before = len(emulator.service.jobs())
    run(dag_id, {"prompts": PROMPTS})

    # In any order: there, each task waits by itself.
    assert sorted(job.prompt for job in emulator.service.jobs()[before:]) == PROMPTS


def test_dags_test_of_zero_worker_sensors_succeeds(run, emulator):
    account = emulator.service.read().accounts[0].user_id

    run("zero_worker", {"account": account, "slots": 1})
