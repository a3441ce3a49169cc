"""
Make songs on however many job slots are free, each in one task.

A task waits for a slot in one queue with all others, submits its song to the account that it was given, and
ends when the song is over. It is never refused for good and submits no song twice, also over retries.

Needs the connection ``riffusion_default``.
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
def riffusion_songs():
    @task
    def songs(params: dict) -> list[dict]:
        return [{"prompt": prompt} for prompt in params["prompts"]]

    RiffusionSubmitOperator.partial(task_id="song").expand(json=songs())


riffusion_songs()
