from __future__ import annotations

import asyncio
from itertools import pairwise

import pytest

from airflow_riffusion.gate.waiters import Waiters
from tests.virtual_time import run


def test_waiters_thousands_are_reminded_once_a_minute_a_few_at_a_time():
    reminded: dict[str, list[float]] = {}

    async def remember(waiters, waiter_id):
        def status():
            reminded.setdefault(waiter_id, []).append(asyncio.get_running_loop().time())
            return "waiting"

        await waiters.add(waiter_id, poke_interval=5).result(status, outlook=str)

    async def scenario():
        waiters = Waiters()
        tasks = [asyncio.create_task(remember(waiters, str(number))) for number in range(5_000)]
        await asyncio.sleep(300)
        for waiter_id in waiters:
            waiters.resolve(waiter_id, "a decision")
        await asyncio.gather(*tasks)

    run(scenario())
    times = sorted(time for each in reminded.values() for time in each)
    assert len(reminded) == 5_000
    assert all(60 <= later - earlier <= 90 for each in reminded.values() for earlier, later in pairwise(each))
    assert max(times.count(time) for time in set(times)) <= 50


def test_waiter_decision_that_meets_a_reminder_is_not_lost():
    async def scenario():
        waiters = Waiters()
        waiter = waiters.add("w", poke_interval=5)
        result = asyncio.create_task(waiter.result(str, str))
        await asyncio.sleep(0)
        waiter.wake()
        waiters.resolve("w", "the decision")
        return await result

    assert run(scenario()) == "the decision"


@pytest.mark.parametrize("leaves", ["resolved", "removed"])
def test_waiters_last_one_that_leaves_stops_the_timer(leaves):
    async def scenario():
        waiters = Waiters()
        waiters.add("w", poke_interval=5)
        await asyncio.sleep(100)
        if leaves == "resolved":
            waiters.resolve("w", "a decision")
        waiters.remove("w")
        await asyncio.get_running_loop().create_future()

    with pytest.raises(RuntimeError, match="wait for ever"):
        run(scenario())
