from __future__ import annotations

import asyncio
import json

import pytest

from airflow_riffusion.exceptions import RiffusionRejected
from airflow_riffusion.request import Grant
from airflow_riffusion.triggers import gate as gate_module
from airflow_riffusion.triggers.capacity import CapacityTrigger
from tests.readings import reading


@pytest.fixture
def gate(monkeypatch):
    """Stand in for the gate: it grants one slot at once, or raises what the test says."""

    class FakeGate:
        waited_for = None
        given_back = []
        error = None

        @classmethod
        def of(cls, conn_id):
            return cls

        @classmethod
        async def wait(cls, waiter_id, request, poke_interval):
            cls.waited_for = (request, poke_interval)
            if cls.error:
                raise cls.error
            return Grant(waiter_id, request, {"a": 1}, reading(a=1))

        @classmethod
        def give_back(cls, grant_id):
            cls.given_back.append(grant_id)

    monkeypatch.setattr(gate_module, "CapacityGate", FakeGate)
    return FakeGate


def events_of(trigger):
    async def collect():
        return [event async for event in trigger.run()]

    return asyncio.run(collect())


def test_it_survives_being_stored():
    trigger = CapacityTrigger(
        riffusion_conn_id="mine",
        slots=3,
        user_ids=["a"],
        same_account=True,
        hold=1.5,
        poke_interval=2.5,
        priority=7,
        since=123.5,
    )
    path, kwargs = trigger.serialize()

    assert path == f"{CapacityTrigger.__module__}.{CapacityTrigger.__qualname__}"
    assert CapacityTrigger(**json.loads(json.dumps(kwargs))).serialize() == (path, kwargs)
    assert CapacityTrigger.__init__.__code__.co_varnames[1 : 1 + len(kwargs)] == tuple(kwargs)


def test_a_grant_is_its_only_event(gate):
    (event,) = events_of(CapacityTrigger(slots=1, user_ids=["a"], poke_interval=3, priority=2, since=1.0))

    assert event.payload["status"] == "granted"
    assert event.payload["result"]["granted"] == {"a": 1}
    assert event.payload["result"]["waited_seconds"] > 0
    json.dumps(event.payload)
    request, poke_interval = gate.waited_for
    assert (request.user_ids, request.priority, request.since, poke_interval) == (frozenset("a"), 2, 1.0, 3.0)
    assert gate.given_back == []


def test_a_rejection_is_an_event_so_that_the_sensor_decides_what_it_means(gate):
    gate.error = RiffusionRejected("401 Unauthorized")

    (event,) = events_of(CapacityTrigger())

    assert event.payload == {"status": "rejected", "message": "401 Unauthorized"}


def test_a_grant_whose_event_did_not_leave_is_given_back(gate):
    async def stop_at_the_event():
        running = CapacityTrigger().run()
        event = await anext(running)
        await running.aclose()
        return event.payload["result"]["grant_id"]

    assert gate.given_back == [asyncio.run(stop_at_the_event())]


def test_arguments_that_a_template_rendered_wrong_are_an_error(gate):
    with pytest.raises(ValueError, match="slots must be"):
        events_of(CapacityTrigger(slots="two"))
