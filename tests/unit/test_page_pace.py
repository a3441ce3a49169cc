from __future__ import annotations

import asyncio
import threading

from airflow_riffusion.plugins.page.pace import Paced

PATIENCE = 30.0


class Question:
    """Is asked in a thread, and answers with its own number when it may."""

    def __init__(self, *, answers: bool = True):
        self.asked = 0
        self.may_answer = threading.Event()
        if answers:
            self.may_answer.set()

    def __call__(self) -> int:
        self.asked += 1
        number = self.asked
        assert self.may_answer.wait(PATIENCE)
        return number


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def paced(question: Question, clock: Clock, pause: float = 5.0) -> Paced[int]:
    return Paced(question, lambda _: pause, clock)


def test_however_many_look_one_question_is_asked():
    async def look() -> list[int | None]:
        one = paced(question := Question(), Clock())
        answers = await asyncio.gather(*(one.latest(PATIENCE) for _ in range(50)))
        assert question.asked == 1
        return answers

    assert set(asyncio.run(look())) == {1}


def test_it_is_asked_again_only_when_the_pause_is_over():
    async def look() -> list[int | None]:
        one = paced(Question(), clock := Clock())
        answers = []
        for clock.now in (0.0, 4.9, 5.0, 9.9, 10.0):
            answers.append(await one.latest(PATIENCE))
        return answers

    assert asyncio.run(look()) == [1, 1, 2, 2, 3]


def test_the_pause_may_depend_on_the_answer():
    async def look() -> list[int | None]:
        one = Paced(Question(), lambda number: 60.0 if number == 1 else 5.0, clock := Clock())
        answers = []
        for clock.now in (0.0, 59.0, 60.0, 65.0):
            answers.append(await one.latest(PATIENCE))
        return answers

    assert asyncio.run(look()) == [1, 1, 2, 3]


def test_who_has_no_patience_left_gets_the_old_answer_and_learns_for_how_long_it_was_asked():
    async def look() -> None:
        one = paced(question := Question(), clock := Clock())
        assert await one.latest(PATIENCE) == 1
        assert one.asking_for is None
        question.may_answer.clear()
        clock.now = 5.0
        assert await one.latest(0) == 1
        clock.now = 17.0
        assert await one.latest(0) == 1
        assert one.asking_for == 12.0
        question.may_answer.set()
        assert await one.latest(PATIENCE) == 2
        assert question.asked == 2

    asyncio.run(look())


def test_before_the_first_answer_there_is_none():
    async def look() -> None:
        one = paced(question := Question(answers=False), Clock())
        assert await one.latest(0) is None
        question.may_answer.set()
        assert await one.latest(PATIENCE) == 1

    asyncio.run(look())


def test_who_goes_away_takes_no_answer_from_the_others():
    async def look() -> None:
        one = paced(question := Question(answers=False), Clock())
        goes, stays = (asyncio.create_task(one.latest(PATIENCE)) for _ in range(2))
        await asyncio.sleep(0)
        goes.cancel()
        await asyncio.gather(goes, return_exceptions=True)
        question.may_answer.set()
        assert await stays == 1

    asyncio.run(look())
