"""What waiting costs a triggerer: real triggers on one event loop, real HTTP, a full service."""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import os
import time
import tracemalloc
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from statistics import median
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

from benchmarks.service import TOKEN, emulator
from benchmarks.table import Row

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Sequence

    from benchmarks.service import Service

    Events = list[tuple[float, str]]

SLOTS = 100
INTERVAL = 1.0
LONGEST_BLOCK = 0.05
NOTE = (
    "Triggers: they wait on one event loop, each in a task as in the triggerer, with poke_interval "
    f"{INTERVAL:g} s, for the {SLOTS} slots of an emulator in a process of its own, which counts requests. "
    "Memory: what tracemalloc finds after a collection, trigger, generator and task included. Blocked: how "
    "late a coroutine wakes that sleeps 2 ms, garbage collections and other processes' turns included, while "
    f"the triggers start, wait, and get up to {SLOTS} slots that become free at once; beside it a full "
    "collection of all that Airflow has loaded, before there is any trigger. To event: from the return of "
    "get_capacity() with free slots, in its thread, until the event is received. Slow callbacks: asyncio's "
    "log lines in debug mode, in a pass of its own. All logs are formatted and thrown away. What is blocked "
    "while 10,000 start is Python's: a full collection, longer than a triggerer without a trigger takes for "
    "its own because there is more to look through."
)

_CONN_ID = "benchmark_triggers"
_SETTLED = 1.5 * INTERVAL  # the first line about the wait comes after an interval and its jitter


def measure(
    counts: Sequence[int] = (1, 100, 1_000, 10_000), *, intervals: int = 8, rounds: int = 3
) -> list[Row]:
    """
    Let triggers wait, then free slots, and see what it costs.

    :param counts: how many triggers wait at once, one after the other.
    :param intervals: for how many poll intervals the requests are counted.
    :param rounds: how often all slots become free.
    """
    rows = []
    with _service() as service, _quiet_log():
        gc.collect()
        start = time.perf_counter()
        gc.collect()
        full_collection = time.perf_counter() - start
        for count in counts:
            kib = asyncio.run(_memory(count)) / 1024
            plain, debug = _Bench(service), _Bench(service)
            gc.collect()  # the garbage of what was measured before is not this one's
            asyncio.run(plain.run(count, intervals, rounds))
            gc.collect()
            asyncio.run(debug.run(count, 1, 1), debug=True)
            name = f"{count:,} waiting CapacityTrigger{'s' if count > 1 else ''}"
            row = partial(Row, name, ours_at_most=50)
            beside = {"peer": full_collection * 1000, "peer_name": "full collection, no trigger"}
            rows += [
                row("requests per interval", plain.requests, ours_at_most=1),
                row("KiB per waiter", kib, ours_at_most=8),
                row("ms blocked while starting", plain.blocked["starting"] * 1000, **beside),
                row("ms blocked after that", plain.blocked_later * 1000, **beside),
                row("ms blocked, but for collections", plain.blocked_by_code * 1000),
                row("ms to event, median", median(plain.latencies) * 1000),
                row("slow callbacks", debug.slow, ours_at_most=0),
                row("slow callbacks, but for collections", debug.slow_by_code, ours_at_most=0),
            ]
    return rows


async def _memory(count: int) -> float:
    """Return the bytes that a waiting trigger adds where one waits already."""
    tasks: list[asyncio.Task[None]] = []
    tracemalloc.start()
    try:
        tasks += await _start(1, [])
        await asyncio.sleep(_SETTLED)
        before = await _traced()
        tasks += await _start(count, [])
        await asyncio.sleep(_SETTLED)
        return (await _traced() - before) / count
    finally:
        tracemalloc.stop()
        await _end(tasks)


async def _traced() -> int:
    samples = []
    for _ in range(5):  # the smallest is one between two requests
        gc.collect()
        samples.append(tracemalloc.get_traced_memory()[0])
        await asyncio.sleep(INTERVAL / 5)
    return min(samples)


class _Bench(logging.Handler):
    """One pass; as a log handler it counts asyncio's lines on slow callbacks."""

    def __init__(self, service: Service) -> None:
        super().__init__()
        self._service = service
        self._free_seen_at: list[float] = []
        self.requests = self.blocked_by_code = 0.0
        self.blocked: dict[str, float] = {}
        self.collections: list[tuple[float, float]] = []
        self.latencies: list[float] = []
        self.slow = self.slow_by_code = 0

    @property
    def blocked_later(self) -> float:
        """For how long the loop was blocked at most when all waited, and when some got slots (seconds)."""
        return max(self.blocked["waiting"], self.blocked["granting"])

    async def run(self, count: int, intervals: int, rounds: int) -> None:
        """Let so many wait for some intervals, then free all slots several times."""
        from airflow_riffusion.hooks.riffusion import RiffusionHook

        asyncio.get_running_loop().slow_callback_duration = LONGEST_BLOCK
        events: Events = []
        get_capacity = RiffusionHook.get_capacity

        def seeing(hook: RiffusionHook) -> Any:
            capacity = get_capacity(hook)
            if capacity.available:
                self._free_seen_at.append(time.perf_counter())
            return capacity

        with patch.object(RiffusionHook, "get_capacity", seeing):
            async with self._watch("starting"):
                tasks = await _start(count, events)
            async with self._watch("waiting"):
                await asyncio.sleep(_SETTLED)
                before, since = await asyncio.to_thread(self._service.readings), time.perf_counter()
                await asyncio.sleep(intervals * INTERVAL)
                requests = await asyncio.to_thread(self._service.readings) - before
                self.requests = requests * INTERVAL / (time.perf_counter() - since)
            for _ in range(rounds):
                await self._grant(min(count, SLOTS), events)
                # The last reading, with its free slots, must be too old to serve those who come now.
                await asyncio.sleep(_SETTLED)
                tasks = [task for task in tasks if not task.done()] + await _start(len(events), events)
                await asyncio.sleep(_SETTLED)
            await _end(tasks)

    async def _grant(self, expected: int, events: Events) -> None:
        events.clear()
        self._free_seen_at.clear()
        async with self._watch("granting"), asyncio.timeout(30):
            await asyncio.to_thread(self._service.free_all)
            while len(events) < expected:  # noqa: ASYNC110 - who receives an event shall do no more than that
                await asyncio.sleep(INTERVAL / 10)
        self.latencies += [received - self._free_seen_at[0] for received, _ in events]
        await asyncio.to_thread(self._service.fill, [grant_id for _, grant_id in events])

    @asynccontextmanager
    async def _watch(self, phase: str) -> AsyncIterator[None]:
        async def watch() -> None:
            while True:
                since = time.perf_counter()
                await asyncio.sleep(0.002)
                late = time.perf_counter() - since - 0.002
                self.blocked[phase] = max(late, self.blocked.get(phase, 0.0))
                self.blocked_by_code = max(late - self._collecting(since), self.blocked_by_code)

        logger, watchdog = logging.getLogger("asyncio"), asyncio.create_task(watch())
        logger.addHandler(self)
        gc.callbacks.append(self._collected)
        try:
            yield
            await asyncio.sleep(0.01)  # a block at the very end shall be seen
        finally:
            watchdog.cancel()
            gc.callbacks.remove(self._collected)
            logger.removeHandler(self)

    def _collected(self, phase: str, _info: object) -> None:
        now = time.perf_counter()
        if phase == "start":
            self.collections.append((now, 0.0))
        elif self.collections:
            self.collections[-1] = (now, now - self.collections[-1][0])

    def _collecting(self, since: float) -> float:
        return sum(duration for end, duration in self.collections if end >= since)

    def emit(self, record: logging.LogRecord) -> None:
        """Count a line on a slow callback."""
        if record.msg == "Executing %s took %.3f seconds":
            _, took = record.args
            self.slow += 1
            self.slow_by_code += took - self._collecting(time.perf_counter() - took) >= LONGEST_BLOCK


async def _start(count: int, events: Events) -> list[asyncio.Task[None]]:
    from airflow_riffusion.triggers.capacity import CapacityTrigger

    async def run() -> None:
        async for event in CapacityTrigger(_CONN_ID, poke_interval=INTERVAL).run():
            events.append((time.perf_counter(), event.payload["result"]["grant_id"]))

    tasks = []
    for _ in range(count):
        tasks.append(asyncio.create_task(run()))
        await asyncio.sleep(0)  # as the triggerer does
    return tasks


async def _end(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


@contextmanager
def _service() -> Iterator[Service]:
    """Run the emulator, full, and name it in a connection."""
    with emulator(SLOTS) as service:
        connection = json.dumps({"conn_type": "riffusion", "password": TOKEN, "host": service.url})
        service.fill()
        with patch.dict(os.environ, {f"AIRFLOW_CONN_{_CONN_ID.upper()}": connection}):
            yield service


@contextmanager
def _quiet_log() -> Iterator[None]:
    """Format every line at INFO, and throw it away."""
    import airflow_riffusion.triggers.capacity  # noqa: F401 - importing Airflow sets up its own logging

    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    null = logging.FileHandler(os.devnull)
    null.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    root.handlers[:] = [null]
    root.setLevel(logging.INFO)
    try:
        yield
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
        null.close()
