"""The sensor in each of its modes, for comparing what they end with."""

from __future__ import annotations

from airflow.sdk import dag

from airflow_riffusion.operators.capacity import CapacityOperator
from airflow_riffusion.sensors.capacity import CapacitySensor

MODES = {
    "poke": {"deferrable": False, "mode": "poke", "poke_interval": 2},
    "reschedule": {"deferrable": False, "mode": "reschedule", "poke_interval": 2},
    "deferred": {"deferrable": True, "poke_interval": 2},
}


@dag(schedule=None, params={"account": "none", "slots": 0})
def modes_that_succeed():
    asked = {
        "riffusion_conn_id": "riffusion_modes",
        "slots": "{{ params.slots }}",
        "user_ids": ["{{ params.account }}"],
    }
    for mode, arguments in MODES.items():
        CapacitySensor(task_id=mode, **asked, **arguments)
    CapacityOperator(task_id="operator", riffusion_conn_id="riffusion_modes", user_ids=asked["user_ids"])


@dag(schedule=None)
def modes_that_fail():
    cases = {
        "timeout": {"riffusion_conn_id": "riffusion_full", "timeout": 9},
        "wrong_token": {"riffusion_conn_id": "riffusion_wrong_token"},
        "no_connection": {"riffusion_conn_id": "riffusion_missing"},
        "too_many_slots": {"riffusion_conn_id": "riffusion_modes", "slots": 99},
    }
    for mode, arguments in MODES.items():
        for case, asked in cases.items():
            for ending in ("fails", "skips"):
                CapacitySensor(
                    task_id=f"{mode}_{case}_{ending}",
                    soft_fail=ending == "skips",
                    retries=2,
                    retry_delay=1,
                    **asked,
                    **arguments,
                )


modes_that_succeed()
modes_that_fail()
