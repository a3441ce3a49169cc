"""One run on the Airflow at hand, whichever it is; ``make test-matrix`` runs it on several."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from itertools import chain, repeat
from pathlib import Path

import pytest

from airflow_riffusion.emulator import EmulatorServer
from dev.airflow_client import attempts
from dev.airflow_stack import AirflowStack
from tests.versions import needs_airflow_3

DAGS = Path(__file__).parent / "dags"
RUN = "the_run"
EVENT_DAG = "every_version_event"
CONSOLE_SCRIPT = Path(sys.executable).with_name("airflow-riffusion")


def states(airflow):
    return dict(airflow.query("SELECT task_id, state FROM task_instance WHERE run_id = ?", RUN))


def await_states(airflow, wanted, seconds):
    for _ in attempts(seconds):
        if wanted(now := states(airflow)):
            return now
    pytest.fail(f"the tasks are {states(airflow)}")


def unpause(airflow, dag_id):
    for _ in attempts(60):
        if airflow.query("SELECT 1 FROM serialized_dag WHERE dag_id = ?", dag_id):
            break
    assert airflow.cli("dags", "unpause", "--yes", dag_id).returncode == 0


def await_event_runs(airflow, wanted):
    for _ in attempts(120):
        runs = airflow.query("SELECT state FROM dag_run WHERE dag_id = ?", EVENT_DAG)
        if runs == [("success",)] * wanted:
            return
    pytest.fail(f"the runs are {runs}")


@pytest.fixture(scope="module")
def service(token):
    """One slot; the first job takes it until it is cancelled."""
    seconds = chain((3600, 5, 5), repeat(3600))
    with EmulatorServer(accounts=1, max_jobs=1, job_seconds=lambda: next(seconds), token=token) as emulator:
        yield emulator


@pytest.fixture(scope="module")
def airflow(service, token, tmp_path_factory):
    """Start an Airflow with a connection in its database."""
    dags = tmp_path_factory.mktemp("dags")
    shutil.copy(DAGS / "every_version.py", dags)
    connection = {"conn_type": "riffusion", "host": service.url, "password": token}
    with AirflowStack(tmp_path_factory.mktemp("airflow"), dags_folder=dags) as airflow:
        stored = airflow.cli(
            "connections", "add", "riffusion_every_version", "--conn-json", json.dumps(connection)
        )
        assert stored.returncode == 0, stored.stderr
        yield airflow


@pytest.fixture(scope="module")
def ended(airflow, service):
    """Return the states that the run's tasks end with."""
    unpause(airflow, "every_version")
    taken = service.service.submit("another client's job")
    triggered = airflow.cli("dags", "trigger", "--run-id", RUN, "every_version")
    assert triggered.returncode == 0, triggered.stderr
    await_states(airflow, lambda now: now.get("gate") == now.get("song") == "deferred", 120)
    service.service.cancel(str(taken.job_id))
    ending = ("success", "failed", "upstream_failed")
    return await_states(airflow, lambda now: all(state in ending for state in now.values()), 240)


def test_version_every_task_succeeds(ended):
    assert ended == dict.fromkeys(("gate", "submit", "ended", "song", "report"), "success")


def test_version_makes_each_job_once_without_a_refusal(ended, service):
    stats = service.service.stats()

    assert (stats.accepted, stats.completed, stats.refusals) == (3, 2, 0)


@needs_airflow_3
def test_version_event_dag_starts_once_for_each_rise(ended, airflow, service):
    dag_file = shutil.copy(DAGS / f"{EVENT_DAG}.py", airflow.env["AIRFLOW__CORE__DAGS_FOLDER"])
    unpause(airflow, EVENT_DAG)
    os.utime(dag_file)  # Airflow looks for a DAG's watchers when it parses its file.
    await_event_runs(airflow, 1)

    taken = service.service.submit("another client's job")
    read = service.service.stats().requests_by_endpoint["capacity"]
    for _ in attempts(60):
        if service.service.stats().requests_by_endpoint["capacity"] >= read + 3:
            break
    await_event_runs(airflow, 1)
    service.service.cancel(str(taken.job_id))
    await_event_runs(airflow, 2)


def test_version_console_script_finds_the_stored_connection(airflow, service):
    shown = subprocess.run(
        [CONSOLE_SCRIPT, "capacity", "--conn-id", "riffusion_every_version", "--output", "json"],
        env=airflow.env,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert (shown.returncode, shown.stderr) == (0, "")
    assert json.loads(shown.stdout)["max_jobs"] == 1
