"""What must work on every Airflow that the package supports: a gate, a song, and a job waited for."""

from __future__ import annotations

from datetime import UTC, datetime

from airflow.providers.common.compat.sdk import DAG, task

from airflow_riffusion.hooks.riffusion import RiffusionHook
from airflow_riffusion.operators.capacity import CapacityOperator
from airflow_riffusion.operators.submit import RiffusionSubmitOperator
from airflow_riffusion.sensors.capacity import CapacitySensor
from airflow_riffusion.sensors.job import JobSensor

CONNECTION = "riffusion_every_version"


@task
def submit(grant):
    job = RiffusionHook(CONNECTION).submit(
        {"prompt": "by hand"}, user_id=grant["user_id"], reply_ref=grant["grant_id"]
    )
    return job["job_id"]


with DAG("every_version", schedule=None, start_date=datetime(2026, 1, 1, tzinfo=UTC)):
    asked = {"riffusion_conn_id": CONNECTION, "poke_interval": 2}
    gate = CapacitySensor(task_id="gate", **asked)
    job_id = submit(gate.output)
    ended = JobSensor(task_id="ended", mode="reschedule", deferrable=False, hold=60, job_id=job_id, **asked)
    song = RiffusionSubmitOperator(
        task_id="song",
        json={"prompt": "by operator"},
        result_endpoint="music/?user_id={user_id}&id={job_id}",
        **asked,
    )
    report = CapacityOperator(task_id="report", riffusion_conn_id=CONNECTION)
    [ended, song] >> report
