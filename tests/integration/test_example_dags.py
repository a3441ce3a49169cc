"""What the example DAGs' own tasks do; a real Airflow runs the DAGs in the system tests."""

from __future__ import annotations

import runpy
from types import SimpleNamespace

import pytest

from airflow_riffusion.emulator import EmulatorServer
from tests import docs
from tests.versions import needs_airflow_3

pytestmark = needs_airflow_3

EVENT_EXAMPLE = docs.ROOT / "example_dags" / "riffusion_on_capacity.py"


@pytest.fixture
def emulator(connect):
    """Start a service with three of four slots free."""
    with EmulatorServer(accounts=2, max_jobs=2) as emulator:
        connect(emulator.url, conn_id="riffusion_default")
        emulator.service.submit("polka on the moon")
        yield emulator


def events(*extras):
    """Return what a run is told of the events that started it."""
    from airflow.sdk.execution_time.context import TriggeringAssetEventsAccessor

    asset = SimpleNamespace(name="riffusion_two_free_slots", uri="riffusion_two_free_slots")
    return TriggeringAssetEventsAccessor.build(
        SimpleNamespace(asset=asset, source_aliases=[], extra=extra) for extra in extras
    )


def songs(triggering_asset_events):
    dag = runpy.run_path(str(EVENT_EXAMPLE))["riffusion_on_capacity"]()
    return len(dag.task_dict["songs"].python_callable(triggering_asset_events))


def how_many(triggering_asset_events):
    (block,) = [block for block in docs.dags() if "AssetWatcher" in block.text]
    names = {}
    exec(block.compile(), names)
    return names["on_capacity"]().task_dict["how_many"].python_callable(triggering_asset_events)


@pytest.mark.parametrize("task", [songs, how_many])
def test_event_example_with_an_event_goes_by_its_unclaimed_slots(task):
    payload = {"unclaimed": 2, "available": 4, "best_user_id": "a"}

    assert task(events({"payload": {**payload, "unclaimed": 1}}, {"payload": payload})) == 2


@pytest.mark.parametrize("task", [songs, how_many])
@pytest.mark.parametrize("extras", [[], [{}]], ids=["no event", "an event made by hand"])
def test_event_example_started_by_hand_takes_a_reading(task, extras, emulator):
    assert task(events(*extras)) == 3
