from __future__ import annotations

import asyncio
import threading

import pytest

from airflow_riffusion.plugins.page.throttled import Throttled

TIMEOUT = 30.0


class Question:
    """Blocks until it may answer, with how often it was asked."""

    def __init__(self, *, answers: bool = True):
        self.asked = 0
        self.may_answer = threading.Event()
        if answers:
            self.may_answer.set()

    def __call__(self) -> int:
        self.asked += 1
        number = self.asked
        assert self.may_answer.wait(TIMEOUT)
        return number


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def throttled(question: Question, clock: Clock, pause: float = 5.0) -> Throttled[int]:
    return Throttled(question, lambda _: pause, clock)


def test_throttled_many_callers_ask_one_question():
    async def ask_it() -> list[int | None]:
        one = throttled(question := Question(), Clock())
        answers = await asyncio.gather(*(one.latest(TIMEOUT) for _ in range(50)))
        assert question.asked == 1
        return answers

    assert set(asyncio.run(ask_it())) == {1}


def test_throttled_after_the_pause_asks_again():
    async def ask_it() -> list[int | None]:
        one = throttled(Question(), clock := Clock())
        answers = []
        for clock.now in (0.0, 4.9, 5.0, 9.9, 10.0):
            answers.append(await one.latest(TIMEOUT))
        return answers

    assert asyncio.run(ask_it()) == [1, 1, 2, 2, 3]


def test_throttled_pause_begins_when_a_slow_answer_arrives():
    async def ask_it() -> list[int | None]:
        one = throttled(question := Question(answers=False), clock := Clock())
        await one.latest(0)
        clock.now = 20.0
        question.may_answer.set()
        answers = []
        for clock.now in (20.0, 24.9, 25.0):
            answers.append(await one.latest(TIMEOUT))
        return answers

    assert asyncio.run(ask_it()) == [1, 1, 2]


def test_throttled_pause_depends_on_the_answer():
    async def ask_it() -> list[int | None]:
        one = Throttled(Question(), lambda number: 60.0 if number == 1 else 5.0, clock := Clock())
        answers = []
        for clock.now in (0.0, 59.0, 60.0, 65.0):
            answers.append(await one.latest(TIMEOUT))
        return answers

    assert asyncio.run(ask_it()) == [1, 1, 2, 3]


def test_throttled_timeout_returns_the_last_answer_and_asking_for_grows():
    async def ask_it() -> None:
        one = throttled(question := Question(), clock := Clock())
        assert await one.latest(TIMEOUT) == 1
        assert one.asking_for is None
        question.may_answer.clear()
        clock.now = 5.0
        assert await one.latest(0) == 1
        clock.now = 17.0
        assert await one.latest(0) == 1
        assert one.asking_for == 12.0
        question.may_answer.set()
        assert await one.latest(TIMEOUT) == 2
        assert question.asked == 2

    asyncio.run(ask_it())


def test_throttled_before_the_first_answer_returns_none():
    async def ask_it() -> None:
        one = throttled(question := Question(answers=False), Clock())
        assert await one.latest(0) is None
        question.may_answer.set()
        assert await one.latest(TIMEOUT) == 1

    asyncio.run(ask_it())


def test_throttled_others_get_the_answer_when_one_caller_is_cancelled():
    async def ask_it() -> None:
        one = throttled(question := Question(answers=False), Clock())
        goes, stays = (asyncio.create_task(one.latest(TIMEOUT)) for _ in range(2))
        await asyncio.sleep(0)
        goes.cancel()
        await asyncio.gather(goes, return_exceptions=True)
        question.may_answer.set()
        assert await stays == 1

    asyncio.run(ask_it())


@pytest.mark.parametrize("failure", [ValueError, SystemExit])
def test_throttled_last_answer_stays_when_asking_fails(failure):
    answers = iter((1, failure(), 3))

    def ask() -> int:
        answer = next(answers)
        if isinstance(answer, int):
            return answer
        raise answer

    async def ask_it() -> list[int | None]:
        one = Throttled(ask, lambda answer: 60.0 if answer is None else 5.0, clock := Clock())
        answers = []
        for clock.now in (0.0, 5.0, 64.9, 65.0):
            answers.append(await one.latest(TIMEOUT))
            assert one.asking_for is None
        return answers

    assert asyncio.run(ask_it()) == [1, 1, 1, 3]


def test_throttled_without_a_thread_asks_again_after_the_pause(monkeypatch):
    def refuse(thread) -> None:
        raise RuntimeError("can't start new thread")

    async def ask_it() -> list[int | None]:
        one = throttled(Question(), clock := Clock())
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", refuse)
            answers = [await one.latest(TIMEOUT)]
        assert one.asking_for is None
        for clock.now in (4.9, 5.0):
            answers.append(await one.latest(TIMEOUT))
        return answers

    assert asyncio.run(ask_it()) == [None, None, 1]
