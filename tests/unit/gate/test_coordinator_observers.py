"""An event trigger in one triggerer and a queue in another, in virtual time."""

from __future__ import annotations

import asyncio
import random
from collections import Counter

import pytest

from airflow_riffusion.core.peers import PeerState
from airflow_riffusion.core.request import SlotRequest
from airflow_riffusion.gate.gate import CapacityGate
from tests.gates import cancel
from tests.readings import job, reading
from tests.virtual_time import run


class Service:
    """One account, and the jobs on it."""

    def __init__(self, hook, *, slots=4):
        self.jobs = []
        self.slots = slots
        hook.answer = self.read

    def read(self):
        return reading(
            *(job(ref, "a", ref) for ref in self.jobs), a=(self.slots - len(self.jobs), self.slots)
        )


def look(gate, seen, *, request=SlotRequest()):  # noqa: B008 - it never changes
    """Start one who looks at reading after reading."""

    async def looking():
        while True:
            seen.append((await gate.availability(5.0, request)).slots.total())

    return asyncio.create_task(looking())


def wait(gate, waiter_id, **request):
    return asyncio.create_task(gate.wait(waiter_id, SlotRequest(**request), 5.0))


def wanted_slots(state):
    return sum(each.slots for each in state.wanted)


def states(peer_store):
    return [PeerState.model_validate_json(text) for text in peer_store.texts.values()]


@pytest.mark.parametrize("slots", [1, 2])
def test_observer_sees_no_free_slots_while_tasks_wait_in_another_triggerer(hook, peer_store, slots):
    random.seed(1)
    service, seen = Service(hook), []

    async def song(gate, number):
        grant = await wait(gate, f"song {number}", since=number)
        await asyncio.sleep(random.uniform(2, 8))
        service.jobs.append(grant.grant_id)
        await asyncio.sleep(random.uniform(60, 90))
        service.jobs.remove(grant.grant_id)

    async def scenario():
        looking, queue = CapacityGate("conn"), CapacityGate("conn")
        observer = look(looking, seen)
        songs = [asyncio.create_task(song(queue, number)) for number in range(100)]
        await asyncio.sleep(900)
        left = sum(not task.done() for task in songs)
        await cancel(observer, *songs)
        return left

    assert run(scenario()) > 20
    assert len(seen) > 100
    assert max(seen[2:]) < slots


def test_observer_sees_free_slots_once_waiters_elsewhere_are_gone(hook, peer_store):
    service, seen = Service(hook), []
    service.jobs = list("1234")

    async def scenario():
        looking, queue = CapacityGate("conn"), CapacityGate("conn")
        waiters = [wait(queue, f"w{number}") for number in range(9)]
        await asyncio.sleep(20)
        await cancel(*waiters)
        await asyncio.sleep(20)
        service.jobs.clear()
        observer = look(looking, seen)
        await asyncio.sleep(20)
        await cancel(observer)

    run(scenario())
    assert set(seen) == {4}


def test_gate_without_peers_publishes_large_changes_of_what_is_wanted(hook, peer_store):
    async def scenario():
        gate = CapacityGate("conn")
        first = wait(gate, "first")
        await asyncio.sleep(2)
        wanted = [[wanted_slots(state) for state in states(peer_store)]]
        others = [wait(gate, f"w{number}", slots=2) for number in range(3)]
        await asyncio.sleep(70)
        wanted.append([wanted_slots(state) for state in states(peer_store)])
        await cancel(first, *others)
        await asyncio.sleep(20)
        wanted.append([wanted_slots(state) for state in states(peer_store)])
        return wanted

    assert run(scenario()) == [[1], [7], [0]]


def test_gate_beside_peers_publishes_each_change_of_what_is_wanted(hook, peer_store):
    peer_store.texts["peer"] = PeerState(sequence=1, intent=False, held=()).model_dump_json()

    async def scenario():
        gate = CapacityGate("conn")
        waiters = [wait(gate, "first")]
        await asyncio.sleep(2)
        waiters += [wait(gate, f"w{number}") for number in range(3)]
        await asyncio.sleep(7)
        wanted = max(wanted_slots(state) for state in states(peer_store))
        await cancel(*waiters)
        return wanted

    assert run(scenario()) == 4


def test_gate_with_observers_only_publishes_nothing_and_is_no_peer(hook, peer_store):
    hook.answer = reading(a=(2, 4))

    async def scenario():
        looking, granting = CapacityGate("conn"), CapacityGate("conn")
        observer = look(looking, [])
        await asyncio.sleep(300)
        calls = Counter(peer_store.calls)
        began = asyncio.get_running_loop().time()
        await wait(granting, "w")
        took = asyncio.get_running_loop().time() - began
        await cancel(observer)
        return calls, took

    calls, took = run(scenario())
    assert calls.keys() == {"ids"}
    assert took < 2  # A newcomer beside a peer would wait ten seconds.


def test_observer_without_a_request_causes_no_store_call(hook, peer_store):
    hook.answer = reading(a=(2, 4))

    async def scenario():
        observer = look(CapacityGate("conn"), [], request=None)
        await asyncio.sleep(300)
        await cancel(observer)

    run(scenario())
    assert peer_store.calls == []


@pytest.mark.parametrize("free", [0, 1])
def test_observer_whose_demand_can_not_be_met_causes_no_store_call(hook, peer_store, free):
    hook.answer = reading(a=(free, 4))

    async def scenario():
        observer = look(CapacityGate("conn"), [], request=SlotRequest(slots=2))
        await asyncio.sleep(300)
        await cancel(observer)

    run(scenario())
    assert peer_store.calls == []


def test_observers_share_what_is_read_of_peers_for_one_of_them(hook, peer_store):
    hook.answer = reading(a=(2, 4))

    async def scenario():
        gate = CapacityGate("conn")
        observers = look(gate, [], request=None), look(gate, [])
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
        tasks = look(gate, seen), wait(gate, "w")
        await tasks[1]
        await asyncio.sleep(0.01)
        await cancel(*tasks)

    run(scenario())
    assert seen == [0]


def test_gate_that_only_holds_goes_on_publishing(hook, peer_store):
    hook.next_answers = [reading(a=1)]

    async def scenario():
        gate = CapacityGate("conn")
        await wait(gate, "never seen in use", hold=1000)
        await asyncio.sleep(400)
        (state,) = states(peer_store)
        return state.sequence, [held.reply_ref for held in state.held]

    sequence, held = run(scenario())
    assert sequence >= 5
    assert held == ["never seen in use"]


def test_gate_jobs_that_began_while_it_only_observed_settle_no_hold(hook, peer_store):
    service = Service(hook)

    async def scenario():
        gate = CapacityGate("conn")
        observer = look(gate, [])
        await asyncio.sleep(10)
        service.jobs = ["of another client"]
        await asyncio.sleep(20)
        await wait(gate, "w", hold=600)
        await asyncio.sleep(60)
        held = [held.reply_ref for state in states(peer_store) for held in state.held]
        await cancel(observer)
        return held

    assert run(scenario()) == ["w"]


def test_gate_that_only_observed_is_a_newcomer_to_its_peers(hook, peer_store):
    service = Service(hook)

    async def scenario():
        gate, other = CapacityGate("conn"), CapacityGate("conn")
        observer, waiter = look(gate, []), wait(other, "in vain", slots=4, user_ids=frozenset("a"))
        service.jobs = ["1"]
        await asyncio.sleep(120)
        began = asyncio.get_running_loop().time()
        mine = wait(gate, "w")
        await mine
        took = asyncio.get_running_loop().time() - began
        await cancel(observer, waiter)
        return took

    assert 10 <= run(scenario()) < 25


@pytest.mark.parametrize(("wanted", "unclaimed"), [(frozenset("b"), 4), (frozenset("a"), 0), (None, 0)])
def test_observer_demand_of_peers_counts_on_the_accounts_they_can_use(hook, peer_store, wanted, unclaimed):
    state = PeerState.of([], 0.0, sequence=1, intent=False, wanted={wanted: 10})
    peer_store.texts["peer"] = state.model_dump_json()
    hook.answer = reading(a=(4, 4))
    seen = []

    async def scenario():
        observer = look(CapacityGate("conn"), seen)
        await asyncio.sleep(20)
        await cancel(observer)

    run(scenario())
    assert set(seen) == {unclaimed}


def test_gate_queue_that_grows_is_published_at_the_next_reading(hook, peer_store):
    async def scenario():
        gate = CapacityGate("conn")
        waiters = [wait(gate, "first")]
        await asyncio.sleep(2)
        waiters += [wait(gate, f"w{number}") for number in range(99)]
        await asyncio.sleep(7)
        wanted = [wanted_slots(state) for state in states(peer_store)]
        await cancel(*waiters)
        return wanted

    assert run(scenario()) == [100]


def test_observer_unreachable_peers_are_read_once_a_minute(hook, peer_store):
    peer_store.unreachable = True
    hook.answer = reading(a=(2, 4))

    async def scenario():
        observer = look(CapacityGate("conn"), [])
        await asyncio.sleep(290)
        await cancel(observer)

    run(scenario())
    assert len(peer_store.calls) <= 5


def test_observer_unreachable_peers_do_not_block_it(hook, peer_store):
    peer_store.unreachable = True
    hook.answer = reading(a=(2, 4))
    seen = []

    async def scenario():
        observer = look(CapacityGate("conn"), seen)
        await asyncio.sleep(60)
        await cancel(observer)

    run(scenario())
    assert set(seen) == {2}
