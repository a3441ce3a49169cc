"""For the screenshots: each slot is held for some seconds, between the sensor's grant and the submission."""

from __future__ import annotations

from airflow.sdk import Param, dag, task, task_group

from airflow_riffusion.hooks.riffusion import RiffusionHook
from airflow_riffusion.sensors.capacity import CapacitySensor


@dag(
    schedule=None,
    default_args={"weight_rule": "absolute"},  # so that sensors and songs begin to wait by turns
    params={"prompts": Param(["a jingle for a bakery"], type="array", minItems=1)},
)
def jingles():
    @task
    def prompts(params: dict) -> list[str]:
        return params["prompts"]

    @task_group
    def jingle(prompt: str):
        slot = CapacitySensor(task_id="wait_for_slot")

        @task(multiple_outputs=False, priority_weight=2)
        def submit(prompt: str, slot: dict) -> dict:
            return RiffusionHook().submit(
                {"prompt": prompt}, user_id=slot["user_id"], reply_ref=slot["grant_id"]
            )

        submit(prompt, slot.output)

    jingle.expand(prompt=prompts())


jingles()
