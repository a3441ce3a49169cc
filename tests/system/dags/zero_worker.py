"""Sensors that start in the triggerer, end there, or both."""

from __future__ import annotations

from airflow.sdk import dag, task_group

from airflow_riffusion.sensors.capacity import CapacitySensor

ASKED = {"riffusion_conn_id": "riffusion_zero_worker", "poke_interval": 2, "hold": 0}
BOTH = {"start_from_trigger": True, "end_from_trigger": True}


@dag(schedule=None, params={"account": "none", "slots": 0})
def zero_worker():
    templated = {"slots": "{{ params.slots }}", "user_ids": ["{{ params.account }}"]}
    CapacitySensor(task_id="both", **ASKED, **templated, **BOTH)
    CapacitySensor(task_id="starts", **ASKED, **templated, start_from_trigger=True)
    CapacitySensor(task_id="ends", **ASKED, **templated, end_from_trigger=True)
    CapacitySensor.partial(task_id="mapped", **ASKED, **templated, **BOTH).expand(doc_md=["a", "b", "c"])

    @task_group
    def group(number: int):
        CapacitySensor(task_id="in_group", **ASKED, **templated, **BOTH)

    group.expand(number=[1, 2])


@dag(schedule=None)
def zero_worker_that_fails():
    for soft_fail in (False, True):
        ending = "skips" if soft_fail else "fails"
        common = {"soft_fail": soft_fail, "retries": 2, "retry_delay": 1, "poke_interval": 2, **BOTH}
        CapacitySensor(
            task_id=f"timeout_{ending}", riffusion_conn_id="riffusion_zero_worker_full", timeout=3, **common
        )
        CapacitySensor(
            task_id=f"wrong_token_{ending}", riffusion_conn_id="riffusion_zero_worker_rejected", **common
        )


zero_worker()
zero_worker_that_fails()
