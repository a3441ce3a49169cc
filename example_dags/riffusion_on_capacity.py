"""
Make songs whenever two slots come free.

No schedule and no waiting task: an ``AssetWatcher`` starts a run when two slots come free that no task
waits for or was promised, and the next run only after fewer than two were free. So a run makes a song for
each unclaimed slot: one that leaves two slots free would be the last, until somebody else takes one of them.

Needs Airflow 3, and the connection ``riffusion_default``. A run that is started by hand takes a
reading, and makes as many songs as slots are free.
"""

from __future__ import annotations

from datetime import timedelta
from itertools import cycle, islice

from airflow.sdk import Asset, AssetWatcher, dag, task

from airflow_riffusion.operators.submit import RiffusionSubmitOperator
from airflow_riffusion.triggers.event import CapacityEventTrigger

TWO_FREE_SLOTS = Asset(
    "riffusion_two_free_slots",
    watchers=[AssetWatcher(name="two_slots", trigger=CapacityEventTrigger(slots=2))],
)

PROMPTS = ["a lullaby for a lighthouse", "polka on the moon", "rain on a tin roof"]


@dag(
    schedule=[TWO_FREE_SLOTS],
    default_args={"retries": 3, "retry_delay": timedelta(seconds=30)},
    tags=["riffusion", "example"],
)
def riffusion_on_capacity():
    @task
    def songs(triggering_asset_events=None) -> list[dict]:
        from airflow_riffusion.hooks.riffusion import RiffusionHook

        events = triggering_asset_events[TWO_FREE_SLOTS]
        payload = events[-1].extra.get("payload") if events else None
        if payload is None:  # started by hand: no event of the watcher's
            payload = RiffusionHook().get_capacity().to_xcom()
        slots = payload.get("unclaimed", payload["available"])
        print(f"Making {slots} songs; most slots are free on {payload['best_user_id']}")  # noqa: T201 - the task's log
        return [{"prompt": prompt} for prompt in islice(cycle(PROMPTS), slots)]

    RiffusionSubmitOperator.partial(task_id="song").expand(json=songs())


riffusion_on_capacity()
