"""Many gates at once, in each of the ways to wait that benchmarks/gates.py compares; and one, to warm up."""

from __future__ import annotations

import os
from datetime import timedelta
from typing import TYPE_CHECKING

from airflow.sdk import DAG, get_parsing_context, task_group

if TYPE_CHECKING:
    from collections.abc import Callable

COUNT = int(os.environ.get("BENCHMARK_GATES", "0"))


# Each imports its own sensor, so that no worker imports another one's.
def deferred_by_worker() -> None:
    from airflow_riffusion.sensors.capacity import CapacitySensor

    CapacitySensor(task_id="wait")


def no_worker() -> None:
    from airflow_riffusion.sensors.capacity import CapacitySensor

    CapacitySensor(task_id="wait", start_from_trigger=True, end_from_trigger=True)


def http_sensor() -> None:
    from airflow.providers.http.sensors.http import HttpSensor

    HttpSensor(
        task_id="wait",
        endpoint="v1/riffusion/scheduler/available",
        response_check=lambda response: any(account["available"] for account in response.json()["available"]),
        mode="reschedule",
        poke_interval=float(os.environ["BENCHMARK_HTTP_SENSOR_INTERVAL"]),
    )


def map_gates(count: int, sensor: Callable[[], None]) -> None:
    @task_group
    def gate(number: int) -> None:  # noqa: ARG001 - what the group is mapped over
        sensor()

    gate.expand(number=list(range(count)))


for sensor in (deferred_by_worker, no_worker, http_sensor):
    for dag_id, count in ((sensor.__name__, COUNT), (f"{sensor.__name__}_warm_up", 1)):
        if count and get_parsing_context().dag_id in (None, dag_id):
            with DAG(
                dag_id,
                schedule=None,
                max_active_tasks=count,
                default_args={"retries": 10, "retry_delay": timedelta(seconds=1)},
            ):
                map_gates(count, sensor)
