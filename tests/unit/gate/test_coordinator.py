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
from tests.gates import FULL, cancel, our_tasks
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


def published(board):
    """Return what is held by the board, and whether a flag is up."""
    states = [PeerState.model_validate_json(text) for text in board.texts.values()]
    return {held.reply_ref for each in states for held in each.held}, any(each.intent for each in states)


async def cancel_after(waiter, seconds):
    await asyncio.sleep(seconds)
    await cancel(waiter)


def loop_time():
    return asyncio.get_running_loop().time()


def test_a_gate_alone_costs_no_request_more_and_two_calls_per_reading_that_grants(hook, board):
    async def scenario():
        gate = CapacityGate("conn")
        waiters = [wait(gate, f"w{number}", since=number) for number in range(9)]
        await asyncio.sleep(21)
        idle, requests = Counter(board.calls), len(hook.asked_at)
        hook.answer = reading(a=1)
        await asyncio.sleep(6)
        granting = Counter(board.calls) - idle
        await cancel(*waiters)
        return idle, requests, granting

    idle, requests, granting = run(scenario())
    assert requests <= 5
    assert idle == {"put": 1, "ids": 1}
    assert granting["put"] == 1
    assert granting["ids"] <= 2  # one for each reading
    assert granting.keys() == {"put", "ids"}


def test_what_is_granted_is_published_before_its_task_is_told(hook, board):
    hook.answer = reading(a=1)

    async def scenario():
        gate = CapacityGate("conn")
        waiter = wait(gate, "w")
        seen = []

        async def put(gate_id, text):
            board.texts[gate_id] = text
            await asyncio.sleep(0.5)
            seen.append(waiter.done())

        board.put = put
        await waiter
        return seen

    assert run(scenario()) == [False, False]
    assert published(board)[0] == {"w"}


def test_two_gates_never_grant_the_same_slot(hook, board):
    async def scenario():
        gates = CapacityGate("conn"), CapacityGate("conn")
        waiters = [wait(gate, f"{name}{n}") for name, gate in zip("xy", gates, strict=True) for n in range(5)]
        await asyncio.sleep(30)
        hook.answer = reading(a=(3, 3))
        await asyncio.sleep(30)
        done = sum(waiter.done() for waiter in waiters)
        await cancel(*waiters)
        return done

    assert run(scenario()) == 3


def test_a_hundred_and_fifty_songs_of_three_triggerers_are_made_without_a_refusal(hook, board):
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


def test_a_newcomer_that_sees_a_sibling_first_lets_it_notice(hook, board):
    hook.answer = reading(a=1)
    board.texts["peer"] = state()

    async def scenario():
        began = loop_time()
        await wait(CapacityGate("conn"), "w", poke_interval=1)
        return loop_time() - began

    assert 10 <= run(scenario()) <= 14


def test_a_flag_that_stays_up_keeps_a_gate_from_granting_only_until_it_expires(hook, board):
    hook.answer = reading(a=1)
    board.texts["peer"] = state(intent=True)

    async def scenario():
        began = loop_time()
        await wait(CapacityGate("conn"), "w", poke_interval=1)
        return loop_time() - began

    assert 45 <= run(scenario()) <= 50
    assert not PeerState.model_validate_json(board.texts.popitem()[1]).intent


def test_what_a_killed_triggerer_had_granted_is_not_granted_again_until_its_hold_is_over(hook, board):
    hook.answer = reading(a=1)
    board.texts["killed"] = state(song=60.0)

    async def scenario():
        began = loop_time()
        await wait(CapacityGate("conn"), "w", poke_interval=1)
        return loop_time() - began

    assert 60 <= run(scenario()) <= 63


def test_a_slot_in_use_elsewhere_is_not_subtracted_twice(hook, board):
    hook.answer = reading(job("1", "a", "song"), a=1)
    board.texts["peer"] = state(song=1000.0)

    async def scenario():
        return await wait(CapacityGate("conn"), "w", poke_interval=1)

    assert run(scenario()).slots == {"a": 1}


def test_a_turn_grants_by_a_reading_that_is_newer_than_what_the_siblings_say(hook, board):
    async def scenario():
        gate = CapacityGate("conn")
        board.texts["peer"] = state()
        waiter = wait(gate, "w")
        await asyncio.sleep(30)
        hook.next_answers = [reading(a=1), FULL]
        await asyncio.sleep(6)
        told = waiter.done()
        await cancel(waiter)
        return told

    assert run(scenario()) is False
    assert published(board) == (set(), False)


def test_a_turn_no_longer_counts_as_held_what_its_own_reading_shows_in_use(hook, board):
    async def scenario():
        gate = CapacityGate("conn")
        board.texts["peer"] = state()
        first, second = wait(gate, "first", since=1), wait(gate, "second", since=2)
        await asyncio.sleep(30)
        hook.answer = reading(a=1)
        await first
        executing = job("1", "a", "first")
        hook.next_answers = [reading(a=2), reading(executing, a=1)]
        hook.answer = reading(executing, a=0)
        await asyncio.sleep(8)
        told = second.done()
        await cancel(second)
        return told

    assert run(scenario()) is True


@pytest.mark.parametrize(
    ("look_takes", "publication_takes", "told"),
    [(0, 7, True), (0, 8.5, False), (6, 1.5, True), (6, 2.5, False)],
)
def test_a_grant_is_told_only_if_newcomers_hear_of_it_in_time(
    hook, board, look_takes, publication_takes, told
):
    """They take a turn 10 s after they have come, and may have come when the look had begun."""

    async def scenario():
        gate = CapacityGate("conn")
        first, second = wait(gate, "first", since=1), wait(gate, "second", since=2)
        await asyncio.sleep(20)
        ids, put, puts = board.ids, board.put, []

        async def slow_ids():
            await asyncio.sleep(look_takes)
            return await ids()

        async def slow_put(gate_id, text):
            puts.append(text)
            await asyncio.sleep(publication_takes if len(puts) == 1 else 0)
            await put(gate_id, text)

        board.ids, board.put = slow_ids, slow_put
        hook.answer = reading(a=1)
        await first
        await cancel(second)
        return len(puts) == 1

    assert run(scenario()) is told


def test_a_look_that_showed_nobody_is_not_believed_for_long(hook, board):
    async def scenario():
        gate = CapacityGate("conn")
        waiter = wait(gate, "w", poke_interval=1)
        await asyncio.sleep(20)
        board.texts["newcomer"] = state(song=1000.0)
        hook.answer = reading(a=1)
        await asyncio.sleep(20)
        told = waiter.done()
        await cancel(waiter)
        return told

    assert run(scenario()) is False


def test_who_was_out_of_touch_so_long_that_siblings_think_it_gone_takes_no_turn_at_once(hook, board):
    """In the middle of its own turn, too: they may be granting as if they were alone."""

    async def scenario():
        gate = CapacityGate("conn")
        board.texts["peer"] = state()
        waiter = wait(gate, "w", poke_interval=1)
        await asyncio.sleep(30)
        ids = board.ids

        async def slow_ids():
            await asyncio.sleep(120)
            board.texts["peer"] = state(sequence=2)
            board.ids = ids
            return await ids()

        board.ids = slow_ids
        hook.answer = reading(a=1)
        await asyncio.sleep(123)
        told = waiter.done()
        await waiter
        return told

    assert run(scenario()) is False


@pytest.mark.parametrize("poke_interval", [60, 120, 300])
def test_who_seldom_reads_is_granted_a_slot_at_its_first_reading_beside_a_sibling(hook, board, poke_interval):
    async def scenario():
        gate = CapacityGate("conn")
        waiter = wait(gate, "w", poke_interval=poke_interval)
        for sequence in range(100):
            board.texts["peer"] = state(sequence=sequence)
            await asyncio.sleep(20)
            if sequence == 50:
                hook.answer, free_since = reading(a=1), loop_time()
            if waiter.done():
                break
        return loop_time() - free_since

    assert run(scenario()) <= 1.1 * poke_interval + 40


def test_a_siblings_job_does_not_settle_what_is_held_here(hook, board):
    hook.answer = reading(a=1)

    async def scenario():
        gate = CapacityGate("conn")
        board.texts["peer"] = state()
        waiters = [wait(gate, "w1", since=1), wait(gate, "w2", since=2)]
        await asyncio.wait(waiters, return_when=asyncio.FIRST_COMPLETED)
        hook.answer = reading(job("1", "a", "of the peer"), a=1)
        await asyncio.sleep(60)
        told = waiters[1].done()
        await cancel(*waiters)
        return told

    assert run(scenario()) is False


def test_a_job_without_a_reference_settles_a_hold_as_long_as_there_is_no_sibling(hook, board):
    hook.answer = reading(a=1)

    async def scenario():
        gate = CapacityGate("conn")
        await wait(gate, "w1", since=1)
        hook.answer = reading(job("1", "a"), a=1)
        began = loop_time()
        await wait(gate, "w2", since=2)
        return loop_time() - began

    assert run(scenario()) < 10


def test_nothing_is_guessed_while_siblings_cant_be_reached(hook, board):
    hook.answer = reading(a=1)

    async def scenario():
        gate = CapacityGate("conn")
        await wait(gate, "w1", since=1, hold=1000)
        await asyncio.sleep(6)
        board.unreachable = True
        await asyncio.sleep(11)
        hook.answer = reading(job("1", "a"), a=1)
        second = wait(gate, "w2", since=2)
        await asyncio.sleep(20)
        board.unreachable = False
        await asyncio.sleep(20)
        told = second.done()
        await cancel(second)
        return told

    assert run(scenario()) is False


@pytest.mark.parametrize("fault", ["unreachable", "unreadable"])
def test_one_failing_call_after_a_long_time_without_any_grants_nothing(hook, board, fault):
    async def scenario():
        gate = CapacityGate("conn")
        await cancel(wait(gate, "before"))
        await asyncio.sleep(1000)
        board.texts["peer"] = state(song=1000.0)
        hook.answer = reading(a=1)
        if fault == "unreachable":
            board.unreachable = True
        else:
            board.unreadable.add("peer")
        waiter = wait(gate, "w")
        await asyncio.sleep(60)
        board.unreachable = False
        board.unreadable.clear()
        await asyncio.sleep(60)
        told = waiter.done()
        await cancel(waiter)
        return told

    assert run(scenario()) is False


def test_no_two_requests_come_within_a_second(hook, board):
    async def scenario():
        gate = CapacityGate("conn")
        board.texts["peer"] = state()
        await cancel(wait(gate, "known"))
        await asyncio.sleep(20)
        hook.answer = reading(a=9)
        for number in range(9):
            await wait(gate, f"w{number}")
            await asyncio.sleep(0.1)

    run(scenario())
    assert all(pause >= 1 for pause in hook.pauses)


def test_a_second_reading_that_fails_is_not_made_up_for_before_its_time(hook, board):
    async def scenario():
        gate = CapacityGate("conn")
        board.texts["peer"] = state()
        first = wait(gate, "first", poke_interval=5)
        await asyncio.sleep(20)
        hook.next_answers = [reading(a=1), RiffusionUnavailable("429", status=429, retry_after=60.0)]
        before = len(hook.asked_at)
        for _ in range(100):
            await asyncio.sleep(0.1)
            if len(hook.asked_at) > before:
                break
        await cancel(first)
        newcomer = wait(gate, "newcomer", poke_interval=5)
        await asyncio.sleep(120)
        await cancel(newcomer)
        return hook.asked_at[before:]

    first, second, third, *_ = run(scenario())
    assert second - first < 3
    assert third - second >= 60


def test_a_turn_that_takes_too_long_comes_to_nothing_and_says_so_once(hook, board, caplog):
    hook.answer = reading(a=1)

    async def scenario():
        gate = CapacityGate("conn")
        board.texts["peer"] = state()
        get_capacity = hook.aget_capacity

        async def slow():
            await asyncio.sleep(26)
            return await get_capacity()

        hook.aget_capacity = slow
        waiter = wait(gate, "w")
        await asyncio.sleep(145)
        told = waiter.done()
        hook.aget_capacity = get_capacity
        await waiter
        return told

    assert run(scenario()) is False
    said = [record.message for record in caplog.records if "grant" in record.message]
    assert len(said) == 2
    assert "a grant was undone" in said[0]
    assert said[1] == "Connection 'conn': grants are published in time again."


def test_what_is_given_back_last_of_all_is_told_to_siblings_before_the_gate_rests(hook, board):
    hook.answer = reading(a=1)

    async def scenario():
        gate = CapacityGate("conn")
        board.texts["peer"] = state()
        await wait(gate, "w", hold=1000)
        held = published(board)[0]
        gate.give_back("w")
        await asyncio.sleep(10)
        return held, our_tasks()

    assert run(scenario()) == ({"w"}, [])
    assert published(board) == (set(), False)


def test_who_was_silent_for_long_comes_back_under_another_name(hook, board):
    """A peer may be deleting the old state just now."""

    async def scenario():
        gate = CapacityGate("conn")
        await cancel(wait(gate, "before"))
        await asyncio.sleep(5)
        waiter = wait(gate, "w0")
        await asyncio.sleep(5)
        await cancel(waiter)
        before = set(board.texts)
        await asyncio.sleep(320)
        waiter = wait(gate, "w1")
        await asyncio.sleep(5)
        await cancel(waiter)
        return before, set(board.texts)

    before, after = run(scenario())
    assert len(before) == len(after) == 1
    assert before != after


def test_who_was_held_up_for_long_says_that_it_is_there_before_it_grants_as_if_alone(hook, board):
    """Peers that came meanwhile take its state for one of a gate that has gone."""
    hook.next_answers = [reading(a=1)]
    hook.answer = reading(job("1", "a", "first"), a=1)
    written = []

    async def scenario():
        gate = CapacityGate("conn")

        async def put(gate_id, text):
            board.texts[gate_id] = text
            written.append((loop_time(), published(board)[0]))
            if len(written) == 3:  # "first" is seen in use, which is news.
                await asyncio.sleep(301)

        board.put = put
        await wait(gate, "first")
        await asyncio.sleep(2)
        await wait(gate, "second")

    run(scenario())
    assert [held for _, held in written] == [set(), {"first"}, set(), set(), {"second"}]
    assert written[4][0] - written[3][0] < 1


def test_trouble_that_came_and_went_counts_anew_when_somebody_waits_again(hook, board):
    """Or a gate would grant as if alone at once, because it could not look long ago."""

    async def scenario():
        gate = CapacityGate("conn")
        board.unreachable = True
        await cancel_after(wait(gate, "long ago"), 5)
        await asyncio.sleep(3600)
        hook.answer = reading(a=1)
        late = wait(gate, "late")
        await asyncio.sleep(100)
        granted = late.done()
        await cancel(late)
        return granted

    assert run(scenario()) is False


def test_a_gate_that_shares_no_longer_may_guess_whose_job_it_is(hook, board):
    board.texts["peer"] = state()
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


@pytest.mark.parametrize("trouble", ["the peers can't be reached", "the triggerers are separate"])
def test_news_that_can_not_be_told_keep_nobody_reading(hook, board, trouble):
    async def scenario():
        gate = CapacityGate("conn")
        waiters = [wait(gate, f"w{number}") for number in range(3)]
        await asyncio.sleep(10)
        if trouble == "the triggerers are separate":
            hook.settings.separate_triggerers = True
        else:
            board.unreachable = True
        await cancel(*waiters)
        await asyncio.sleep(400)
        asked = len(hook.asked_at)
        await asyncio.sleep(3600)
        return len(hook.asked_at) - asked

    assert run(scenario()) == 0


def test_a_gate_whose_own_notice_can_not_be_listed_says_so_and_grants_in_the_end(hook, board, caplog):
    hook.answer = reading(a=1)

    async def nothing():
        return []

    board.ids = nothing

    async def scenario():
        began = loop_time()
        await wait(CapacityGate("conn"), "w")
        return loop_time() - began

    assert 150 <= run(scenario()) < 170
    assert "what this triggerer has just written is not there" in caplog.text


def test_nothing_is_granted_while_siblings_cant_be_reached_unless_that_lasts(hook, board, caplog):
    caplog.set_level(logging.INFO, "airflow_riffusion")
    hook.answer = reading(a=5)

    async def scenario():
        gate = CapacityGate("conn")
        await wait(gate, "before")
        board.unreachable = True
        began = loop_time()
        await wait(gate, "meanwhile", poke_interval=1)
        took = loop_time() - began
        board.unreachable = False
        await wait(gate, "after", poke_interval=1)
        return took

    assert 150 <= run(scenario()) <= 153
    said = [
        record.message for record in caplog.records if "reached" in record.message or "find" in record.message
    ]
    assert said == [
        "Connection 'conn': can't find out what other triggerers have granted (no API server). Nothing "
        "is granted here until that works again, or for 150 s; then as if there were no others.",
        "Connection 'conn': the other triggerers can be reached again.",
    ]


def test_a_service_that_fails_in_the_middle_of_a_turn_lowers_the_flag(hook, board):
    async def scenario():
        gate = CapacityGate("conn")
        board.texts["peer"] = state()
        waiter = wait(gate, "w")
        await asyncio.sleep(30)
        hook.next_answers = [reading(a=1), RiffusionRejected("401"), RiffusionRejected("401")]
        hook.tokens = ["token", "token"]
        with pytest.raises(RiffusionRejected):
            await waiter
        await asyncio.sleep(0)

    run(scenario())
    assert published(board) == (set(), False)


def test_the_last_waiter_that_leaves_in_the_middle_of_a_turn_leaves_no_flag_up(hook, board):
    async def scenario():
        gate = CapacityGate("conn")
        board.texts["peer"] = state()
        waiter = wait(gate, "w")
        await asyncio.sleep(30)
        put = board.put

        async def slow_put(gate_id, text):
            await put(gate_id, text)
            await asyncio.sleep(2)

        board.put = slow_put
        hook.answer = reading(a=1)
        for _ in range(100):
            await asyncio.sleep(0.1)
            if published(board)[1]:
                break
        await cancel(waiter)
        still_up = published(board)[1]
        await asyncio.sleep(10)
        return still_up, our_tasks()

    assert run(scenario()) == (True, [])
    assert published(board) == (set(), False)


def test_who_leaves_while_its_grant_is_published_gives_it_back(hook, board):
    hook.answer = reading(a=1)

    async def scenario():
        gate = CapacityGate("conn")
        put = board.put

        async def slow_put(gate_id, text):
            await asyncio.sleep(1)
            await put(gate_id, text)

        board.put = slow_put
        leaver = wait(gate, "leaver", since=1)
        stayer = wait(gate, "stayer", since=2)
        await asyncio.sleep(2.5)
        await cancel(leaver)
        return await stayer

    assert run(scenario()).grant_id == "stayer"


def test_coordinator_store_that_fails_after_a_grant_was_published_does_not_lose_it(hook, board):
    async def scenario():
        gate = CapacityGate("conn")
        board.texts["peer"] = state()
        waiter, others = wait(gate, "w"), []
        await asyncio.sleep(30)
        put = board.put

        async def put_and_fail_from_then_on(gate_id, text):
            await put(gate_id, text)
            if published(board)[0]:
                others.append(wait(gate, "other", since=1))
                await asyncio.sleep(0.1)
                board.unreachable = True

        board.put = put_and_fail_from_then_on
        hook.answer = reading(a=1)
        await asyncio.sleep(10)
        granted = waiter.done()
        await cancel(waiter, *others)
        return granted

    assert run(scenario()) is True


def test_what_is_released_is_told_so_that_siblings_dont_count_it(hook, board):
    async def scenario():
        gate = CapacityGate("conn")
        board.texts["peer"] = state()
        others = [wait(gate, "w1", since=1), wait(gate, "w2", since=2)]
        await asyncio.sleep(30)
        hook.answer = reading(a=1)
        await asyncio.sleep(7)
        held = published(board)[0]
        hook.answer = reading(job("1", "a", "w1"), a=0)
        await asyncio.sleep(7)
        await cancel(*others)
        return held, published(board)[0]

    assert run(scenario()) == ({"w1"}, set())


def test_a_silent_siblings_notice_is_deleted_after_ten_minutes(hook, board):
    async def scenario():
        board.texts["dead"] = state()
        waiter = wait(CapacityGate("conn"), "w")
        await asyncio.sleep(590)
        before = "dead" in board.texts
        await asyncio.sleep(80)
        await cancel(waiter)
        return before, "dead" in board.texts

    assert run(scenario()) == (True, False)


def test_a_gate_whose_notice_was_deleted_comes_anew(hook, board):
    async def scenario():
        gate = CapacityGate("conn")
        waiter = wait(gate, "w")
        await asyncio.sleep(61)
        board.texts.clear()
        await asyncio.sleep(66)
        await cancel(waiter)
        return len(board.texts)

    assert run(scenario()) == 1


def test_a_notice_that_makes_no_sense_is_named_and_passed_over(hook, board, caplog):
    hook.answer = reading(a=1)
    board.texts["odd"] = '{"sequence": "x"}'

    async def scenario():
        await wait(CapacityGate("conn"), "w")

    run(scenario())
    assert caplog.text.count("the state of another triggerer's gate (odd) makes no sense") == 1


def test_separate_triggerers_ask_nobody(hook, board):
    hook.answer = reading(a=1)
    hook.settings.separate_triggerers = True
    board.texts["peer"] = state(song=1000.0)

    async def scenario():
        await wait(CapacityGate("conn"), "w")

    run(scenario())
    assert board.calls == []


def test_the_log_says_what_siblings_hold_and_how_many_there_are(hook, board, caplog):
    caplog.set_level(logging.INFO, "airflow_riffusion")
    hook.answer = reading(a=(1, 2))
    board.texts["peer"] = state(song=1000.0)

    async def scenario():
        waiter = wait(CapacityGate("conn"), "w", poke_interval=20)
        await asyncio.sleep(25)
        await cancel(waiter)

    run(scenario())
    assert "1 of 2 slots free on 1 account, 0 held and 1 by other triggerers, 0 tasks ahead" in caplog.text
    assert "Connection 'conn': its slots are shared with 1 other triggerer." in caplog.text
