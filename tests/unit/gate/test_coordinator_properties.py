"""
Several gates share one service's slots, while every step of theirs may be early, late, or the last.

The real code runs on an event loop whose time stands still unless hypothesis lets it pass; each read and each
write waits until hypothesis lets it happen, and then until it lets its answer arrive.
"""

from __future__ import annotations

import asyncio
import selectors
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from airflow_riffusion.core.ledger import SlotLedger
from airflow_riffusion.core.request import Grant, SlotRequest
from airflow_riffusion.gate.coordinator import Coordinator
from airflow_riffusion.gate.peer_store import PeersUnreachable
from tests.readings import job, reading

HOLD = 60.0
GATES = (0, 1, 2)
MAX_JOBS = {"a": 2, "b": 1}


class _InstantSelector(selectors.DefaultSelector):
    def select(self, timeout=None):
        return super().select(0)


class SteppedLoop(asyncio.SelectorEventLoop):
    """An event loop that does what is due, and goes on in time only by hand."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.busy = False
        super().__init__(_InstantSelector())

    def time(self) -> float:
        return self.now

    def call_soon(self, *arguments, **options):
        self.busy = True
        return super().call_soon(*arguments, **options)

    def call_at(self, *arguments, **options):
        self.busy = True
        return super().call_at(*arguments, **options)

    def settle(self) -> None:
        """Do what is due, and what that makes due, until nothing is."""
        for _ in range(20):
            self.busy = False
            super().call_soon(self.stop)
            self.run_forever()
            if not self.busy:
                break


class NeverGivesUp(Coordinator):
    """Grants nothing while peers can't be reached, however long that lasts."""

    def _lost(self, error):
        pass


@dataclass
class Step:
    """Something that a gate does to the world: it happens, and then its answer arrives."""

    happen: object
    answer: asyncio.Future
    happened: bool = False
    result: object = None


@dataclass
class Triggerer:
    """A gate in a process of its own, and what it is about to do."""

    world: World
    waiting: int = 0
    steps: list[Step] = field(default_factory=list)
    task: asyncio.Task | None = None

    def __post_init__(self):
        self.ledger = SlotLedger()
        self.coordinator = NeverGivesUp(self.ledger, self, "conn")

    async def ids(self):
        return await self.step(lambda: list(self.world.store))

    async def get(self, gate_id):
        try:
            return await self.step(lambda: self.world.store.get(gate_id))
        except PeersUnreachable:
            return None  # as Airflow does

    async def put(self, gate_id, text):
        await self.step(lambda: self.world.store.update({gate_id: text}))

    async def delete(self, gate_id):
        await self.step(lambda: self.world.store.pop(gate_id, None))

    async def read(self):
        return await self.step(self.world.read)

    async def step(self, happen):
        step = Step(happen, self.world.loop.create_future())
        self.steps.append(step)
        return await step.answer

    async def poll(self):
        """Do what a gate does with a reading."""
        with suppress(PeersUnreachable):  # or rather the service, if it was a reading that failed
            seen = await self.read()
            guess = await self.coordinator.prepare()
            self.ledger.take_in(seen, self.world.loop.now, guess=guess)
            granted = []
            async with self.coordinator.turn(seen) as turn:
                if turn.needs_reading:
                    seen = await self.read()
                    self.ledger.take_in(seen, self.world.loop.now, guess=False)
                if turn.is_open:
                    grants = self.ledger.grant(seen, self.world.loop.now, turn.held_elsewhere(seen))
                    granted = await turn.commit(grants)
            for grant in granted:
                self.world.resolve(grant)

    def proceed(self):
        step = self.steps[0]
        if not step.happened:
            step.happened, step.result = True, step.happen()
        else:
            self.steps.pop(0).answer.set_result(step.result)

    def fail(self):
        self.steps.pop(0).answer.set_exception(PeersUnreachable("lost"))


class World:
    """The service, the peer store, and the tasks that may submit."""

    def __init__(self):
        self.loop = SteppedLoop()
        self.store: dict[str, str] = {}
        self.jobs: dict[str, tuple[str, str]] = {}
        self.unsubmitted: dict[str, tuple[Grant, float]] = {}
        self.accepted = 0

    def free(self):
        busy = Counter(user_id for user_id, _ in self.jobs.values())
        return {user_id: slots - busy[user_id] for user_id, slots in MAX_JOBS.items()}

    def read(self):
        jobs = [job(job_id, user_id, reference) for job_id, (user_id, reference) in self.jobs.items()]
        return reading(*jobs, **{user_id: (free, MAX_JOBS[user_id]) for user_id, free in self.free().items()})

    def resolve(self, grant):
        self.unsubmitted[grant.grant_id] = grant, self.loop.now

    def submit(self, grant_id):
        grant, told_at = self.unsubmitted.pop(grant_id)
        if self.loop.now >= told_at + HOLD:
            return
        [user_id] = grant.slots
        assert self.free()[user_id] > 0, f"{grant_id} is refused"
        self.accepted += 1
        self.jobs[f"job{self.accepted}"] = user_id, grant_id


class TriggerersMachine(RuleBasedStateMachine):
    """Three triggerers poll, stall, fail and die; their tasks submit, or never do; jobs end."""

    def __init__(self):
        super().__init__()
        self.world = World()
        self.number = 0
        self.triggerers = {}
        self.dead = []  # kept, or what they were about to do would be thrown into them
        for number in GATES:
            self.start(number)

    def start(self, number):
        async def begin():
            self.triggerers[number] = Triggerer(self.world)

        self.world.loop.run_until_complete(begin())

    def teardown(self):
        while tasks := asyncio.all_tasks(self.world.loop):
            for task in tasks:
                task.cancel()
            self.world.loop.settle()
        self.world.loop.close()

    @initialize()
    def get_to_know_each_other(self):
        self.all_poll(GATES)
        self.pass_time(11.0)
        for number in GATES:
            self.join(number, 3)

    @rule(numbers=st.permutations(GATES))
    def each_grants_a_slot(self, numbers):
        """Let each of them have a grant that is not submitted yet, if there are slots enough."""
        self.all_is_done(numbers)
        for number in numbers:
            self.join(number, 1)
            self.pass_time(2.0)
            self.poll(number)
            for _ in range(20):
                self.proceed(number, 10)
                self.pass_time(1.0)

    @rule(number=st.sampled_from(GATES), waiters=st.integers(1, 3))
    def join(self, number, waiters):
        for _ in range(waiters):
            self.number += 1
            self.triggerers[number].ledger.join(f"w{self.number}", SlotRequest(hold=HOLD, since=self.number))

    @rule(number=st.sampled_from(GATES))
    def poll(self, number):
        triggerer = self.triggerers[number]
        if triggerer.task is None or triggerer.task.done():
            triggerer.task = self.world.loop.create_task(triggerer.poll())
        self.world.loop.settle()

    @rule(number=st.sampled_from(GATES), steps=st.sampled_from([1, 1, 1, 2, 3, 5, 40]))
    def proceed(self, number, steps):
        for _ in range(steps):
            if self.triggerers[number].steps:
                self.triggerers[number].proceed()
                self.world.loop.settle()

    @rule(numbers=st.permutations(GATES))
    def all_poll(self, numbers):
        for number in numbers:
            self.poll(number)
            self.proceed(number, 40)

    @rule(schedule=st.lists(st.sampled_from([*GATES, *GATES, "submit", "second"]), min_size=50, max_size=80))
    def all_poll_at_once(self, schedule):
        for number in GATES:
            self.poll(number)
        for event in schedule:
            if event == "second":
                self.pass_time(1.0)
            elif event != "submit":
                self.proceed(event, 1)
            elif self.world.unsubmitted:
                self.world.submit(min(self.world.unsubmitted))

    @precondition(lambda self: any(triggerer.steps for triggerer in self.triggerers.values()))
    @rule(data=st.data())
    def fail(self, data):
        busy = [number for number, triggerer in self.triggerers.items() if triggerer.steps]
        self.triggerers[data.draw(st.sampled_from(busy))].fail()
        self.world.loop.settle()

    @rule(number=st.sampled_from(GATES))
    def die(self, number):
        """Let a triggerer vanish in the middle of whatever it does, and another one take its place."""
        self.dead.append(self.triggerers[number])
        self.start(number)

    @rule(seconds=st.sampled_from([0.5, 2.0, 5.0, 11.0, 21.0, 61.0, 151.0, 601.0]))
    def pass_time(self, seconds):
        self.world.loop.now += seconds
        self.world.loop.settle()

    @precondition(lambda self: self.world.unsubmitted)
    @rule(data=st.data())
    def submit(self, data):
        self.world.submit(data.draw(st.sampled_from(sorted(self.world.unsubmitted))))

    @rule(numbers=st.permutations(GATES))
    def all_is_done(self, numbers):
        for grant_id in list(self.world.unsubmitted):
            self.world.submit(grant_id)
        self.all_poll(numbers)
        self.world.jobs.clear()

    @precondition(lambda self: self.world.jobs)
    @rule(data=st.data())
    def end_a_job(self, data):
        del self.world.jobs[data.draw(st.sampled_from(sorted(self.world.jobs)))]

    @invariant()
    def never_more_granted_and_executing_than_there_are_slots(self):
        used = Counter(user_id for user_id, _ in self.world.jobs.values())
        for grant, told_at in self.world.unsubmitted.values():
            if self.world.loop.now < told_at + HOLD:
                used.update(grant.slots)
        assert used <= Counter(MAX_JOBS)


TestTriggerers = TriggerersMachine.TestCase
TestTriggerers.settings = settings(max_examples=100, stateful_step_count=60, deadline=None)
