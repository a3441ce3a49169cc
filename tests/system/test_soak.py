"""Half an hour of a busy triggerer on a bad day: real triggers, gate and HTTP; only the clock runs ahead."""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import threading
import tracemalloc
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit

import psutil
import pytest
from airflow.providers.common.compat.sdk import BaseHook

from airflow_riffusion.emulator import EmulatorServer
from airflow_riffusion.emulator.faults import Fault
from airflow_riffusion.exceptions import RiffusionUnavailable
from airflow_riffusion.hooks.riffusion import RiffusionHook
from airflow_riffusion.triggers.capacity import CapacityTrigger
from tests.system.dags import scale
from tests.virtual_time import run

MINUTES = 45
WAITING = scale.WAITING_IN_THE_SOAK
SLOTS = 20
JOB_SECONDS = 45.0
POKE_INTERVAL = 5.0
_FRAMES = 5  # enough to see that the emulator made a record
WARM, LATE = 28, (36, 44)
"""The minutes after which the memory is measured: each kind of fault has been met once before the first."""
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)

BAD_MINUTES = {
    4: Fault(endpoint="capacity", status=503, times=4),
    7: Fault(endpoint="capacity", drop=True, times=3),
    10: Fault(endpoint="capacity", status=429, retry_after=40, times=2),
    13: Fault(endpoint="capacity", body="html", times=2),
    16: Fault(endpoint="capacity", body="truncated", times=2),
    19: Fault(endpoint="capacity", status=500, every=3, times=20),
    22: Fault(endpoint="capacity", body="empty", times=2),
    25: Fault(endpoint="submit", status=503, times=10),
    30: Fault(endpoint="capacity", status=503, times=2),
    32: Fault(endpoint="capacity", drop=True, times=2),
    38: Fault(endpoint="capacity", body="html", times=2),
    40: Fault(endpoint="submit", status=503, times=5),
}
"""What goes wrong from which minute on."""

# The emulator is in this process, and keeps a record of each job: what its requests said, ids and times.
NOT_THE_TESTS_OWN = [
    tracemalloc.Filter(False, "*/emulator/*", all_frames=True),
    *(
        tracemalloc.Filter(False, pattern)
        for pattern in (
            "*/tests/*",
            "*/json/decoder.py",
            "*/dataclasses.py",
            "*/uuid.py",
            "*/tracemalloc.py",
        )
    ),
]


@dataclass
class Soak:
    """What was counted, and what was left each minute."""

    grants: list[str] = field(default_factory=list)
    asked_at: list[float] = field(default_factory=list)
    refused: int = 0
    rejected: list[str] = field(default_factory=list)
    memory: dict[int, int] = field(default_factory=dict)
    tasks: list[int] = field(default_factory=list)
    threads: list[int] = field(default_factory=list)
    sockets: list[int] = field(default_factory=list)
    left_behind: list[str] = field(default_factory=list)


def connections_to(port: int | None) -> int:
    """Return how many connections to a server are open in this process."""
    connections = psutil.Process().net_connections(kind="tcp")
    return sum(bool(each.raddr) and each.raddr.port == port for each in connections)


class Triggerer:
    """Keeps so many tasks waiting, and submits for each that is granted a slot."""

    def __init__(self, conn_id: str, soak: Soak) -> None:
        self.conn_id = conn_id
        self.soak = soak
        self.hook = RiffusionHook(conn_id)
        self.began = asyncio.get_running_loop().time()
        self.tasks: set[asyncio.Task[None]] = set()
        self.threads_before = set(threading.enumerate())

    def start_one(self) -> None:
        task = asyncio.create_task(self.live())
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def live(self) -> None:
        trigger = CapacityTrigger(
            riffusion_conn_id=self.conn_id, hold=60, poke_interval=POKE_INTERVAL, since=self.began
        )
        event = await anext(trigger.run())
        if event.payload["status"] == "rejected":
            self.soak.rejected.append(event.payload["message"])
            return
        grant = event.payload["result"]
        self.soak.grants.append(grant["grant_id"])
        self.start_one()
        await asyncio.sleep(2)
        song = {"prompt": "polka", "user_id": grant["user_id"], "replyRef": grant["grant_id"]}
        try:
            self.hook.run("music/create-prompt", "POST", song)
        except RiffusionUnavailable as error:
            self.soak.refused += error.status == 429

    async def watch(self, emulator: EmulatorServer) -> None:
        for minute in range(MINUTES):
            if minute in BAD_MINUTES:
                emulator.faults.add(BAD_MINUTES[minute])
            await asyncio.sleep(60)
            gc.collect()
            if minute in (WARM, *LATE):
                ours = tracemalloc.take_snapshot().filter_traces(NOT_THE_TESTS_OWN)
                self.soak.memory[minute] = sum(trace.size for trace in ours.traces)
            self.soak.tasks.append(len(asyncio.all_tasks()))
            self.soak.threads.append(len(set(threading.enumerate()) - self.threads_before))
            self.soak.sockets.append(connections_to(urlsplit(emulator.url).port))
        waiting = list(self.tasks)
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        await asyncio.sleep(120)  # Until the last hold has run out.
        self.soak.left_behind = [repr(task) for task in asyncio.all_tasks() - {asyncio.current_task()}]


@pytest.fixture(scope="module")
def soak():
    """Let a triggerer run for three quarters of an hour, in one event loop whose time jumps."""
    soak = Soak()
    loop_time = {"loop": None, "began": 0.0}

    def clock() -> datetime:
        loop = loop_time["loop"]
        return NOON + timedelta(seconds=loop.time() - loop_time["began"] if loop else 0)

    async def at_once(function, *args, **kwargs):
        return function(*args, **kwargs)

    async def get_connection(conn_id):
        return BaseHook.get_connection(conn_id)

    take_reading = RiffusionHook.get_capacity

    def noted(hook):
        soak.asked_at.append(asyncio.get_running_loop().time())
        return take_reading(hook)

    async def scenario():
        loop = asyncio.get_running_loop()
        loop_time.update(loop=loop, began=loop.time())
        triggerer = Triggerer("riffusion_soak", soak)
        for _ in range(WAITING):
            triggerer.start_one()
        await triggerer.watch(emulator)

    with (
        pytest.MonkeyPatch.context() as patch,
        EmulatorServer(accounts=4, max_jobs=SLOTS // 4, job_seconds=JOB_SECONDS, clock=clock) as emulator,
    ):
        connection = {"conn_type": "riffusion", "password": "x", "host": emulator.url}
        patch.setenv("AIRFLOW_CONN_RIFFUSION_SOAK", json.dumps(connection))
        # Or pytest keeps every line.
        patch.setattr(logging.getLogger("airflow_riffusion"), "propagate", False)
        # Nothing in a thread, from which a clock that jumps would run away.
        patch.setattr(asyncio, "to_thread", at_once)
        patch.setattr("airflow_riffusion.hooks.lookup.get_async_connection", get_connection)
        patch.setattr(RiffusionHook, "get_capacity", noted)
        tracemalloc.start(_FRAMES)
        try:
            run(scenario())
        finally:
            tracemalloc.stop()
        soak.stats = emulator.service.stats()
    return soak


def test_soak_no_grant_is_lost_or_doubled(soak):
    assert len(soak.grants) == len(set(soak.grants))
    assert soak.refused == 0
    # Every slot is busy nearly all the time, but for the bad minutes.
    assert len(soak.grants) > 0.7 * SLOTS * MINUTES * 60 / (JOB_SECONDS + 2 + POKE_INTERVAL)


def test_soak_no_wait_ends_by_a_transient_fault(soak):
    assert soak.rejected == []


def test_soak_requests_are_an_interval_apart_at_least(soak):
    pauses = [later - earlier for earlier, later in zip(soak.asked_at, soak.asked_at[1:], strict=False)]

    assert min(pauses) >= POKE_INTERVAL
    assert Counter(pause > 39 for pause in pauses)[True] >= 1  # as the service asked for


def test_soak_memory_is_flat(soak):
    assert max(soak.memory[minute] for minute in LATE) < soak.memory[WARM] * 1.05


def test_soak_leaves_no_thread_task_or_socket(soak):
    assert max(soak.threads) == soak.threads[0]
    assert 0 < max(soak.sockets) <= min(soak.sockets) + 2
    assert max(soak.tasks) <= WAITING + 2 * SLOTS
    assert soak.left_behind == []
