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
            seen.append((await gate.room(5.0, request)).slots.total())

    return asyncio.create_task(looking())


def wait(gate, waiter_id, **request):
    return asyncio.create_task(gate.wait(waiter_id, SlotRequest(**request), 5.0))


def wanted_slots(state):
    return sum(each.slots for each in state.wanted)


def states(board):
    return [PeerState.model_validate_json(text) for text in board.texts.values()]


@pytest.mark.parametrize("slots", [1, 2])
def test_there_is_no_room_while_tasks_wait_in_another_triggerer(hook, board, slots):
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


def test_there_is_room_again_when_they_are_gone(hook, board):
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


def test_who_begins_to_wait_in_vain_is_told_of_by_a_gate_alone_and_who_goes_is_as_well(hook, board):
    async def scenario():
        gate = CapacityGate("conn")
        first = wait(gate, "first")
        await asyncio.sleep(2)
        wanted = [[wanted_slots(state) for state in states(board)]]
        others = [wait(gate, f"w{number}", slots=2) for number in range(3)]
        await asyncio.sleep(70)
        wanted.append([wanted_slots(state) for state in states(board)])
        await cancel(first, *others)
        await asyncio.sleep(20)
        wanted.append([wanted_slots(state) for state in states(board)])
        return wanted

    assert run(scenario()) == [[1], [7], [0]]


def test_beside_others_a_gate_tells_each_change_of_what_is_wanted(hook, board):
    board.texts["peer"] = PeerState(sequence=1, intent=False, held=()).model_dump_json()

    async def scenario():
        gate = CapacityGate("conn")
        waiters = [wait(gate, "first")]
        await asyncio.sleep(2)
        waiters += [wait(gate, f"w{number}") for number in range(3)]
        await asyncio.sleep(7)
        wanted = max(wanted_slots(state) for state in states(board))
        await cancel(*waiters)
        return wanted

    assert run(scenario()) == 4


def test_who_only_looks_on_says_nothing_and_is_no_sibling(hook, board):
    hook.answer = reading(a=(2, 4))

    async def scenario():
        looking, granting = CapacityGate("conn"), CapacityGate("conn")
        observer = look(looking, [])
        await asyncio.sleep(300)
        calls = Counter(board.calls)
        began = asyncio.get_running_loop().time()
        await wait(granting, "w")
        took = asyncio.get_running_loop().time() - began
        await cancel(observer)
        return calls, took

    calls, took = run(scenario())
    assert calls.keys() == {"ids"}
    assert took < 2  # A newcomer beside a peer would wait ten seconds.


def test_who_knows_enough_does_not_look_closely(hook, board):
    hook.answer = reading(a=(2, 4))

    async def scenario():
        observer = look(CapacityGate("conn"), [], request=None)
        await asyncio.sleep(300)
        await cancel(observer)

    run(scenario())
    assert board.calls == []


@pytest.mark.parametrize("free", [0, 1])
def test_where_too_little_is_free_there_is_nothing_to_look_for(hook, board, free):
    hook.answer = reading(a=(free, 4))

    async def scenario():
        observer = look(CapacityGate("conn"), [], request=SlotRequest(slots=2))
        await asyncio.sleep(300)
        await cancel(observer)

    run(scenario())
    assert board.calls == []


def test_if_one_looks_closely_all_are_told(hook, board):
    hook.answer = reading(a=(2, 4))

    async def scenario():
        gate = CapacityGate("conn")
        observers = look(gate, [], request=None), look(gate, [])
        await asyncio.sleep(20)
        await cancel(*observers)

    run(scenario())
    assert "ids" in board.calls


def test_what_is_shown_is_left_of_the_newest_reading(hook, board):
    """A gate beside peers takes a second one before it grants anything."""
    board.texts["peer"] = PeerState(sequence=1, intent=False, held=()).model_dump_json()
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


def test_a_gate_that_only_holds_goes_on_saying_so(hook, board):
    hook.next_answers = [reading(a=1)]

    async def scenario():
        gate = CapacityGate("conn")
        await wait(gate, "never seen in use", hold=1000)
        await asyncio.sleep(400)
        (state,) = states(board)
        return state.sequence, [held.reply_ref for held in state.held]

    sequence, held = run(scenario())
    assert sequence >= 5
    assert held == ["never seen in use"]


def test_jobs_that_began_while_nobody_waited_settle_no_hold(hook, board):
    service = Service(hook)

    async def scenario():
        gate = CapacityGate("conn")
        observer = look(gate, [])
        await asyncio.sleep(10)
        service.jobs = ["somebody else's"]
        await asyncio.sleep(20)
        await wait(gate, "w", hold=600)
        await asyncio.sleep(60)
        held = [held.reply_ref for state in states(board) for held in state.held]
        await cancel(observer)
        return held

    assert run(scenario()) == ["w"]


def test_who_looked_on_and_begins_to_wait_is_a_newcomer(hook, board):
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


@pytest.mark.parametrize(("wanted", "room"), [(frozenset("b"), 4), (frozenset("a"), 0), (None, 0)])
def test_what_others_want_counts_on_the_accounts_that_they_can_use(hook, board, wanted, room):
    state = PeerState.of([], 0.0, sequence=1, intent=False, wanted={wanted: 10})
    board.texts["peer"] = state.model_dump_json()
    hook.answer = reading(a=(4, 4))
    seen = []

    async def scenario():
        observer = look(CapacityGate("conn"), seen)
        await asyncio.sleep(20)
        await cancel(observer)

    run(scenario())
    assert set(seen) == {room}


def test_a_queue_that_grows_is_told_at_the_next_reading(hook, board):
    async def scenario():
        gate = CapacityGate("conn")
        waiters = [wait(gate, "first")]
        await asyncio.sleep(2)
        waiters += [wait(gate, f"w{number}") for number in range(99)]
        await asyncio.sleep(7)
        wanted = [wanted_slots(state) for state in states(board)]
        await cancel(*waiters)
        return wanted

    assert run(scenario()) == [100]


def test_siblings_that_cannot_be_reached_are_left_alone_for_a_minute(hook, board):
    board.unreachable = True
    hook.answer = reading(a=(2, 4))

    async def scenario():
        observer = look(CapacityGate("conn"), [])
        await asyncio.sleep(290)
        await cancel(observer)

    run(scenario())
    assert len(board.calls) <= 5


def test_siblings_that_cannot_be_reached_keep_nobody_from_looking(hook, board):
    board.unreachable = True
    hook.answer = reading(a=(2, 4))
    seen = []

    async def scenario():
        observer = look(CapacityGate("conn"), seen)
        await asyncio.sleep(60)
        await cancel(observer)

    run(scenario())
    assert set(seen) == {2}
