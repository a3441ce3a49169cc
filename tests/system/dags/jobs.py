"""The job sensor in each of its modes, for the same job."""

from __future__ import annotations

from airflow.sdk import dag

from airflow_riffusion.sensors.job import JobSensor

MODES = {
    "poke": {"deferrable": False, "mode": "poke"},
    "reschedule": {"deferrable": False, "mode": "reschedule"},
    "deferred": {},
}


@dag(schedule=None, params={"job_id": "", "reply_ref": ""})
def job_modes():
    for mode, arguments in MODES.items():
        asked = {"riffusion_conn_id": "riffusion_job_modes", "poke_interval": 2, "hold": 60, **arguments}
        JobSensor(task_id=f"{mode}_by_id", job_id="{{ params.job_id }}", **asked)
        JobSensor(task_id=f"{mode}_by_reference", reply_ref="{{ params.reply_ref }}", **asked)


job_modes()
