"""
Make songs on no more than some of the job slots, whatever else is free.

The gate sees to it that no song is sent where no slot is free; the pool, that this Airflow never has more
songs under way than it has places, those that wait included. Make it first, with ``--include-deferred``, or
it counts only tasks in a worker, where no song stays:

    airflow pools set riffusion 2 "Songs under way" --include-deferred

Needs that pool and the connection ``riffusion_default``.
"""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import Param, dag, task

from airflow_riffusion.operators.submit import RiffusionSubmitOperator


@dag(
    schedule=None,
    default_args={"retries": 3, "retry_delay": timedelta(seconds=30)},
    params={"prompts": Param(["a lullaby for a lighthouse", "polka on the moon"], type="array", minItems=1)},
    tags=["riffusion", "example"],
)
def riffusion_pool():
    @task
    def songs(params: dict) -> list[dict]:
        return [{"prompt": prompt} for prompt in params["prompts"]]

    RiffusionSubmitOperator.partial(task_id="song", pool="riffusion").expand(json=songs())


riffusion_pool()
