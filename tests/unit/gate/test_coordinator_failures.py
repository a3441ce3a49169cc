"""What a gate grants while its peers can't be reached or understood, in virtual time."""

from __future__ import annotations

import asyncio
import logging

import pytest

from airflow_riffusion.exceptions import RiffusionUnavailable
from airflow_riffusion.gate.gate import CapacityGate
from tests.gates import cancel
from tests.peers import cancel_after, loop_time, published, state, wait_at
from tests.readings import job, reading
from tests.virtual_time import run


def test_coordinator_job_without_reference_settles_no_hold_while_peers_are_unreachable(hook, peer_store):
    hook.answer = reading(a=1)

    async def scenario():
        gate = CapacityGate("conn")
        await wait_at(gate, "w1", since=1, hold=1000)
        await asyncio.sleep(6)
        peer_store.unreachable = True
        await asyncio.sleep(11)
        hook.answer = reading(job("1", "a"), a=1)
        second = wait_at(gate, "w2", since=2)
        await asyncio.sleep(20)
        peer_store.unreachable = False
        await asyncio.sleep(20)
        granted = second.done()
        await cancel(second)
        return granted

    assert run(scenario()) is False


@pytest.mark.parametrize("fault", ["unreachable", "unreadable"])
def test_coordinator_one_failing_store_call_after_a_long_pause_grants_nothing(hook, peer_store, fault):
    async def scenario():
        gate = CapacityGate("conn")
        await cancel(wait_at(gate, "before"))
        await asyncio.sleep(1000)
        peer_store.texts["peer"] = state(song=1000.0)
        hook.answer = reading(a=1)
        if fault == "unreachable":
            peer_store.unreachable = True
        else:
            peer_store.unreadable.add("peer")
        waiter = wait_at(gate, "w")
        await asyncio.sleep(60)
        peer_store.unreachable = False
        peer_store.unreadable.clear()
        await asyncio.sleep(60)
        granted = waiter.done()
        await cancel(waiter)
        return granted

    assert run(scenario()) is False


def test_coordinator_second_reading_that_fails_is_followed_by_its_backoff(hook, peer_store):
    async def scenario():
        gate = CapacityGate("conn")
        peer_store.texts["peer"] = state()
        first = wait_at(gate, "first", poke_interval=5)
        await asyncio.sleep(20)
        hook.next_answers = [reading(a=1), RiffusionUnavailable("429", status=429, retry_after=60.0)]
        before = len(hook.asked_at)
        for _ in range(100):
            await asyncio.sleep(0.1)
            if len(hook.asked_at) > before:
                break
        await cancel(first)
        new = wait_at(gate, "new", poke_interval=5)
        await asyncio.sleep(120)
        await cancel(new)
        return hook.asked_at[before:]

    first, second, third, *_ = run(scenario())
    assert second - first < 3
    assert third - second >= 60


def test_coordinator_turn_that_takes_too_long_grants_nothing_and_is_logged_once(hook, peer_store, caplog):
    hook.answer = reading(a=1)

    async def scenario():
        gate = CapacityGate("conn")
        peer_store.texts["peer"] = state()
        get_capacity = hook.aget_capacity

        async def slow():
            await asyncio.sleep(26)
            return await get_capacity()

        hook.aget_capacity = slow
        waiter = wait_at(gate, "w")
        await asyncio.sleep(145)
        granted = waiter.done()
        hook.aget_capacity = get_capacity
        await waiter
        return granted

    assert run(scenario()) is False
    said = [record.message for record in caplog.records if "grant" in record.message]
    assert len(said) == 2
    assert "a grant was undone" in said[0]
    assert said[1] == "Connection 'conn': grants are published in time again."


def test_coordinator_unreachable_peers_count_anew_after_a_pause(hook, peer_store):
    """Or a gate would grant as if alone at once, as it could not read its peers long ago."""

    async def scenario():
        gate = CapacityGate("conn")
        peer_store.unreachable = True
        await cancel_after(wait_at(gate, "long ago"), 5)
        await asyncio.sleep(3600)
        hook.answer = reading(a=1)
        late = wait_at(gate, "late")
        await asyncio.sleep(100)
        granted = late.done()
        await cancel(late)
        return granted

    assert run(scenario()) is False


@pytest.mark.parametrize("cause", ["the peers can't be reached", "the triggerers are separate"])
def test_coordinator_news_that_can_not_be_published_end_the_readings(hook, peer_store, cause):
    async def scenario():
        gate = CapacityGate("conn")
        waiters = [wait_at(gate, f"w{number}") for number in range(3)]
        await asyncio.sleep(10)
        if cause == "the triggerers are separate":
            hook.settings.separate_triggerers = True
        else:
            peer_store.unreachable = True
        await cancel(*waiters)
        await asyncio.sleep(400)
        asked = len(hook.asked_at)
        await asyncio.sleep(3600)
        return len(hook.asked_at) - asked

    assert run(scenario()) == 0


def test_coordinator_own_state_that_is_not_listed_is_logged_and_grants_in_the_end(hook, peer_store, caplog):
    hook.answer = reading(a=1)

    async def nothing():
        return []

    peer_store.ids = nothing

    async def scenario():
        began = loop_time()
        await wait_at(CapacityGate("conn"), "w")
        return loop_time() - began

    assert 150 <= run(scenario()) < 170
    assert "what this triggerer has just written is not there" in caplog.text


def test_coordinator_unreachable_peers_block_grants_until_they_count_as_gone(hook, peer_store, caplog):
    caplog.set_level(logging.INFO, "airflow_riffusion")
    hook.answer = reading(a=5)

    async def scenario():
        gate = CapacityGate("conn")
        await wait_at(gate, "before")
        peer_store.unreachable = True
        began = loop_time()
        await wait_at(gate, "meanwhile", poke_interval=1)
        took = loop_time() - began
        peer_store.unreachable = False
        await wait_at(gate, "after", poke_interval=1)
        return took

    assert 150 <= run(scenario()) <= 153
    said = [
        record.message for record in caplog.records if "reached" in record.message or "find" in record.message
    ]
    assert said == [
        "Connection 'conn': can't find out what other triggerers have granted (no API server). Nothing "
        "is granted here until that works again; after 150 s, slots are granted as if there were no others.",
        "Connection 'conn': the other triggerers can be reached again.",
    ]


def test_coordinator_store_that_fails_after_a_grant_was_published_does_not_lose_it(hook, peer_store):
    async def scenario():
        gate = CapacityGate("conn")
        peer_store.texts["peer"] = state()
        waiter, others = wait_at(gate, "w"), []
        await asyncio.sleep(30)
        put = peer_store.put

        async def put_and_fail_from_then_on(gate_id, text):
            await put(gate_id, text)
            if published(peer_store)[0]:
                others.append(wait_at(gate, "other", since=1))
                await asyncio.sleep(0.1)
                peer_store.unreachable = True

        peer_store.put = put_and_fail_from_then_on
        hook.answer = reading(a=1)
        await asyncio.sleep(10)
        granted = waiter.done()
        await cancel(waiter, *others)
        return granted

    assert run(scenario()) is True


def test_coordinator_state_that_can_not_be_parsed_blocks_until_it_expires(hook, peer_store, caplog):
    hook.answer = reading(a=1)
    peer_store.texts["odd"] = '{"sequence": "x"}'

    async def scenario():
        await wait_at(CapacityGate("conn"), "w")

    run(scenario())
    assert caplog.text.count("the state of another triggerer's gate (odd) can't be parsed") == 1
