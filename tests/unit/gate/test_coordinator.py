"""What gates in different triggerers grant, in virtual time."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter

import pytest

from airflow_riffusion.core.peers import PeerState
from airflow_riffusion.core.request import SlotRequest
from airflow_riffusion.gate.gate import CapacityGate
from tests.gates import FULL, cancel, look
from tests.peers import loop_time, published, state, wait_at
from tests.readings import job, reading
from tests.virtual_time import run


def test_coordinator_gate_without_peers_makes_no_extra_request_and_two_store_calls(hook, peer_store):
    async def scenario():
        gate = CapacityGate("conn")
        waiters = [wait_at(gate, f"w{number}", since=number) for number in range(9)]
        await asyncio.sleep(21)
        idle, requests = Counter(peer_store.calls), len(hook.asked_at)
        hook.answer = reading(a=1)
        await asyncio.sleep(6)
        granting = Counter(peer_store.calls) - idle
        await cancel(*waiters)
        return idle, requests, granting

    idle, requests, granting = run(scenario())
    assert requests <= 5
    assert idle == {"put": 1, "ids": 1}
    assert granting["put"] == 1
    assert granting["ids"] <= 2  # one for each reading
    assert granting.keys() == {"put", "ids"}


def test_coordinator_150_songs_in_three_triggerers_meet_no_refusal(hook, peer_store):
    jobs, refused, made = {}, [], []

    def read():
        free = 4 - len(jobs)
        return reading(*(job(ref, "a", ref) for ref in jobs), a=(free, 4))

    hook.answer = read

    async def song(gate, number):
        ref = f"song{number}"
        await gate.wait(ref, SlotRequest(hold=60, since=number), 2.0)
        await asyncio.sleep(1 + number % 5)
        if len(jobs) >= 4:
            refused.append(ref)
        jobs[ref] = True
        await asyncio.sleep(5 + number % 7)
        del jobs[ref]
        made.append(ref)

    async def scenario():
        gates = [CapacityGate("conn") for _ in range(3)]
        await asyncio.gather(*(song(gates[number % 3], number) for number in range(150)))

    run(scenario())
    assert len(made) == 150
    assert refused == []


def test_coordinator_newcomer_beside_a_peer_waits_until_the_peer_has_read_its_state(hook, peer_store):
    hook.answer = reading(a=1)
    peer_store.texts["peer"] = state()

    async def scenario():
        began = loop_time()
        await wait_at(CapacityGate("conn"), "w", poke_interval=1)
        return loop_time() - began

    assert 10 <= run(scenario()) <= 14


def test_coordinator_intent_of_a_dead_peer_blocks_grants_until_it_expires(hook, peer_store):
    hook.answer = reading(a=1)
    peer_store.texts["peer"] = state(intent=True)

    async def scenario():
        began = loop_time()
        await wait_at(CapacityGate("conn"), "w", poke_interval=1)
        return loop_time() - began

    assert 45 <= run(scenario()) <= 50
    assert not PeerState.model_validate_json(peer_store.texts.popitem()[1]).intent


def test_coordinator_holds_of_a_killed_triggerer_count_until_they_expire(hook, peer_store):
    hook.answer = reading(a=1)
    peer_store.texts["killed"] = state(song=60.0)

    async def scenario():
        began = loop_time()
        await wait_at(CapacityGate("conn"), "w", poke_interval=1)
        return loop_time() - began

    assert 60 <= run(scenario()) <= 63


def test_coordinator_peer_hold_whose_job_is_executing_is_not_subtracted_twice(hook, peer_store):
    hook.answer = reading(job("1", "a", "song"), a=1)
    peer_store.texts["peer"] = state(song=1000.0)

    async def scenario():
        return await wait_at(CapacityGate("conn"), "w", poke_interval=1)

    assert run(scenario()).slots == {"a": 1}


def test_coordinator_turn_beside_peers_grants_by_a_reading_newer_than_their_states(hook, peer_store):
    async def scenario():
        gate = CapacityGate("conn")
        peer_store.texts["peer"] = state()
        waiter = wait_at(gate, "w")
        await asyncio.sleep(30)
        hook.next_answers = [reading(a=1), FULL]
        await asyncio.sleep(6)
        granted = waiter.done()
        await cancel(waiter)
        return granted

    assert run(scenario()) is False
    assert published(peer_store) == (set(), False)


def test_coordinator_second_reading_of_a_turn_settles_holds(hook, peer_store):
    async def scenario():
        gate = CapacityGate("conn")
        peer_store.texts["peer"] = state()
        first, second = wait_at(gate, "first", since=1), wait_at(gate, "second", since=2)
        await asyncio.sleep(30)
        hook.answer = reading(a=1)
        await first
        executing = job("1", "a", "first")
        hook.next_answers = [reading(a=2), reading(executing, a=1)]
        hook.answer = reading(executing, a=0)
        await asyncio.sleep(8)
        granted = second.done()
        await cancel(second)
        return granted

    assert run(scenario()) is True


@pytest.mark.parametrize(
    ("look_takes", "publication_takes", "granted"),
    [(0, 7, True), (0, 8.5, False), (6, 1.5, True), (6, 2.5, False)],
)
def test_coordinator_grant_without_peers_is_undone_if_published_too_late(
    hook, peer_store, look_takes, publication_takes, granted
):
    """They take a turn 10 s after they have come, and may have come when the look had begun."""

    async def scenario():
        gate = CapacityGate("conn")
        first, second = wait_at(gate, "first", since=1), wait_at(gate, "second", since=2)
        await asyncio.sleep(20)
        ids, put, puts = peer_store.ids, peer_store.put, []

        async def slow_ids():
            await asyncio.sleep(look_takes)
            return await ids()

        async def slow_put(gate_id, text):
            puts.append(text)
            await asyncio.sleep(publication_takes if len(puts) == 1 else 0)
            await put(gate_id, text)

        peer_store.ids, peer_store.put = slow_ids, slow_put
        hook.answer = reading(a=1)
        await first
        await cancel(second)
        return len(puts) == 1

    assert run(scenario()) is granted


def test_coordinator_peers_are_read_again_after_five_seconds_without_any(hook, peer_store):
    async def scenario():
        gate = CapacityGate("conn")
        waiter = wait_at(gate, "w", poke_interval=1)
        await asyncio.sleep(20)
        peer_store.texts["newcomer"] = state(song=1000.0)
        hook.answer = reading(a=1)
        await asyncio.sleep(20)
        granted = waiter.done()
        await cancel(waiter)
        return granted

    assert run(scenario()) is False


def test_coordinator_gate_silent_for_long_is_a_newcomer_in_the_middle_of_its_turn(hook, peer_store):
    """In the middle of its own turn, too: they may be granting as if they were alone."""

    async def scenario():
        gate = CapacityGate("conn")
        peer_store.texts["peer"] = state()
        waiter = wait_at(gate, "w", poke_interval=1)
        await asyncio.sleep(30)
        ids = peer_store.ids

        async def slow_ids():
            await asyncio.sleep(120)
            peer_store.texts["peer"] = state(sequence=2)
            peer_store.ids = ids
            return await ids()

        peer_store.ids = slow_ids
        hook.answer = reading(a=1)
        await asyncio.sleep(123)
        granted = waiter.done()
        await waiter
        return granted

    assert run(scenario()) is False


@pytest.mark.parametrize("poke_interval", [60, 120, 300])
def test_coordinator_gate_with_a_long_interval_grants_at_its_first_reading(hook, peer_store, poke_interval):
    async def scenario():
        gate = CapacityGate("conn")
        waiter = wait_at(gate, "w", poke_interval=poke_interval)
        for sequence in range(100):
            peer_store.texts["peer"] = state(sequence=sequence)
            await asyncio.sleep(20)
            if sequence == 50:
                hook.answer, free_since = reading(a=1), loop_time()
            if waiter.done():
                break
        return loop_time() - free_since

    assert run(scenario()) <= 1.1 * poke_interval + 40


def test_coordinator_job_of_a_peer_settles_no_hold_here(hook, peer_store):
    hook.answer = reading(a=1)

    async def scenario():
        gate = CapacityGate("conn")
        peer_store.texts["peer"] = state()
        waiters = [wait_at(gate, "w1", since=1), wait_at(gate, "w2", since=2)]
        await asyncio.wait(waiters, return_when=asyncio.FIRST_COMPLETED)
        hook.answer = reading(job("1", "a", "of the peer"), a=1)
        await asyncio.sleep(60)
        granted = waiters[1].done()
        await cancel(*waiters)
        return granted

    assert run(scenario()) is False


def test_coordinator_job_without_reference_settles_a_hold_if_there_are_no_peers(hook, peer_store):
    hook.answer = reading(a=1)

    async def scenario():
        gate = CapacityGate("conn")
        await wait_at(gate, "w1", since=1)
        hook.answer = reading(job("1", "a"), a=1)
        began = loop_time()
        await wait_at(gate, "w2", since=2)
        return loop_time() - began

    assert run(scenario()) < 10


def test_coordinator_readings_of_turns_are_at_least_a_second_apart(hook, peer_store):
    async def scenario():
        gate = CapacityGate("conn")
        peer_store.texts["peer"] = state()
        await cancel(wait_at(gate, "known"))
        await asyncio.sleep(20)
        hook.answer = reading(a=9)
        for number in range(9):
            await wait_at(gate, f"w{number}")
            await asyncio.sleep(0.1)

    run(scenario())
    assert all(pause >= 1 for pause in hook.pauses)


def test_coordinator_switched_off_lets_jobs_without_reference_settle_holds(hook, peer_store):
    peer_store.texts["peer"] = state()
    hook.answer = reading(a=1)

    async def scenario():
        gate = CapacityGate("conn")
        await wait_at(gate, "first")
        hook.settings.separate_triggerers = True
        hook.answer = reading(job("1", "a"), a=(0, 1))
        await asyncio.sleep(12)
        hook.answer = reading(a=1)
        began = loop_time()
        await wait_at(gate, "second")
        return loop_time() - began

    assert run(scenario()) < 10  # The hold would last for two minutes.


def test_coordinator_log_says_how_many_peers_there_are_and_what_they_hold(hook, peer_store, caplog):
    caplog.set_level(logging.INFO, "airflow_riffusion")
    hook.answer = reading(a=(1, 2))
    peer_store.texts["peer"] = state(song=1000.0)

    async def scenario():
        waiter = wait_at(CapacityGate("conn"), "w", poke_interval=20)
        await asyncio.sleep(25)
        await cancel(waiter)

    run(scenario())
    assert "1 of 2 slots free on 1 account, 0 held and 1 by other triggerers, 0 tasks ahead" in caplog.text
    assert "Connection 'conn': its slots are shared with 1 other triggerer." in caplog.text


def test_coordinator_job_that_began_while_the_gate_only_observed_settles_no_hold(hook, peer_store):
    hook.answer = reading(a=(4, 4))

    async def scenario():
        gate = CapacityGate("conn")
        observer = look([], gate=gate, slots=1)
        await asyncio.sleep(10)
        hook.answer = reading(job("1", "a", "of another client"), a=(3, 4))
        await asyncio.sleep(20)
        await wait_at(gate, "w", hold=600)
        await asyncio.sleep(60)
        held = published(peer_store)[0]
        await cancel(observer)
        return held

    assert run(scenario()) == {"w"}


def test_coordinator_gate_that_only_observed_is_a_newcomer_to_its_peers(hook, peer_store):
    hook.answer = reading(job("1", "a"), a=(3, 4))

    async def scenario():
        gate = CapacityGate("conn")
        observer = look([], gate=gate, slots=1)
        in_vain = wait_at(CapacityGate("conn"), "in vain", slots=4, user_ids=frozenset("a"))
        await asyncio.sleep(120)
        began = loop_time()
        await wait_at(gate, "w")
        took = loop_time() - began
        await cancel(observer, in_vain)
        return took

    assert 10 <= run(scenario()) < 25
