"""Many sensors that wait while the triggerer is killed: some began in a worker, the others never saw one."""

from __future__ import annotations

from airflow.sdk import dag

from airflow_riffusion.sensors.capacity import CapacitySensor


@dag(schedule=None)
def many_wait():
    # Nobody submits anything, so each grant is given up by its hold.
    asked = {"riffusion_conn_id": "riffusion_restart", "poke_interval": 1, "hold": 3, "timeout": 600}
    CapacitySensor.partial(
        task_id="in_triggerer", **asked, start_from_trigger=True, end_from_trigger=True
    ).expand(doc_md=[str(number) for number in range(40)])
    CapacitySensor.partial(task_id="by_worker", **asked).expand(doc_md=[str(number) for number in range(10)])


many_wait()
