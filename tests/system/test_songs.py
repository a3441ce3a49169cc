"""Whole songs on a real Airflow: beside other clients, over lost answers, and whatever is killed."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from airflow_riffusion.emulator import EmulatorServer
from airflow_riffusion.emulator.faults import Fault
from airflow_riffusion.emulator.records import Job, Stats
from dev.airflow_client import DagRun, attempts
from dev.airflow_stack import AirflowStack
from tests.system.dags import scale

SLOTS = 10
SLOTS_OF_THE_KILLED = scale.SONGS_OVER_A_KILLED_TRIGGERER // 6
POKE_INTERVAL = 2


@dataclass(frozen=True)
class Ended:
    """
    What there is to tell of a run when it has ended.

    :param run: the run.
    :param seconds: how long it took, from just before it was triggered.
    :param tasks: its songs' task instances, in the order of their map index.
    :param jobs: the jobs that it submitted, in the order in which they took their slots.
    :param jobs_of_others: the jobs of other clients.
    :param stats: what the service counted.
    """

    run: DagRun
    seconds: float
    tasks: list[dict[str, Any]]
    jobs: list[Job]
    jobs_of_others: list[Job]
    stats: Stats


@pytest.fixture(scope="module")
def play(airflow_stack, store_connection):
    """Return a function that runs a DAG against a service, and does something meanwhile."""

    def play(
        dag_id: str,
        emulator: EmulatorServer,
        meanwhile: Callable[[DagRun], object] = lambda run: None,
        *,
        timeout: float = 600,
    ) -> Ended:
        store_connection(dag_id, emulator)
        began = time.monotonic()
        run = airflow_stack.trigger(dag_id)
        meanwhile(run)
        airflow_stack.wait(run, timeout)
        seconds = time.monotonic() - began
        tasks = sorted(airflow_stack.task_instances(run), key=lambda task: task["map_index"])
        jobs = emulator.service.jobs()
        return Ended(
            run=run,
            seconds=seconds,
            tasks=tasks,
            jobs=[job for job in jobs if not job.other_client],
            jobs_of_others=[job for job in jobs if job.other_client],
            stats=emulator.service.stats(),
        )

    return play


def waiting_by(airflow: AirflowStack, run: DagRun, trigger: str) -> set[int]:
    """Return the map indices of the tasks for which a trigger of this name waits in a triggerer."""
    return {
        task["map_index"]
        for task in airflow.task_instances(run)
        if task["state"] == "deferred"
        and task["triggerer_job"]
        and task["trigger"]["classpath"].endswith(f".{trigger}")
    }


def map_index(job: Job) -> int:
    """Return which song a job is: its reference ends with it."""
    assert job.reply_ref is not None
    return int(job.reply_ref.rpartition("/")[2])


@pytest.fixture(scope="module")
def beside_others(play, token):
    """
    Make many songs on 10 slots of which other clients have a third.

    A third of 10 slots for jobs of 8 s is 25 jobs a minute. One in six of those who come finds no free slot,
    so 30 come.
    """
    with EmulatorServer(
        accounts=5, max_jobs=2, job_seconds=8, other_clients_per_minute=30, token=token, seed=1
    ) as emulator:
        return play("songs_beside_others", emulator, timeout=900)


@pytest.fixture(scope="module")
def lost_answers(play, token):
    """
    Make many songs while the answer to one submission in five is lost, and no full account is listed.

    The job has to outlast the two passes through a worker that it takes to find it and to watch it.
    """
    with EmulatorServer(
        accounts=5, max_jobs=SLOTS // 5, job_seconds=20, hide_full_accounts=True, token=token
    ) as emulator:
        emulator.faults.add(Fault(endpoint="create-prompt", lose_answer=True, every=5))
        ended = play("songs_with_lost_answers", emulator)
        assert emulator.faults.all()[0].fired >= scale.SONGS // 5
        return ended


class HandSetClock:
    """A clock that can be put forward."""

    def __init__(self) -> None:
        self.ahead = timedelta()

    def __call__(self) -> datetime:
        return datetime.now(UTC) + self.ahead


@pytest.fixture(scope="module")
def killed_triggerer(airflow_stack, play, token):
    """Kill the triggerer while a sixth of the songs is executing; end those when another one reads."""
    clock = HandSetClock()
    hour = timedelta(hours=1)
    started = itertools.count()

    def job_seconds() -> float:
        return hour.total_seconds() if next(started) < SLOTS_OF_THE_KILLED else 8

    with EmulatorServer(
        accounts=5, max_jobs=SLOTS_OF_THE_KILLED // 5, job_seconds=job_seconds, token=token, clock=clock
    ) as emulator:

        def readings() -> int:
            return emulator.service.stats().requests_by_endpoint["available"]

        def kill_triggerer(run: DagRun) -> None:
            for _ in attempts(180, interval=1):
                executing = waiting_by(airflow_stack, run, "JobTrigger")
                waiting = waiting_by(airflow_stack, run, "SubmissionTrigger")
                if (len(executing), len(waiting)) == (SLOTS_OF_THE_KILLED, 5 * SLOTS_OF_THE_KILLED):
                    break
            else:
                pytest.fail(f"{len(executing)} songs are executing, and {len(waiting)} wait")
            airflow_stack.kill("triggerer")
            before = readings()
            airflow_stack.start("triggerer")
            for _ in attempts(60):
                if readings() > before:
                    break
            else:
                pytest.fail("the new triggerer takes no reading")
            clock.ahead = hour

        return play("songs_with_a_killed_triggerer", emulator, kill_triggerer)


@pytest.fixture(params=["beside_others", "lost_answers", "killed_triggerer"])
def ended(request) -> Ended:
    """Return each of the runs with many songs, which all end alike."""
    ended: Ended = request.getfixturevalue(request.param)
    return ended


def test_submit_makes_every_job_once(ended):
    songs = [f"song {index}" for index in range(len(ended.tasks))]

    assert sorted(job.prompt for job in ended.jobs) == sorted(songs)
    assert len({job.reply_ref for job in ended.jobs}) == len(songs)
    assert ended.stats.completed == ended.stats.accepted == len(songs)


def test_submit_every_task_succeeds_at_its_first_try(ended):
    assert {(task["state"], task["try_number"]) for task in ended.tasks} == {("success", 1)}


def test_submit_beside_other_clients_shares_the_slots_with_them(beside_others):
    jobs_of_others = sum(
        ((job.ended or job.over_at) - job.started).total_seconds() for job in beside_others.jobs_of_others
    )

    assert len(beside_others.tasks) == scale.SONGS
    assert 0.2 < jobs_of_others / (SLOTS * beside_others.seconds) < 0.45


def test_submit_all_tasks_share_one_request_per_interval(beside_others):
    """
    Readings are between 1 and 1.1 intervals apart, so the most there can be is one more than intervals.

    One more is left to the song that finds an empty queue, which may have a reading of its own.
    """
    readings = beside_others.stats.requests_by_endpoint["available"]

    assert readings <= beside_others.seconds / POKE_INTERVAL + 2


def test_submit_lost_answer_does_not_submit_again(airflow_stack, lost_answers):
    xcoms = [airflow_stack.xcom(lost_answers.run, "song", map_index=index) for index in range(scale.SONGS)]

    assert {xcom["submissions"] for xcom in xcoms} == {1}


def test_submit_killed_triggerer_cancels_no_job(killed_triggerer):
    assert killed_triggerer.stats.cancelled == 0


@pytest.fixture(scope="module")
def order(airflow_stack, killed_triggerer):
    """Return the songs that waited when the triggerer was killed, in the order in which they began to."""
    grants = {
        map_index(job): airflow_stack.xcom(killed_triggerer.run, "song", "grant", map_index(job))
        for job in killed_triggerer.jobs[SLOTS_OF_THE_KILLED:]
    }
    return dict(sorted(grants.items(), key=lambda item: item[1]["since"]))


def test_submit_killed_triggerer_keeps_the_order_of_the_queue(order):
    granted = [datetime.fromisoformat(grant["observed_at"]) for grant in order.values()]

    assert len(set(granted)) >= 5  # five times as many songs as slots
    assert granted == sorted(granted)


def test_submit_task_overtakes_fewer_tasks_than_there_are_slots(order, killed_triggerer):
    """While a song is on its way to the service, so many others are at the most as there are other slots."""
    served = [map_index(job) for job in killed_triggerer.jobs[SLOTS_OF_THE_KILLED:]]

    overtaken = {song: place - served.index(song) for place, song in enumerate(order)}

    assert {song: by for song, by in overtaken.items() if by > SLOTS_OF_THE_KILLED - 1} == {}


@pytest.fixture(scope="module")
def killed_worker(airflow_stack, play, token):
    """Kill a worker between submission and deferral, and have Airflow retry while the job is executing."""
    with EmulatorServer(accounts=1, max_jobs=1, job_seconds=45, token=token) as emulator:
        return play("songs_with_a_killed_worker", emulator, timeout=180)


def test_submit_killed_worker_succeeds_at_the_second_try(killed_worker):
    assert [(task["state"], task["try_number"]) for task in killed_worker.tasks] == [("success", 2)]


def test_submit_retry_takes_up_the_job_of_the_killed_worker(airflow_stack, killed_worker):
    xcom = airflow_stack.xcom(killed_worker.run, "song", map_index=0)

    assert (xcom["job_id"], xcom["submissions"]) == (killed_worker.jobs[0].job_id, 0)


def test_submit_killed_worker_makes_its_job_once(killed_worker):
    assert killed_worker.stats.accepted == 1


@pytest.fixture(scope="module")
def late_retry(play, token):
    """Kill a worker after submission, and have Airflow retry when the job is over."""
    with EmulatorServer(accounts=1, max_jobs=1, job_seconds=5, token=token) as emulator:
        return play("songs_that_ended_before_the_retry", emulator, timeout=180)


def test_submit_job_that_ended_before_the_retry_is_made_once(airflow_stack, late_retry):
    xcom = airflow_stack.xcom(late_retry.run, "song", map_index=0)

    assert [(task["state"], task["try_number"]) for task in late_retry.tasks] == [("success", 2)]
    assert (xcom["job_id"], xcom["submissions"]) == (late_retry.jobs[0].job_id, 0)
    assert late_retry.stats.accepted == 1


@dataclass(frozen=True)
class Killed:
    """
    What became of three songs on one slot, two of which a person marked as failed.

    :param ended: the run.
    :param executing: the song that was killed while its job was executing.
    :param waiting: the song that was killed while it was the next to be served.
    :param last: the song that was left.
    :param readings: when the service was asked for readings.
    """

    ended: Ended
    executing: int
    waiting: int
    last: int
    readings: list[datetime]


@pytest.fixture(scope="module")
def killed(airflow_stack, play, token):
    """Let a person mark the next song in the queue as failed, and then the one that is executing."""
    durations = iter([3600])
    readings: list[datetime] = []
    songs: dict[str, int] = {}
    with EmulatorServer(
        accounts=1, max_jobs=1, job_seconds=lambda: next(durations, 8), token=token
    ) as emulator:
        count_request = emulator.service.count_request

        def note_readings(endpoint: str) -> None:
            if endpoint == "available":
                readings.append(datetime.now(UTC))
            count_request(endpoint)

        emulator.service.count_request = note_readings  # type: ignore[method-assign]

        def kill_songs(run: DagRun) -> None:
            for _ in attempts(90):
                executing = waiting_by(airflow_stack, run, "JobTrigger")
                waiting = waiting_by(airflow_stack, run, "SubmissionTrigger")
                if (len(executing), len(waiting)) == (1, 2):
                    break
            else:
                pytest.fail(f"{executing} is executing, and {waiting} wait")
            songs.update(executing=executing.pop(), waiting=max(waiting), last=min(waiting))
            airflow_stack.mark_failed(run, "song", map_index=songs["waiting"])
            airflow_stack.mark_failed(run, "song", map_index=songs["executing"])

        ended = play("songs_that_are_killed", emulator, kill_songs, timeout=120)
    return Killed(ended, readings=readings, **songs)


def test_submit_executing_task_marked_as_failed_cancels_its_job(killed):
    first = killed.ended.jobs[0]

    assert (map_index(first), first.status) == (killed.executing, "cancelled")


def test_submit_waiting_task_marked_as_failed_never_submits(killed):
    assert killed.waiting not in {map_index(job) for job in killed.ended.jobs}


def test_submit_slot_of_a_killed_task_is_granted_within_two_readings(airflow_stack, killed):
    cancelled = killed.ended.jobs[0].ended
    grant = airflow_stack.xcom(killed.ended.run, "song", "grant", killed.last)
    granted = datetime.fromisoformat(grant["observed_at"])

    assert 1 <= len([reading for reading in killed.readings if cancelled < reading < granted]) <= 2


def test_submit_task_after_killed_ones_succeeds_at_its_first_try(killed):
    tasks = {task["map_index"]: (task["state"], task["try_number"]) for task in killed.ended.tasks}

    assert tasks[killed.last] == ("success", 1)
