"""Tasks that wait while the API token is replaced: by a worker, without one, and as a whole song."""

from __future__ import annotations

from airflow.sdk import dag

from airflow_riffusion.operators.submit import RiffusionSubmitOperator
from airflow_riffusion.sensors.capacity import CapacitySensor


@dag(schedule=None, default_args={"retries": 0})
def token_is_replaced():
    asked = {"riffusion_conn_id": "riffusion_rotation", "poke_interval": 1, "hold": 3, "timeout": 600}
    CapacitySensor.partial(
        task_id="in_triggerer", **asked, start_from_trigger=True, end_from_trigger=True
    ).expand(doc_md=[str(number) for number in range(40)])
    CapacitySensor.partial(task_id="by_worker", **asked).expand(doc_md=[str(number) for number in range(5)])
    RiffusionSubmitOperator.partial(task_id="song", **asked).expand(
        json=[{"prompt": f"song {number}"} for number in range(5)]
    )


token_is_replaced()
