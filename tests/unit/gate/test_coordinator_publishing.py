"""What gates in different triggerers publish, and when, in virtual time."""

from __future__ import annotations

import asyncio

import pytest

from airflow_riffusion.exceptions import RiffusionRejected
from airflow_riffusion.gate.gate import CapacityGate
from tests.gates import cancel, look, our_tasks
from tests.peers import cancel_after, loop_time, published, published_wanted, state, states, wait_at
from tests.readings import job, reading
from tests.virtual_time import run


def test_coordinator_grant_is_published_before_its_waiter_is_resolved(hook, peer_store):
    hook.answer = reading(a=1)

    async def scenario():
        gate = CapacityGate("conn")
        waiter = wait_at(gate, "w")
        seen = []

        async def put(gate_id, text):
            peer_store.texts[gate_id] = text
            await asyncio.sleep(0.5)
            seen.append(waiter.done())

        peer_store.put = put
        await waiter
        return seen

    assert run(scenario()) == [False, False]
    assert published(peer_store)[0] == {"w"}


def test_coordinator_last_release_is_published_before_the_gate_rests(hook, peer_store):
    hook.answer = reading(a=1)

    async def scenario():
        gate = CapacityGate("conn")
        peer_store.texts["peer"] = state()
        await wait_at(gate, "w", hold=1000)
        held = published(peer_store)[0]
        gate.give_back("w")
        await asyncio.sleep(10)
        return held, our_tasks()

    assert run(scenario()) == ({"w"}, [])
    assert published(peer_store) == (set(), False)


def test_coordinator_gate_silent_for_five_minutes_takes_another_id(hook, peer_store):
    """A peer may be deleting the old state just now."""

    async def scenario():
        gate = CapacityGate("conn")
        await cancel(wait_at(gate, "before"))
        await asyncio.sleep(5)
        waiter = wait_at(gate, "w0")
        await asyncio.sleep(5)
        await cancel(waiter)
        before = set(peer_store.texts)
        await asyncio.sleep(320)
        waiter = wait_at(gate, "w1")
        await asyncio.sleep(5)
        await cancel(waiter)
        return before, set(peer_store.texts)

    before, after = run(scenario())
    assert len(before) == len(after) == 1
    assert before != after


def test_coordinator_gate_held_up_for_long_publishes_before_it_grants_as_if_alone(hook, peer_store):
    """Peers that came meanwhile take its state for one of a gate that has gone."""
    hook.next_answers = [reading(a=1)]
    hook.answer = reading(job("1", "a", "first"), a=1)
    written = []

    async def scenario():
        gate = CapacityGate("conn")

        async def put(gate_id, text):
            peer_store.texts[gate_id] = text
            written.append((loop_time(), published(peer_store)[0]))
            if len(written) == 3:  # "first" is seen in use, which is news.
                await asyncio.sleep(301)

        peer_store.put = put
        await wait_at(gate, "first")
        await asyncio.sleep(2)
        await wait_at(gate, "second")

    run(scenario())
    assert [held for _, held in written] == [set(), {"first"}, set(), set(), {"second"}]
    assert written[4][0] - written[3][0] < 1


def test_coordinator_rejection_in_the_middle_of_a_turn_withdraws_the_intent(hook, peer_store):
    async def scenario():
        gate = CapacityGate("conn")
        peer_store.texts["peer"] = state()
        waiter = wait_at(gate, "w")
        await asyncio.sleep(30)
        hook.next_answers = [reading(a=1), RiffusionRejected("401"), RiffusionRejected("401")]
        hook.tokens = ["token", "token"]
        with pytest.raises(RiffusionRejected):
            await waiter
        await asyncio.sleep(0)

    run(scenario())
    assert published(peer_store) == (set(), False)


def test_coordinator_last_waiter_leaving_in_the_middle_of_a_turn_leaves_no_intent(hook, peer_store):
    async def scenario():
        gate = CapacityGate("conn")
        peer_store.texts["peer"] = state()
        waiter = wait_at(gate, "w")
        await asyncio.sleep(30)
        put = peer_store.put

        async def slow_put(gate_id, text):
            await put(gate_id, text)
            await asyncio.sleep(2)

        peer_store.put = slow_put
        hook.answer = reading(a=1)
        for _ in range(100):
            await asyncio.sleep(0.1)
            if published(peer_store)[1]:
                break
        await cancel(waiter)
        still_up = published(peer_store)[1]
        await asyncio.sleep(10)
        return still_up, our_tasks()

    assert run(scenario()) == (True, [])
    assert published(peer_store) == (set(), False)


def test_coordinator_last_waiter_leaving_during_the_first_publication_takes_its_demand_back(hook, peer_store):
    put = peer_store.put

    async def slow_put(gate_id, text):
        await put(gate_id, text)
        await asyncio.sleep(2)

    peer_store.put = slow_put

    async def scenario():
        await cancel_after(wait_at(CapacityGate("conn"), "w"), 2)
        before = published_wanted(peer_store)
        await asyncio.sleep(30)
        return before, published_wanted(peer_store), our_tasks()

    assert run(scenario()) == ([1], [0], [])


def test_coordinator_waiter_cancelled_while_its_grant_is_published_gives_it_back(hook, peer_store):
    hook.answer = reading(a=1)

    async def scenario():
        gate = CapacityGate("conn")
        put = peer_store.put

        async def slow_put(gate_id, text):
            await asyncio.sleep(1)
            await put(gate_id, text)

        peer_store.put = slow_put
        leaver = wait_at(gate, "leaver", since=1)
        stayer = wait_at(gate, "stayer", since=2)
        await asyncio.sleep(2.5)
        await cancel(leaver)
        return await stayer

    assert run(scenario()).grant_id == "stayer"


def test_coordinator_released_slots_are_published(hook, peer_store):
    async def scenario():
        gate = CapacityGate("conn")
        peer_store.texts["peer"] = state()
        others = [wait_at(gate, "w1", since=1), wait_at(gate, "w2", since=2)]
        await asyncio.sleep(30)
        hook.answer = reading(a=1)
        await asyncio.sleep(7)
        held = published(peer_store)[0]
        hook.answer = reading(job("1", "a", "w1"), a=0)
        await asyncio.sleep(7)
        await cancel(*others)
        return held, published(peer_store)[0]

    assert run(scenario()) == ({"w1"}, set())


def test_coordinator_state_of_a_silent_peer_is_deleted_after_ten_minutes(hook, peer_store):
    async def scenario():
        peer_store.texts["dead"] = state()
        waiter = wait_at(CapacityGate("conn"), "w")
        await asyncio.sleep(590)
        before = "dead" in peer_store.texts
        await asyncio.sleep(80)
        await cancel(waiter)
        return before, "dead" in peer_store.texts

    assert run(scenario()) == (True, False)


def test_coordinator_own_state_that_was_deleted_is_published_again(hook, peer_store):
    async def scenario():
        gate = CapacityGate("conn")
        waiter = wait_at(gate, "w")
        await asyncio.sleep(61)
        peer_store.texts.clear()
        await asyncio.sleep(66)
        await cancel(waiter)
        return len(peer_store.texts)

    assert run(scenario()) == 1


def test_coordinator_separate_triggerers_make_no_store_call(hook, peer_store):
    hook.answer = reading(a=1)
    hook.settings.separate_triggerers = True
    peer_store.texts["peer"] = state(song=1000.0)

    async def scenario():
        await wait_at(CapacityGate("conn"), "w")

    run(scenario())
    assert peer_store.calls == []


def test_coordinator_gate_without_peers_publishes_large_changes_of_what_is_wanted(hook, peer_store):
    async def scenario():
        gate = CapacityGate("conn")
        waiters = [wait_at(gate, "first")]
        await asyncio.sleep(2)
        wanted = [published_wanted(peer_store)]
        waiters += [wait_at(gate, f"w{number}", slots=2) for number in range(3)]
        await asyncio.sleep(7)
        wanted.append(published_wanted(peer_store))
        await cancel(*waiters)
        await asyncio.sleep(20)
        wanted.append(published_wanted(peer_store))
        return wanted

    assert run(scenario()) == [[1], [7], [0]]


def test_coordinator_gate_beside_peers_publishes_small_changes_of_what_is_wanted(hook, peer_store):
    peer_store.texts["peer"] = state()

    async def scenario():
        gate = CapacityGate("conn")
        waiters = [wait_at(gate, f"w{number}") for number in range(3)]
        await asyncio.sleep(2)
        wanted = [max(published_wanted(peer_store))]
        waiters.append(wait_at(gate, "one more"))
        await asyncio.sleep(7)
        wanted.append(max(published_wanted(peer_store)))
        await cancel(*waiters)
        return wanted

    assert run(scenario()) == [3, 4]


def test_coordinator_gate_with_observers_only_publishes_nothing_and_is_no_peer(hook, peer_store):
    hook.answer = reading(a=(2, 4))

    async def scenario():
        observer = look([], gate=CapacityGate("conn"), slots=1)
        await asyncio.sleep(300)
        calls = set(peer_store.calls)
        began = loop_time()
        await wait_at(CapacityGate("conn"), "w")
        took = loop_time() - began
        await cancel(observer)
        return calls, took

    calls, took = run(scenario())
    assert calls == {"ids"}
    assert took < 2  # A newcomer beside a peer would wait ten seconds.


def test_coordinator_gate_that_only_holds_goes_on_publishing(hook, peer_store):
    hook.next_answers = [reading(a=1)]

    async def scenario():
        await wait_at(CapacityGate("conn"), "never seen in use", hold=1000)
        await asyncio.sleep(400)

    run(scenario())
    assert [state.sequence >= 5 for state in states(peer_store)] == [True]
    assert published(peer_store)[0] == {"never seen in use"}
