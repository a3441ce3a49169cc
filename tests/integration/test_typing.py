"""The types of what users import, as their own type checker sees them."""

from __future__ import annotations

import subprocess
import sys

import pytest

from airflow_riffusion.compat import HAS_ZERO_WORKER_MODE

# A line with "type: ignore" is a mistake that must be found: strict mode complains of an ignore in vain.
USERS_CODE = """\
from __future__ import annotations

from datetime import timedelta

from airflow.sdk import Asset, AssetWatcher, dag, task

from airflow_riffusion.emulator import EmulatorServer
from airflow_riffusion.exceptions import RiffusionError
from airflow_riffusion.hooks.riffusion import RiffusionHook
from airflow_riffusion.operators.capacity import CapacityOperator
from airflow_riffusion.operators.submit import RiffusionSubmitOperator
from airflow_riffusion.sensors.capacity import CapacitySensor
from airflow_riffusion.sensors.job import JobSensor
from airflow_riffusion.triggers.event import CapacityEventTrigger

watcher = AssetWatcher(name="two_slots", trigger=CapacityEventTrigger(slots=2, user_ids=["a"]))


@task
def ask_elsewhere() -> str:
    return "a"


@dag(schedule=[Asset("two_free_slots", watchers=[watcher])])
def songs() -> None:
    given = ask_elsewhere()
    CapacityOperator(task_id="capacity", riffusion_conn_id=given, user_ids=given)
    CapacitySensor(task_id="gate", riffusion_conn_id=given, slots=given, user_ids=given, timeout=None)
    CapacitySensor(task_id="some", slots="{{ params.slots }}", user_ids=[given, "a", 1])
    CapacitySensor(task_id="long", hold=timedelta(minutes=1), start_from_trigger=True)
    CapacitySensor(task_id="half", slots=0.5)  # type: ignore[arg-type]
    CapacitySensor.partial(task_id="mapped").expand(slots=given)
    song = RiffusionSubmitOperator(
        task_id="song",
        json=given,
        endpoint=given,
        riffusion_conn_id=given,
        slots=given,
        user_ids=given,
        result_endpoint=given,
    )
    RiffusionSubmitOperator(task_id="text", json="{{ params.song }}", user_ids="{{ params.accounts }}")
    RiffusionSubmitOperator(task_id="tags", json={"prompt": "x", "tags": given})
    RiffusionSubmitOperator(task_id="many", json=[{"prompt": "x"}])  # type: ignore[arg-type]
    RiffusionSubmitOperator.partial(task_id="all", pool="songs").expand(json=[{"prompt": "x"}])
    JobSensor(task_id="by_id", riffusion_conn_id=given, job_id=song.output)
    JobSensor(task_id="by_reference", reply_ref=given)
    JobSensor(task_id="by_number", job_id=1)
    JobSensor(task_id="by_list", job_id=["1"])  # type: ignore[arg-type]


def script() -> int:
    hook = RiffusionHook(retries=1)
    title: str = hook.run("music/1")["title"]
    first: str = hook.run("music/")[0]["title"]
    try:
        hook.cancel_job("1")
    except RiffusionError as error:
        print(error.status, error.url, error.detail, title, first)
    with EmulatorServer(accounts=2) as emulator:
        print(emulator.url, emulator.service.stats().executing)
    return sum(account.available for account in hook.get_capacity().for_users(["a"]).accounts)
"""

# To follow what Airflow itself imports takes half a minute, and tells nothing of this package.
SETTINGS = """\
[mypy]
strict = true
follow_imports = skip
[mypy-airflow.sdk.*,airflow.providers.common.compat.*,airflow_riffusion.*]
follow_imports = normal
"""


@pytest.mark.skipif(not HAS_ZERO_WORKER_MODE, reason="the types are those of Airflow 3.3")
def test_public_names_in_strictly_typed_users_code_have_the_right_types(tmp_path):
    (tmp_path / "users_dag.py").write_text(USERS_CODE)
    (tmp_path / "mypy.ini").write_text(SETTINGS)

    mypy = subprocess.run(
        [sys.executable, "-m", "mypy", "users_dag.py"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )

    assert mypy.stdout == "Success: no issues found in 1 source file\n", mypy.stdout + mypy.stderr
