"""What must work on every Airflow from 3.0 on: a DAG that starts when there is room."""

from __future__ import annotations

from airflow.sdk import DAG, Asset, AssetWatcher, task

from airflow_riffusion.triggers.event import CapacityEventTrigger

TRIGGER = CapacityEventTrigger("riffusion_every_version", poke_interval=2)
ROOM = Asset("riffusion_every_version", watchers=[AssetWatcher(name="a_slot", trigger=TRIGGER)])


@task
def room(triggering_asset_events=None):
    return triggering_asset_events[ROOM][-1].extra["payload"]["room"]


with DAG("every_version_event", schedule=[ROOM]):
    room()
