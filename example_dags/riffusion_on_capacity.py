"""
Make two songs whenever there comes to be room for them.

No schedule and no waiting task: an ``AssetWatcher`` starts a run when two slots come to be free that no
task waits for or was promised, and the next run only after there were fewer.

Needs Airflow 3, and the connection ``riffusion_default``. A run that is started by hand has no event.
"""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import Asset, AssetWatcher, dag, task

from airflow_riffusion.operators.submit import RiffusionSubmitOperator
from airflow_riffusion.triggers.event import CapacityEventTrigger

ROOM = Asset(
    "riffusion_room_for_two",
    watchers=[AssetWatcher(name="two_slots", trigger=CapacityEventTrigger(slots=2))],
)


@dag(
    schedule=[ROOM],
    default_args={"retries": 3, "retry_delay": timedelta(seconds=30)},
    tags=["riffusion", "example"],
)
def riffusion_on_capacity():
    @task
    def songs(triggering_asset_events=None) -> list[dict]:
        payload = triggering_asset_events[ROOM][-1].extra["payload"]
        print(f"Room for {payload['room']} songs, best on {payload['best_user_id']}")  # noqa: T201 - the task's log
        return [{"prompt": "a lullaby for a lighthouse"}, {"prompt": "polka on the moon"}]

    RiffusionSubmitOperator.partial(task_id="song").expand(json=songs())


riffusion_on_capacity()
