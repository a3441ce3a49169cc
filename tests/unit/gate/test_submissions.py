"""Submissions of all tasks at a gate: at the service's pace."""

from __future__ import annotations

import asyncio
from itertools import pairwise

import pytest

from airflow_riffusion.gate.source import ReadingSource
from airflow_riffusion.gate.submissions import Submissions
from tests.gates import FakeHook
from tests.virtual_time import run


async def sent_at(interval, claims):
    """Return when songs are submitted that all begin at once, and whose claims take so many seconds each."""
    sent = []
    submissions = Submissions(ReadingSource(FakeHook()))
    loop = asyncio.get_running_loop()

    async def song(claim):
        async with submissions.turn(interval) as submit:
            await asyncio.sleep(claim or 0)
            if claim is not None:
                await submit(lambda _: sent.append(loop.time()))

    await asyncio.gather(*map(song, claims))
    return sent


@pytest.mark.parametrize("claims", [(0, 0, 0), (1, 0, 1, 0), (5, 0.5, 0)])
def test_turn_of_a_service_with_a_pause_sends_no_two_submissions_closer_together(claims):
    sent = run(sent_at(3, claims))

    assert len(sent) == len(claims)
    assert all(later - earlier >= 3 for earlier, later in pairwise(sent))


def test_turn_that_submits_nothing_lets_the_next_one_submit_at_once():
    sent = run(sent_at(3, (0, None, None, 0)))

    assert sent[1] - sent[0] == pytest.approx(3, abs=0.01)


def test_turn_of_a_service_without_a_pause_waits_for_no_other():
    sent = run(sent_at(0, (2, 1, 0)))

    assert sent == sorted(sent)
    assert sent[-1] - sent[0] == pytest.approx(2, abs=0.01)
