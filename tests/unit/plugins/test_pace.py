from __future__ import annotations

import asyncio
import sys
import threading
from queue import Queue

import pytest

from airflow_riffusion.plugins.page.pace import Paced
from airflow_riffusion.plugins.page.threads import Threads

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


def test_the_pause_begins_when_the_answer_has_come():
    async def look() -> list[int | None]:
        one = paced(question := Question(answers=False), clock := Clock())
        await one.latest(0)
        clock.now = 20.0
        question.may_answer.set()
        answers = []
        for clock.now in (20.0, 24.9, 25.0):
            answers.append(await one.latest(PATIENCE))
        return answers

    assert asyncio.run(look()) == [1, 1, 2]


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


@pytest.mark.parametrize("failure", [ValueError, SystemExit])
def test_if_asking_fails_the_old_answer_stays_and_it_is_asked_again(failure):
    answers = iter((1, failure(), 3))

    def ask() -> int:
        answer = next(answers)
        if isinstance(answer, int):
            return answer
        raise answer

    async def look() -> list[int | None]:
        one = Paced(ask, lambda answer: 60.0 if answer is None else 5.0, clock := Clock())
        answers = []
        for clock.now in (0.0, 5.0, 64.9, 65.0):
            answers.append(await one.latest(PATIENCE))
            assert one.asking_for is None
        return answers

    assert asyncio.run(look()) == [1, 1, 1, 3]


def test_where_no_thread_can_be_started_it_is_asked_again_later(monkeypatch):
    def refuse(thread) -> None:
        raise RuntimeError("can't start new thread")

    async def look() -> list[int | None]:
        one = paced(Question(), clock := Clock())
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", refuse)
            answers = [await one.latest(PATIENCE)]
        assert one.asking_for is None
        for clock.now in (4.9, 5.0):
            answers.append(await one.latest(PATIENCE))
        return answers

    assert asyncio.run(look()) == [None, None, 1]


def test_no_more_threads_run_at_once_than_may_and_what_is_more_has_its_turn():
    before = set(threading.enumerate())
    began: Queue[int] = Queue()
    may_end = threading.Event()
    threads = Threads(2)
    for number in range(5):
        threads.run(lambda number=number: (began.put(number), may_end.wait(PATIENCE)))

    assert len(set(threading.enumerate()) - before) == 2
    may_end.set()
    assert sorted(began.get(timeout=PATIENCE) for _ in range(5)) == [0, 1, 2, 3, 4]


def test_work_that_fails_takes_no_thread_from_other_work():
    done = threading.Event()
    threads = Threads(1)
    threads.run(lambda: sys.exit("failed"))
    threads.run(done.set)

    assert done.wait(PATIENCE)
