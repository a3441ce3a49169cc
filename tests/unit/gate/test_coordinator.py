"""Gates that pretend to be in different triggerers, in virtual time."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter

import pytest

from airflow_riffusion.core.peers import HeldSlots, PeerState
from airflow_riffusion.core.request import SlotRequest
from airflow_riffusion.exceptions import RiffusionRejected, RiffusionUnavailable
from airflow_riffusion.gate.gate import CapacityGate
from tests.gates import FULL, cancel, look, our_tasks
from tests.readings import job, reading
from tests.virtual_time import run


def wait(gate, waiter_id, *, poke_interval=5.0, **request):
    return asyncio.create_task(gate.wait(waiter_id, SlotRequest(**request), poke_interval))


def state(*, sequence=1, intent=False, **lasts):
    """Return a peer's state, with holds for one slot of account "a"."""
    holds = [
        HeldSlots(reply_ref=ref, slots={"a": 1}, one_job=True, lasts=each) for ref, each in lasts.items()
    ]
    return PeerState(sequence=sequence, intent=intent, held=holds).model_dump_json()


def states(peer_store):
    return [PeerState.model_validate_json(text) for text in peer_store.texts.values()]


def published(peer_store):
    """Return what the gates say they hold, and whether one of them intends to grant."""
    now = states(peer_store)
    return {held.reply_ref for each in now for held in each.held}, any(each.intent for each in now)


def published_wanted(peer_store):
    """Return how many slots each gate says are wanted."""
    return [sum(wanted.slots for wanted in each.wanted) for each in states(peer_store)]


async def cancel_after(waiter, seconds):
    await asyncio.sleep(seconds)
    await cancel(waiter)


def loop_time():
    return asyncio.get_running_loop().time()


def test_coordinator_gate_without_peers_makes_no_extra_request_and_two_store_calls(hook, peer_store):
    async def scenario():
        gate = CapacityGate("conn")
        waiters = [wait(gate, f"w{number}", since=number) for number in range(9)]
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


def test_coordinator_grant_is_published_before_its_waiter_is_resolved(hook, peer_store):
    hook.answer = reading(a=1)

    async def scenario():
        gate = CapacityGate("conn")
        waiter = wait(gate, "w")
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
        await wait(CapacityGate("conn"), "w", poke_interval=1)
        return loop_time() - began

    assert 10 <= run(scenario()) <= 14


def test_coordinator_intent_of_a_dead_peer_blocks_grants_until_it_expires(hook, peer_store):
    hook.answer = reading(a=1)
    peer_store.texts["peer"] = state(intent=True)

    async def scenario():
        began = loop_time()
        await wait(CapacityGate("conn"), "w", poke_interval=1)
        return loop_time() - began

    assert 45 <= run(scenario()) <= 50
    assert not PeerState.model_validate_json(peer_store.texts.popitem()[1]).intent


def test_coordinator_holds_of_a_killed_triggerer_count_until_they_expire(hook, peer_store):
    hook.answer = reading(a=1)
    peer_store.texts["killed"] = state(song=60.0)

    async def scenario():
        began = loop_time()
        await wait(CapacityGate("conn"), "w", poke_interval=1)
        return loop_time() - began

    assert 60 <= run(scenario()) <= 63


def test_coordinator_peer_hold_whose_job_is_executing_is_not_subtracted_twice(hook, peer_store):
    hook.answer = reading(job("1", "a", "song"), a=1)
    peer_store.texts["peer"] = state(song=1000.0)

    async def scenario():
        return await wait(CapacityGate("conn"), "w", poke_interval=1)

    assert run(scenario()).slots == {"a": 1}


def test_coordinator_turn_beside_peers_grants_by_a_reading_newer_than_their_states(hook, peer_store):
    async def scenario():
        gate = CapacityGate("conn")
        peer_store.texts["peer"] = state()
        waiter = wait(gate, "w")
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
        first, second = wait(gate, "first", since=1), wait(gate, "second", since=2)
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
        first, second = wait(gate, "first", since=1), wait(gate, "second", since=2)
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
        waiter = wait(gate, "w", poke_interval=1)
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
        waiter = wait(gate, "w", poke_interval=1)
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
        waiter = wait(gate, "w", poke_interval=poke_interval)
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
        waiters = [wait(gate, "w1", since=1), wait(gate, "w2", since=2)]
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
        await wait(gate, "w1", since=1)
        hook.answer = reading(job("1", "a"), a=1)
        began = loop_time()
        await wait(gate, "w2", since=2)
        return loop_time() - began

    assert run(scenario()) < 10


def test_coordinator_job_without_reference_settles_no_hold_while_peers_are_unreachable(hook, peer_store):
    hook.answer = reading(a=1)

    async def scenario():
        gate = CapacityGate("conn")
        await wait(gate, "w1", since=1, hold=1000)
        await asyncio.sleep(6)
        peer_store.unreachable = True
        await asyncio.sleep(11)
        hook.answer = reading(job("1", "a"), a=1)
        second = wait(gate, "w2", since=2)
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
        await cancel(wait(gate, "before"))
        await asyncio.sleep(1000)
        peer_store.texts["peer"] = state(song=1000.0)
        hook.answer = reading(a=1)
        if fault == "unreachable":
            peer_store.unreachable = True
        else:
            peer_store.unreadable.add("peer")
        waiter = wait(gate, "w")
        await asyncio.sleep(60)
        peer_store.unreachable = False
        peer_store.unreadable.clear()
        await asyncio.sleep(60)
        granted = waiter.done()
        await cancel(waiter)
        return granted

    assert run(scenario()) is False


def test_coordinator_readings_of_turns_are_at_least_a_second_apart(hook, peer_store):
    async def scenario():
        gate = CapacityGate("conn")
        peer_store.texts["peer"] = state()
        await cancel(wait(gate, "known"))
        await asyncio.sleep(20)
        hook.answer = reading(a=9)
        for number in range(9):
            await wait(gate, f"w{number}")
            await asyncio.sleep(0.1)

    run(scenario())
    assert all(pause >= 1 for pause in hook.pauses)


def test_coordinator_second_reading_that_fails_is_followed_by_its_backoff(hook, peer_store):
    async def scenario():
        gate = CapacityGate("conn")
        peer_store.texts["peer"] = state()
        first = wait(gate, "first", poke_interval=5)
        await asyncio.sleep(20)
        hook.next_answers = [reading(a=1), RiffusionUnavailable("429", status=429, retry_after=60.0)]
        before = len(hook.asked_at)
        for _ in range(100):
            await asyncio.sleep(0.1)
            if len(hook.asked_at) > before:
                break
        await cancel(first)
        new = wait(gate, "new", poke_interval=5)
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
        waiter = wait(gate, "w")
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


def test_coordinator_last_release_is_published_before_the_gate_rests(hook, peer_store):
    hook.answer = reading(a=1)

    async def scenario():
        gate = CapacityGate("conn")
        peer_store.texts["peer"] = state()
        await wait(gate, "w", hold=1000)
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
        await cancel(wait(gate, "before"))
        await asyncio.sleep(5)
        waiter = wait(gate, "w0")
        await asyncio.sleep(5)
        await cancel(waiter)
        before = set(peer_store.texts)
        await asyncio.sleep(320)
        waiter = wait(gate, "w1")
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
        await wait(gate, "first")
        await asyncio.sleep(2)
        await wait(gate, "second")

    run(scenario())
    assert [held for _, held in written] == [set(), {"first"}, set(), set(), {"second"}]
    assert written[4][0] - written[3][0] < 1


def test_coordinator_unreachable_peers_count_anew_after_a_pause(hook, peer_store):
    """Or a gate would grant as if alone at once, as it could not read its peers long ago."""

    async def scenario():
        gate = CapacityGate("conn")
        peer_store.unreachable = True
        await cancel_after(wait(gate, "long ago"), 5)
        await asyncio.sleep(3600)
        hook.answer = reading(a=1)
        late = wait(gate, "late")
        await asyncio.sleep(100)
        granted = late.done()
        await cancel(late)
        return granted

    assert run(scenario()) is False


def test_coordinator_switched_off_lets_jobs_without_reference_settle_holds(hook, peer_store):
    peer_store.texts["peer"] = state()
    hook.answer = reading(a=1)

    async def scenario():
        gate = CapacityGate("conn")
        await wait(gate, "first")
        hook.settings.separate_triggerers = True
        hook.answer = reading(job("1", "a"), a=(0, 1))
        await asyncio.sleep(12)
        hook.answer = reading(a=1)
        began = loop_time()
        await wait(gate, "second")
        return loop_time() - began

    assert run(scenario()) < 10  # The hold would last for two minutes.


@pytest.mark.parametrize("cause", ["the peers can't be reached", "the triggerers are separate"])
def test_coordinator_news_that_can_not_be_published_end_the_readings(hook, peer_store, cause):
    async def scenario():
        gate = CapacityGate("conn")
        waiters = [wait(gate, f"w{number}") for number in range(3)]
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
        await wait(CapacityGate("conn"), "w")
        return loop_time() - began

    assert 150 <= run(scenario()) < 170
    assert "what this triggerer has just written is not there" in caplog.text


def test_coordinator_unreachable_peers_block_grants_until_they_count_as_gone(hook, peer_store, caplog):
    caplog.set_level(logging.INFO, "airflow_riffusion")
    hook.answer = reading(a=5)

    async def scenario():
        gate = CapacityGate("conn")
        await wait(gate, "before")
        peer_store.unreachable = True
        began = loop_time()
        await wait(gate, "meanwhile", poke_interval=1)
        took = loop_time() - began
        peer_store.unreachable = False
        await wait(gate, "after", poke_interval=1)
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


def test_coordinator_rejection_in_the_middle_of_a_turn_withdraws_the_intent(hook, peer_store):
    async def scenario():
        gate = CapacityGate("conn")
        peer_store.texts["peer"] = state()
        waiter = wait(gate, "w")
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
        waiter = wait(gate, "w")
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
        await cancel_after(wait(CapacityGate("conn"), "w"), 2)
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
        leaver = wait(gate, "leaver", since=1)
        stayer = wait(gate, "stayer", since=2)
        await asyncio.sleep(2.5)
        await cancel(leaver)
        return await stayer

    assert run(scenario()).grant_id == "stayer"


def test_coordinator_store_that_fails_after_a_grant_was_published_does_not_lose_it(hook, peer_store):
    async def scenario():
        gate = CapacityGate("conn")
        peer_store.texts["peer"] = state()
        waiter, others = wait(gate, "w"), []
        await asyncio.sleep(30)
        put = peer_store.put

        async def put_and_fail_from_then_on(gate_id, text):
            await put(gate_id, text)
            if published(peer_store)[0]:
                others.append(wait(gate, "other", since=1))
                await asyncio.sleep(0.1)
                peer_store.unreachable = True

        peer_store.put = put_and_fail_from_then_on
        hook.answer = reading(a=1)
        await asyncio.sleep(10)
        granted = waiter.done()
        await cancel(waiter, *others)
        return granted

    assert run(scenario()) is True


def test_coordinator_released_slots_are_published(hook, peer_store):
    async def scenario():
        gate = CapacityGate("conn")
        peer_store.texts["peer"] = state()
        others = [wait(gate, "w1", since=1), wait(gate, "w2", since=2)]
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
        waiter = wait(CapacityGate("conn"), "w")
        await asyncio.sleep(590)
        before = "dead" in peer_store.texts
        await asyncio.sleep(80)
        await cancel(waiter)
        return before, "dead" in peer_store.texts

    assert run(scenario()) == (True, False)


def test_coordinator_own_state_that_was_deleted_is_published_again(hook, peer_store):
    async def scenario():
        gate = CapacityGate("conn")
        waiter = wait(gate, "w")
        await asyncio.sleep(61)
        peer_store.texts.clear()
        await asyncio.sleep(66)
        await cancel(waiter)
        return len(peer_store.texts)

    assert run(scenario()) == 1


def test_coordinator_state_that_can_not_be_parsed_blocks_until_it_expires(hook, peer_store, caplog):
    hook.answer = reading(a=1)
    peer_store.texts["odd"] = '{"sequence": "x"}'

    async def scenario():
        await wait(CapacityGate("conn"), "w")

    run(scenario())
    assert caplog.text.count("the state of another triggerer's gate (odd) can't be parsed") == 1


def test_coordinator_separate_triggerers_make_no_store_call(hook, peer_store):
    hook.answer = reading(a=1)
    hook.settings.separate_triggerers = True
    peer_store.texts["peer"] = state(song=1000.0)

    async def scenario():
        await wait(CapacityGate("conn"), "w")

    run(scenario())
    assert peer_store.calls == []


def test_coordinator_log_says_how_many_peers_there_are_and_what_they_hold(hook, peer_store, caplog):
    caplog.set_level(logging.INFO, "airflow_riffusion")
    hook.answer = reading(a=(1, 2))
    peer_store.texts["peer"] = state(song=1000.0)

    async def scenario():
        waiter = wait(CapacityGate("conn"), "w", poke_interval=20)
        await asyncio.sleep(25)
        await cancel(waiter)

    run(scenario())
    assert "1 of 2 slots free on 1 account, 0 held and 1 by other triggerers, 0 tasks ahead" in caplog.text
    assert "Connection 'conn': its slots are shared with 1 other triggerer." in caplog.text


def test_coordinator_gate_without_peers_publishes_large_changes_of_what_is_wanted(hook, peer_store):
    async def scenario():
        gate = CapacityGate("conn")
        waiters = [wait(gate, "first")]
        await asyncio.sleep(2)
        wanted = [published_wanted(peer_store)]
        waiters += [wait(gate, f"w{number}", slots=2) for number in range(3)]
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
        waiters = [wait(gate, f"w{number}") for number in range(3)]
        await asyncio.sleep(2)
        wanted = [max(published_wanted(peer_store))]
        waiters.append(wait(gate, "one more"))
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
        await wait(CapacityGate("conn"), "w")
        took = loop_time() - began
        await cancel(observer)
        return calls, took

    calls, took = run(scenario())
    assert calls == {"ids"}
    assert took < 2  # A newcomer beside a peer would wait ten seconds.


def test_coordinator_gate_that_only_holds_goes_on_publishing(hook, peer_store):
    hook.next_answers = [reading(a=1)]

    async def scenario():
        await wait(CapacityGate("conn"), "never seen in use", hold=1000)
        await asyncio.sleep(400)

    run(scenario())
    assert [state.sequence >= 5 for state in states(peer_store)] == [True]
    assert published(peer_store)[0] == {"never seen in use"}


def test_coordinator_job_that_began_while_the_gate_only_observed_settles_no_hold(hook, peer_store):
    hook.answer = reading(a=(4, 4))

    async def scenario():
        gate = CapacityGate("conn")
        observer = look([], gate=gate, slots=1)
        await asyncio.sleep(10)
        hook.answer = reading(job("1", "a", "of another client"), a=(3, 4))
        await asyncio.sleep(20)
        await wait(gate, "w", hold=600)
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
        in_vain = wait(CapacityGate("conn"), "in vain", slots=4, user_ids=frozenset("a"))
        await asyncio.sleep(120)
        began = loop_time()
        await wait(gate, "w")
        took = loop_time() - began
        await cancel(observer, in_vain)
        return took

    assert 10 <= run(scenario()) < 25
