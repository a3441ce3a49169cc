"""What must work on every Airflow from 3.0 on: a DAG that starts when a slot comes free."""

from __future__ import annotations

from airflow.sdk import DAG, Asset, AssetWatcher, task

from airflow_riffusion.triggers.event import CapacityEventTrigger

TRIGGER = CapacityEventTrigger("riffusion_every_version", poke_interval=2)
FREE_SLOT = Asset("riffusion_every_version", watchers=[AssetWatcher(name="a_slot", trigger=TRIGGER)])


@task
def unclaimed(triggering_asset_events=None):
    return triggering_asset_events[FREE_SLOT][-1].extra["payload"]["unclaimed"]


with DAG("every_version_event", schedule=[FREE_SLOT]):
    unclaimed()
