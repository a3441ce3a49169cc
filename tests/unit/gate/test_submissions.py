"""Submissions of all tasks at a gate: at the service's pace."""

from __future__ import annotations

import asyncio
from itertools import pairwise

import pytest

from airflow_riffusion.exceptions import RiffusionUnavailable
from airflow_riffusion.gate.source import ReadingSource
from airflow_riffusion.gate.submissions import Submissions
from tests.gates import FakeHook
from tests.virtual_time import run

MARGIN = 0.5


class SlowHook(FakeHook):
    """Its connection takes long to be looked up, the first time."""

    looks_up_for = 2.0

    async def aload(self):
        await asyncio.sleep(self.looks_up_for)
        self.looks_up_for = 0.0
        return await super().aload()


async def sent_at(pause, claims, hook=None):
    """
    Return when songs are submitted that all begin at once.

    ``claims``: how many seconds each takes to get ready, None for one that submits nothing after all.
    """
    sent = []
    submissions = Submissions(ReadingSource(hook or FakeHook()))
    loop = asyncio.get_running_loop()
    began = loop.time()

    async def song(claim):
        async with submissions.turn(pause) as submit:
            await asyncio.sleep(claim or 0)
            if claim is not None:
                await submit(lambda _: sent.append(loop.time() - began))

    await asyncio.gather(*map(song, claims))
    return sent


@pytest.mark.parametrize("hook", [FakeHook, SlowHook])
@pytest.mark.parametrize("claims", [(0, 0, 0), (1, 0, 1, 0), (5, 0.5, 0)])
def test_turn_with_pause_sends_no_two_submissions_closer_together(claims, hook):
    sent = run(sent_at(3, claims, hook()))

    assert len(sent) == len(claims)
    assert all(later - earlier >= 3 for earlier, later in pairwise(sent))


def test_turn_with_pause_gets_ready_while_another_waits_to_be_sent():
    sent = run(sent_at(3, (2, 2, 2, 2)))

    assert sent == pytest.approx([2 + number * (3 + MARGIN) for number in range(4)], abs=0.01)


def test_turn_with_pause_that_takes_long_to_get_ready_lets_others_be_sent_meanwhile():
    sent = run(sent_at(3, (600, 0, 0)))

    assert sent == pytest.approx([0, 3 + MARGIN, 600], abs=0.01)


def test_turn_with_pause_that_submits_nothing_costs_no_pause():
    sent = run(sent_at(3, (0, None, None, 0)))

    assert sent == pytest.approx([0, 3 + MARGIN], abs=0.01)


def test_turn_without_pause_waits_for_no_other():
    sent = run(sent_at(0, (2, 1, 0)))

    assert sent == pytest.approx([0, 1, 2], abs=0.01)


def test_turn_with_pause_that_fails_or_is_cancelled_leaves_room_for_others():
    async def scenario():
        submissions = Submissions(ReadingSource(FakeHook()))

        def fail(_):
            raise RiffusionUnavailable("503 Service Unavailable")

        async def song(call):
            async with submissions.turn(3) as submit:
                return await submit(call)

        songs = [asyncio.create_task(song(fail)) for _ in range(4)]
        await asyncio.sleep(1)  # The second one is about to be sent.
        songs[1].cancel()
        await asyncio.gather(*songs, return_exceptions=True)
        return await song(lambda _: "submitted")

    assert run(scenario()) == "submitted"
