"""Requests besides readings: in threads of their own, by a connection that may change."""

from __future__ import annotations

import asyncio
import threading

import pytest

from airflow_riffusion.exceptions import RiffusionRejected, RiffusionUnavailable
from airflow_riffusion.gate.source import ReadingSource
from airflow_riffusion.gate.submissions import Submissions
from tests.gates import FakeHook
from tests.virtual_time import run


def test_call_returns_what_the_function_does_with_the_hook():
    hook = FakeHook()
    hook.outcomes = [{"id": "1"}]

    assert run(ReadingSource(hook).call(lambda hook: hook.run("music"))) == {"id": "1"}


@pytest.mark.parametrize(("tokens", "asked"), [(["old", "new"], 2), (["old"], 1)])
def test_call_is_rejected_asks_again_only_if_the_connection_has_changed(tokens, asked):
    hook = FakeHook()
    hook.tokens = tokens
    hook.outcomes = [RiffusionRejected("401 Unauthorized", status=401)]

    with pytest.raises(RiffusionRejected):
        run(ReadingSource(hook).call(lambda hook: hook.run("music")))
    assert len(hook.sent) == asked


def test_call_is_rejected_and_the_connection_cant_be_looked_up_keeps_the_rejection(monkeypatch):
    hook = FakeHook()
    hook.outcomes = [RiffusionRejected("400 Bad Request", status=400)]

    def lose_connection(_):
        monkeypatch.setattr(FakeHook, "aload", fail)

    async def fail(_):
        raise RiffusionUnavailable("no database")

    monkeypatch.setattr(FakeHook, "forget_connection", lose_connection)

    with pytest.raises(RiffusionRejected, match="400"):
        run(ReadingSource(hook).call(lambda hook: hook.run("music")))


def test_call_of_a_submission_waits_for_no_other_calls():
    answered = threading.Event()

    async def scenario():
        source = ReadingSource(FakeHook())
        others = [asyncio.create_task(source.call(lambda _: answered.wait(30))) for _ in range(50)]
        try:
            async with Submissions(source).turn(0) as submit:
                return await asyncio.wait_for(submit(lambda _: "submitted"), 10)
        finally:
            answered.set()
            await asyncio.gather(*others)

    assert asyncio.run(scenario()) == "submitted"
