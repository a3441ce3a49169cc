"""
Make songs whenever there comes to be room for two.

No schedule and no waiting task: an ``AssetWatcher`` starts a run when two slots come to be free that no
task waits for or was promised, and the next run only after fewer than two were. So a run makes as many songs
as there is room for: one that leaves two slots free would be the last, until somebody else takes one of them.

Needs Airflow 3, and the connection ``riffusion_default``. A run that is started by hand takes a
reading, and makes as many songs as slots are free.
"""

from __future__ import annotations

from datetime import timedelta
from itertools import cycle, islice

from airflow.sdk import Asset, AssetWatcher, dag, task

from airflow_riffusion.operators.submit import RiffusionSubmitOperator
from airflow_riffusion.triggers.event import CapacityEventTrigger

ROOM = Asset(
    "riffusion_room_for_two",
    watchers=[AssetWatcher(name="two_slots", trigger=CapacityEventTrigger(slots=2))],
)

PROMPTS = ["a lullaby for a lighthouse", "polka on the moon", "rain on a tin roof"]


@dag(
    schedule=[ROOM],
    default_args={"retries": 3, "retry_delay": timedelta(seconds=30)},
    tags=["riffusion", "example"],
)
def riffusion_on_capacity():
    @task
    def songs(triggering_asset_events=None) -> list[dict]:
        from airflow_riffusion.hooks.riffusion import RiffusionHook

        events = triggering_asset_events[ROOM]
        payload = events[-1].extra.get("payload") if events else None
        if payload is None:  # started by hand: no event of the watcher's
            payload = RiffusionHook().get_capacity().to_xcom()
        room = payload.get("room", payload["available"])
        print(f"Availability for {room} songs, best on {payload['best_user_id']}")  # noqa: T201 - the task's log
        return [{"prompt": prompt} for prompt in islice(cycle(PROMPTS), room)]

    RiffusionSubmitOperator.partial(task_id="song").expand(json=songs())


riffusion_on_capacity()
