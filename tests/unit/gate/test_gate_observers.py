"""Those who only look at the gate's readings, in virtual time: ``asyncio.sleep`` in here takes none."""

from __future__ import annotations

import asyncio

import pytest

from airflow_riffusion.exceptions import RiffusionRejected, RiffusionUnavailable
from airflow_riffusion.gate.gate import CapacityGate
from tests.gates import cancel, our_tasks, wait
from tests.readings import job, reading
from tests.virtual_time import run


def look(seen, *, poke_interval=10.0):
    """Start one who looks at reading after reading."""

    async def looking():
        while True:
            availability = await CapacityGate.of("riffusion_test").availability(poke_interval)
            seen.append(dict(availability.slots))

    return asyncio.create_task(looking())


def test_observers_and_waiters_share_one_request_per_interval(hook):
    seen, other = [], []

    async def scenario():
        tasks = [look(seen), look(other), *(wait(f"w{number}") for number in range(20))]
        await asyncio.sleep(100)
        await cancel(*tasks)
        await asyncio.sleep(0.001)
        return our_tasks()

    assert run(scenario()) == []
    assert len(hook.asked_at) == len(seen) == len(other) == 10


def test_observer_gets_readings_at_the_interval_it_asked_for(hook):
    async def scenario():
        observer = look([], poke_interval=30)
        await asyncio.sleep(400)
        await cancel(observer)

    run(scenario())
    assert all(30 <= pause <= 33.1 for pause in hook.pauses)
    assert len(hook.asked_at) >= 12


def test_observers_smallest_interval_of_all_counts(hook):
    async def scenario():
        observers = [look([], poke_interval=each) for each in (30, 10)]
        await asyncio.sleep(100)
        await cancel(*observers)

    run(scenario())
    assert len(hook.asked_at) >= 9


def test_observer_interval_under_a_second_counts_as_a_second(hook):
    async def scenario():
        observer = look([], poke_interval=0.1)
        await asyncio.sleep(10)
        await cancel(observer)

    run(scenario())
    assert min(hook.pauses) >= 1


def test_observer_that_comes_first_does_not_end_the_debounce_of_the_first_reading(hook):
    hook.answer = reading(a=1)

    async def scenario():
        observer = look([])
        await asyncio.sleep(0.3)
        later = wait("later", since=2)
        await asyncio.sleep(0.3)
        earlier = wait("earlier", since=1)
        grant = await earlier
        await cancel(observer, later)
        return grant.grant_id, later.cancelled()

    assert run(scenario()) == ("earlier", True)


def test_observer_sees_what_grants_leave(hook):
    seen = []
    hook.answer = reading(a=(3, 4))

    async def scenario():
        observer = look(seen)
        await asyncio.gather(wait("first"), wait("second"))
        await asyncio.sleep(0)
        await cancel(observer)

    run(scenario())
    assert seen == [{"a": 1}]


def test_observer_never_sees_a_slot_that_a_waiter_gets(hook):
    seen = []

    async def scenario():
        tasks = look(seen), wait("w")
        await asyncio.sleep(15)
        hook.answer = reading(a=(1, 2))
        await tasks[1]
        hook.answer = reading(job("1", "a", "w"), a=(0, 2))
        await asyncio.sleep(30)
        await cancel(*tasks)

    run(scenario())
    assert len(seen) >= 4
    assert not any(seen)


def test_observer_brings_no_reading_forward_and_takes_no_place(hook):
    async def scenario():
        waiter = wait("w", poke_interval=60)
        await asyncio.sleep(5)
        observers = [look([], poke_interval=60) for _ in range(5)]
        await asyncio.sleep(54)
        asked = len(hook.asked_at)
        hook.answer = reading(a=1)
        grant = await waiter
        await cancel(*observers)
        return asked, grant.grant_id

    assert run(scenario()) == (1, "w")


def test_observer_of_an_unavailable_service_waits(hook):
    seen = []
    hook.next_answers = [RiffusionUnavailable("503")] * 5

    async def scenario():
        observer = look(seen)
        await asyncio.sleep(3600)
        await cancel(observer)

    run(scenario())
    assert seen


def test_observers_rejection_reaches_each_with_an_exception_of_its_own(hook):
    hook.answer = RiffusionRejected("401 Unauthorized", status=401)

    async def scenario():
        return await asyncio.gather(look([]), look([]), return_exceptions=True)

    first, second = run(scenario())
    assert (str(first), first.status) == ("401 Unauthorized", 401)
    assert first is not second


@pytest.mark.parametrize("turns", range(4))
def test_observers_that_come_and_go_leave_no_task_behind(hook, turns):
    async def scenario():
        for _ in range(20):
            observer = look([])
            for _ in range(turns):
                await asyncio.sleep(0)
            observer.cancel()
        await asyncio.sleep(0.001)
        return our_tasks()

    assert run(scenario()) == []


def test_observer_does_not_see_slots_held_elsewhere(hook, monkeypatch):
    seen = []
    hook.answer = reading(a=(3, 4))
    monkeypatch.setattr("airflow_riffusion.gate.coordinator.Peers.held", lambda *_: {"a": 2})

    async def scenario():
        observer = look(seen)
        await asyncio.sleep(2)
        await cancel(observer)

    run(scenario())
    assert seen == [{"a": 1}]
