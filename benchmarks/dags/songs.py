"""Many songs at once, in each of the ways that benchmarks/songs.py compares; and one, to warm up."""

from __future__ import annotations

import os
from datetime import timedelta

from airflow.sdk import DAG, get_parsing_context, task, task_group

COUNT = int(os.environ.get("BENCHMARK_SONGS", "0"))


def _by_operator(prompts: list[str], **arguments: bool) -> None:
    from airflow_riffusion.operators.submit import RiffusionSubmitOperator

    RiffusionSubmitOperator.partial(task_id="song", **arguments).expand(
        json=[{"prompt": prompt} for prompt in prompts]
    )


def operator(prompts: list[str]) -> None:
    _by_operator(prompts)


def ended_by_trigger(prompts: list[str]) -> None:
    _by_operator(prompts, end_from_trigger=True)


def no_worker_song(prompts: list[str]) -> None:
    _by_operator(prompts, start_from_trigger=True, end_from_trigger=True)


def sensor_and_task(prompts: list[str]) -> None:
    from airflow_riffusion.sensors.capacity import CapacitySensor

    @task_group
    def song(prompt: str) -> None:
        slot = CapacitySensor(task_id="wait")

        @task(multiple_outputs=False)
        def submit(prompt: str, slot: dict) -> dict:
            from airflow_riffusion.hooks.riffusion import RiffusionHook

            return RiffusionHook().submit(
                {"prompt": prompt}, user_id=slot["user_id"], reply_ref=slot["grant_id"]
            )

        submit(prompt, slot.output)

    song.expand(prompt=prompts)


def http_sensor_and_operator(prompts: list[str]) -> None:
    from airflow.providers.http.operators.http import HttpOperator
    from airflow.providers.http.sensors.http import HttpSensor

    @task_group
    def song(prompt: str) -> None:  # noqa: ARG001 - it only maps the group
        free = HttpSensor(
            task_id="wait",
            endpoint="v1/riffusion/scheduler/available",
            response_check=lambda response: any(
                account["available"] for account in response.json()["available"]
            ),
            mode="reschedule",
            poke_interval=float(os.environ["BENCHMARK_HTTP_SENSOR_INTERVAL"]),
        )
        free >> HttpOperator(
            task_id="submit",
            endpoint="v1/riffusion/music/create-prompt",
            method="POST",
            headers={"Content-Type": "application/json"},
            # An f-string would have the name of the group's argument, which is known only once it is mapped.
            data='{"prompt": "song {{ ti.map_index }}"}',
            retries=100,
            retry_delay=timedelta(seconds=10),
        )

    song.expand(prompt=prompts)


for make in (operator, ended_by_trigger, no_worker_song, sensor_and_task, http_sensor_and_operator):
    for dag_id, count in ((make.__name__, COUNT), (f"{make.__name__}_warm_up", 1)):
        if count and get_parsing_context().dag_id in (None, dag_id):
            with DAG(
                dag_id,
                schedule=None,
                max_active_tasks=count,
                default_args={"retries": 10, "retry_delay": timedelta(seconds=1), "weight_rule": "upstream"},
            ):
                make([f"song {number}" for number in range(count)])
