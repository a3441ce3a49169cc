"""A gate whose service answers as the test sets it, and waiters at it."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

from airflow_riffusion.core.jobs import WantedJob
from airflow_riffusion.core.request import SlotRequest
from airflow_riffusion.gate.gate import CapacityGate
from airflow_riffusion.services import DEFAULT_SERVICE
from tests.readings import FakeAccounts, reading

FULL = reading(a=(0, 2))


class FakeHook(FakeAccounts):
    """Answers with what the test says, and remembers when it was asked."""

    def __init__(self):
        super().__init__()
        self.riffusion_conn_id = None
        self.answer = FULL
        self.next_answers = []
        self.asked_at = []
        self.tokens = ["token"]
        self.settings = SimpleNamespace(separate_triggerers=False, service=DEFAULT_SERVICE)
        self.references = {}
        self.asked_references = []
        self.doubted = 0
        self.on_post = None
        self.submission_answers = []
        self.outcomes = []
        self.sent = []
        self.stopped = []
        self.lookups = 0
        self._loaded = False

    async def aload(self):
        if not self._loaded:
            self.lookups += 1
            self._loaded = True
        token = self.tokens[min(self.lookups, len(self.tokens)) - 1]
        return SimpleNamespace(token=token, service=self.settings.service)

    def forget_connection(self):
        self._loaded = False

    async def aget_capacity(self):
        await self.aload()
        self.asked_at.append(asyncio.get_running_loop().time())
        answer = self.next_answers.pop(0) if self.next_answers else self.answer
        if callable(answer):
            answer = answer()
        if isinstance(answer, Exception):
            raise answer
        return answer.model_copy()  # each reading is a new one, also if it says the same

    def doubt_accounts(self):
        self.doubted += 1

    def get_conn(self):
        pass

    def run(self, endpoint, method="GET", json=None):
        """Answer a submission or a question for an outcome with what comes next; the last is repeated."""
        self.sent.append((method, endpoint, json))
        if method == "POST" and self.on_post is not None:
            self.on_post(endpoint)
        answers = self.submission_answers if method == "POST" else self.outcomes
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer

    def reference_of(self, job_id):
        """Answer with the reference that the test has set for a job, or raise it."""
        self.asked_references.append(job_id)
        answer = self.references.get(job_id)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def cancel_job(self, job_id=None, reply_ref=None):
        self.stopped.append((job_id, reply_ref))
        return True

    @property
    def pauses(self):
        return [later - earlier for earlier, later in zip(self.asked_at, self.asked_at[1:], strict=False)]


def wait(waiter_id, *, since=0.0, poke_interval=10.0, gate=None, **request):
    """Start a task that waits at the gate."""
    gate = gate or CapacityGate.of("riffusion_test")
    return asyncio.create_task(gate.wait(waiter_id, SlotRequest(since=since, **request), poke_interval))


def look(seen, *, poke_interval=10.0, gate=None, **request):
    """Start an observer that notes how many slots each reading leaves unclaimed."""
    gate = gate or CapacityGate.of("riffusion_test")
    wanted = SlotRequest(**request) if request else None

    async def looking():
        while True:
            seen.append((await gate.availability(poke_interval, wanted)).slots.total())

    return asyncio.create_task(looking())


async def cancel(*tasks):
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def our_tasks():
    return [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]


def watch(watcher_id, *, poke_interval=10.0, unseen_for=0.0, **wanted):
    """Start a task that watches a job at the gate."""
    watching = CapacityGate.of("riffusion_test").watch(
        watcher_id, WantedJob(**wanted), poke_interval, unseen_for=unseen_for
    )
    return asyncio.create_task(watching)
