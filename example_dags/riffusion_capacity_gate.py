"""
Make songs on however many job slots are free: every song waits for a slot of its own.

All waiting songs together cost one request per ``poke_interval`` and no worker. A free slot wakes
exactly one of them, in order, and tells it which account to use. ``reply_ref`` lets the gate see that the
granted slot is in use, so it can stop keeping it free. Other clients may still take a slot first, which
is one thing that the retries are for.

Needs the connection ``riffusion_default``.
"""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import Param, dag, task, task_group

from airflow_riffusion.sensors.capacity import CapacitySensor


@dag(
    schedule=None,
    default_args={
        "retries": 3,
        "retry_delay": timedelta(seconds=30),
        "weight_rule": "upstream",  # who has a slot submits before further sensors begin to wait
    },
    params={"prompts": Param(["a lullaby for a lighthouse", "polka on the moon"], type="array", minItems=1)},
    tags=["riffusion", "example"],
)
def riffusion_capacity_gate():
    @task
    def prompts(params: dict) -> list[str]:
        return params["prompts"]

    @task_group
    def song(prompt: str):
        slot = CapacitySensor(task_id="wait_for_slot")

        @task(multiple_outputs=False)
        def submit(prompt: str, slot: dict) -> dict:
            from airflow_riffusion.hooks.riffusion import RiffusionHook

            account, reference = slot["user_id"], slot["grant_id"]
            return RiffusionHook().submit({"prompt": prompt}, user_id=account, reply_ref=reference)

        return submit(prompt, slot.output)

    @task(multiple_outputs=False)
    def summary(jobs: list[dict]) -> dict[str, int]:
        accounts = [job["user_id"] for job in jobs]
        return {account: accounts.count(account) for account in sorted(set(accounts))}

    summary(song.expand(prompt=prompts()))


riffusion_capacity_gate()
