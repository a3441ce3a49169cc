"""Observers of a gate, in virtual time: ``asyncio.sleep`` in here takes none."""

from __future__ import annotations

import asyncio
import random

import pytest

from airflow_riffusion.core.peers import HeldSlots, PeerState
from airflow_riffusion.exceptions import RiffusionRejected, RiffusionUnavailable
from airflow_riffusion.gate.gate import CapacityGate
from tests.gates import cancel, look, our_tasks, wait
from tests.readings import job, reading
from tests.virtual_time import run


class Service:
    """One account of four slots, and the jobs on it."""

    def __init__(self, hook):
        self.jobs = []
        hook.answer = lambda: reading(*(job(ref, "a", ref) for ref in self.jobs), a=(4 - len(self.jobs), 4))


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
    assert seen == [1]


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


def test_observer_does_not_see_slots_that_peers_hold(hook, peer_store):
    holds = [HeldSlots(reply_ref="song", slots={"a": 2}, one_job=True, lasts=1000.0)]
    peer_store.texts["peer"] = PeerState(sequence=1, intent=False, held=holds).model_dump_json()
    hook.answer = reading(a=(3, 4))
    seen = []

    async def scenario():
        observer = look(seen, slots=1)
        await asyncio.sleep(2)
        await cancel(observer)

    run(scenario())
    assert seen == [1]


def test_observer_sees_no_free_slots_while_tasks_wait_in_another_triggerer(hook, peer_store):
    random.seed(1)
    service, seen = Service(hook), []

    async def song(gate, number):
        grant = await wait(f"song {number}", gate=gate, poke_interval=5, since=number)
        await asyncio.sleep(random.uniform(2, 8))
        service.jobs.append(grant.grant_id)
        await asyncio.sleep(random.uniform(60, 90))
        service.jobs.remove(grant.grant_id)

    async def scenario():
        looking, queue = CapacityGate("conn"), CapacityGate("conn")
        observer = look(seen, poke_interval=5, slots=1, gate=looking)
        songs = [asyncio.create_task(song(queue, number)) for number in range(100)]
        await asyncio.sleep(900)
        left = sum(not task.done() for task in songs)
        await cancel(observer, *songs)
        return left

    assert run(scenario()) > 20
    assert len(seen) > 100
    assert not any(seen[2:])


def test_observer_sees_free_slots_once_waiters_elsewhere_are_gone(hook, peer_store):
    service, seen = Service(hook), []
    service.jobs = list("1234")

    async def scenario():
        looking, queue = CapacityGate("conn"), CapacityGate("conn")
        waiters = [wait(f"w{number}", gate=queue, poke_interval=5) for number in range(9)]
        await asyncio.sleep(20)
        await cancel(*waiters)
        await asyncio.sleep(20)
        service.jobs.clear()
        observer = look(seen, poke_interval=5, slots=1, gate=looking)
        await asyncio.sleep(20)
        await cancel(observer)

    run(scenario())
    assert set(seen) == {4}


def test_observer_without_a_request_causes_no_store_call(hook, peer_store):
    hook.answer = reading(a=(2, 4))

    async def scenario():
        observer = look([], poke_interval=5)
        await asyncio.sleep(300)
        await cancel(observer)

    run(scenario())
    assert peer_store.calls == []


@pytest.mark.parametrize("free", [0, 1])
def test_observer_whose_demand_can_not_be_met_causes_no_store_call(hook, peer_store, free):
    hook.answer = reading(a=(free, 4))

    async def scenario():
        observer = look([], poke_interval=5, slots=2)
        await asyncio.sleep(300)
        await cancel(observer)

    run(scenario())
    assert peer_store.calls == []


def test_observers_share_what_is_read_of_peers_for_one_of_them(hook, peer_store):
    hook.answer = reading(a=(2, 4))

    async def scenario():
        gate = CapacityGate("conn")
        observers = look([], poke_interval=5, gate=gate), look([], poke_interval=5, slots=1, gate=gate)
        await asyncio.sleep(20)
        await cancel(*observers)

    run(scenario())
    assert "ids" in peer_store.calls


def test_observer_sees_the_second_reading_of_a_turn(hook, peer_store):
    """A gate beside peers takes a second one before it grants anything."""
    peer_store.texts["peer"] = PeerState(sequence=1, intent=False, held=()).model_dump_json()
    hook.next_answers = [reading(a=(2, 4))]
    hook.answer = reading(a=(1, 4))
    seen = []

    async def scenario():
        gate = CapacityGate("conn")
        tasks = look(seen, poke_interval=5, slots=1, gate=gate), wait("w", gate=gate, poke_interval=5)
        await tasks[1]
        await asyncio.sleep(0.01)
        await cancel(*tasks)

    run(scenario())
    assert seen == [0]


@pytest.mark.parametrize(("wanted", "unclaimed"), [(frozenset("b"), 4), (frozenset("a"), 0), (None, 0)])
def test_observer_demand_of_peers_counts_on_the_accounts_they_can_use(hook, peer_store, wanted, unclaimed):
    state = PeerState.of([], 0.0, sequence=1, intent=False, wanted={wanted: 10})
    peer_store.texts["peer"] = state.model_dump_json()
    hook.answer = reading(a=(4, 4))
    seen = []

    async def scenario():
        observer = look(seen, poke_interval=5, slots=1)
        await asyncio.sleep(20)
        await cancel(observer)

    run(scenario())
    assert set(seen) == {unclaimed}


def test_observer_unreachable_peers_are_read_once_a_minute(hook, peer_store):
    peer_store.unreachable = True
    hook.answer = reading(a=(2, 4))

    async def scenario():
        observer = look([], poke_interval=5, slots=1)
        await asyncio.sleep(290)
        await cancel(observer)

    run(scenario())
    assert len(peer_store.calls) <= 5


def test_observer_unreachable_peers_do_not_block_it(hook, peer_store):
    peer_store.unreachable = True
    hook.answer = reading(a=(2, 4))
    seen = []

    async def scenario():
        observer = look(seen, poke_interval=5, slots=1)
        await asyncio.sleep(60)
        await cancel(observer)

    run(scenario())
    assert set(seen) == {2}
