"""Whole songs on a real Airflow: beside other clients, over lost answers, and whatever is killed."""

from __future__ import annotations

import itertools
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from airflow_riffusion.emulator import EmulatorServer
from airflow_riffusion.emulator.faults import Fault
from airflow_riffusion.emulator.records import Job, Stats
from dev.airflow_client import AirflowApiError, DagRun, attempts
from dev.airflow_stack import AirflowStack
from tests.system.dags import scale

SLOTS = 10
SLOTS_OF_THE_KILLED = 20
POKE_INTERVAL = 2
SECONDS_OF_A_READING = POKE_INTERVAL / 2  # Grants that are no further apart come from one reading.


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


def in_triggerer(airflow: AirflowStack, run: DagRun) -> set[int]:
    """Return the map indices of the tasks that a triggerer has."""
    return {
        task["map_index"]
        for task in airflow.task_instances(run)
        if task["state"] == "deferred" and task["triggerer_job"]
    }


def noted(airflow: AirflowStack, run: DagRun, index: int) -> bool:
    """Return whether a task has noted that its job is accepted."""
    try:
        return bool(airflow.xcom(run, "song", "riffusion_job", index)["accepted"])
    except AirflowApiError:
        return False


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

    A job whose answer is lost has to outlast the readings that it takes to find it.
    """
    every = 5
    durations = itertools.cycle((*itertools.repeat(12.0, every - 1), 30.0))
    with EmulatorServer(
        accounts=5,
        max_jobs=SLOTS // 5,
        job_seconds=lambda: next(durations),
        hide_full_accounts=True,
        token=token,
    ) as emulator:
        emulator.faults.add(Fault(endpoint="submit", lose_answer=True, every=every))
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
    """
    Kill the triggerer while 20 songs are executing; start another one when those are over.

    Those that wait then get their slots by and by, so that there is an order to be kept.
    """
    clock = HandSetClock()
    hour = timedelta(hours=1)
    durations = itertools.chain(
        itertools.repeat(hour.total_seconds(), SLOTS_OF_THE_KILLED), itertools.cycle((4, 8, 12, 16))
    )

    def job_seconds() -> float:
        return next(durations)

    with EmulatorServer(
        accounts=5, max_jobs=SLOTS_OF_THE_KILLED // 5, job_seconds=job_seconds, token=token, clock=clock
    ) as emulator:

        def kill_triggerer(run: DagRun) -> None:
            for _ in attempts(180, interval=1):
                deferred = in_triggerer(airflow_stack, run)
                executing = {map_index(job) for job in emulator.service.jobs()}
                songs = (len(executing), len(deferred))
                if songs == (SLOTS_OF_THE_KILLED, scale.SONGS_OVER_A_KILLED_TRIGGERER):
                    break
            else:
                pytest.fail(f"{len(executing)} songs are executing, and {len(deferred)} in the triggerer")
            assert all(noted(airflow_stack, run, index) for index in executing)
            airflow_stack.kill("triggerer")
            clock.ahead = hour
            airflow_stack.start("triggerer")

        return play("songs_with_a_killed_triggerer", emulator, kill_triggerer)


@pytest.fixture(scope="module")
def killed_while_submitting(airflow_stack, play, token):
    """Kill the triggerer while the service has made its job, and has not answered."""
    with EmulatorServer(accounts=1, max_jobs=2, job_seconds=90, token=token) as emulator:
        emulator.faults.add(Fault(endpoint="submit", delay_seconds=8, times=1))

        def kill_triggerer(run: DagRun) -> None:
            for _ in attempts(60):
                if emulator.service.jobs():
                    break
            else:
                pytest.fail("nothing is submitted")
            airflow_stack.kill("triggerer")
            airflow_stack.start("triggerer")

        return play("songs_with_a_triggerer_killed_while_submitting", emulator, kill_triggerer)


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
    readings = beside_others.stats.requests_by_endpoint["capacity"]

    assert readings <= beside_others.seconds / POKE_INTERVAL + 2


STORY = (
    r"Waiting for 1 slot on connection 'songs_beside_others'\.",
    r"Still waiting since .* UTC: \d+ of 10 slots free on 5 accounts, \d+ held, \d+ tasks? ahead",
    r"Granted 1 slot on account \S+ after [\d.]+ s; the grant is \w+\.",
    r"Submitted job \S+ on account \S+\.",
    r"Watching job \S+ on connection 'songs_beside_others'\.",
    r"Job \S+ is executing on account \S+; next reading in \d+ s\.",
    r"Job \S+ is over after [\d.]+ s\.",
)
"""What docs/songs.md shows of a song's log."""


def tells(log: str, *lines: str) -> bool:
    return re.search(".*".join(lines), log, re.DOTALL) is not None


def test_song_log_of_its_one_try_tells_the_whole_story(airflow_stack, beside_others):
    """A short song may be over before its log says that it is executing."""
    last_songs = map(map_index, beside_others.jobs[-10:])
    logs = [airflow_stack.log(beside_others.run, "song", song) for song in last_songs]

    assert all(tells(log, *STORY[:-2], STORY[-1]) for log in logs), logs
    assert any(tells(log, *STORY) for log in logs), logs


def test_submit_lost_answer_does_not_submit_again(airflow_stack, lost_answers):
    xcoms = [airflow_stack.xcom(lost_answers.run, "song", map_index=index) for index in range(scale.SONGS)]

    assert {xcom["submissions"] for xcom in xcoms} == {1}


def test_submit_killed_triggerer_cancels_no_job(killed_triggerer):
    assert killed_triggerer.stats.cancelled == 0


@dataclass(frozen=True)
class WitnessedGrant:
    """Since when a song waited, and when the reading was taken that granted it its last slot (epoch)."""

    since: float
    observed_at: float


def grant_of(airflow: AirflowStack, run: DagRun, index: int) -> WitnessedGrant:
    since = airflow.xcom(run, "song", "since", index)
    waited_seconds = airflow.xcom(run, "song", map_index=index)["waited_seconds"]
    return WitnessedGrant(since, since + waited_seconds)


@pytest.fixture(scope="module")
def order(airflow_stack, killed_triggerer):
    """Return the songs that waited when the triggerer was killed, in the order in which they began to."""
    grants = {
        map_index(job): grant_of(airflow_stack, killed_triggerer.run, map_index(job))
        for job in killed_triggerer.jobs[SLOTS_OF_THE_KILLED:]
    }
    return dict(sorted(grants.items(), key=lambda item: item[1].since))


def overtaken_by(times: list[float]) -> list[float]:
    """Return how many seconds each time lies behind the latest before it."""
    return [latest - at for latest, at in zip(itertools.accumulate(times, max), times, strict=True)]


def test_submit_killed_triggerer_keeps_the_order_of_the_queue(order):
    granted = [grant.observed_at for grant in order.values()]
    readings = 1 + sum(later - at > SECONDS_OF_A_READING for at, later in itertools.pairwise(sorted(granted)))

    assert readings >= 4  # the first one, and then as jobs of 4, 8 and 12 s end
    assert max(overtaken_by(granted)) <= SECONDS_OF_A_READING


def test_submit_songs_granted_far_apart_come_to_the_service_in_that_order(order, killed_triggerer):
    """Songs of one reading, or of the next, may come in any order: each is on its way for some moments."""
    served = [map_index(job) for job in killed_triggerer.jobs[SLOTS_OF_THE_KILLED:]]

    assert max(overtaken_by([order[song].observed_at for song in served])) <= 2.5 * POKE_INTERVAL


def test_submission_triggerer_was_killed_meanwhile_is_found_and_not_repeated(
    airflow_stack, killed_while_submitting
):
    ended = killed_while_submitting
    song = airflow_stack.xcom(ended.run, "song", map_index=0)

    assert [(task["state"], task["try_number"]) for task in ended.tasks] == [("success", 1)]
    assert (ended.stats.accepted, song["job_id"]) == (1, ended.jobs[0].job_id)
    assert "of an earlier submission is executing" in airflow_stack.log(ended.run, "song", 0)


@pytest.mark.parametrize("when", ["before", "after"])
def test_song_worker_was_killed_is_made_once_by_the_second_try(airflow_stack, play, token, when):
    with EmulatorServer(accounts=1, max_jobs=1, job_seconds=5, token=token) as emulator:
        ended = play(f"songs_with_a_worker_killed_{when}", emulator, timeout=240)

    assert [(task["state"], task["try_number"]) for task in ended.tasks] == [("success", 2)]
    assert ended.stats.accepted == 1
    assert airflow_stack.xcom(ended.run, "song", map_index=0)["job_id"] == ended.jobs[0].job_id


MISSING = Fault(endpoint="outcome", status=404, times=2)
HTML = Fault(endpoint="outcome", body="html", times=2)


def test_outcome_comes_late_is_fetched_by_the_first_try(airflow_stack, play, token):
    with EmulatorServer(accounts=1, max_jobs=1, job_seconds=3, token=token) as emulator:
        emulator.faults.add(MISSING)
        emulator.faults.add(HTML)
        ended = play("songs_with_late_outcomes", emulator)

    assert [(task["state"], task["try_number"]) for task in ended.tasks] == [("success", 1)]
    assert airflow_stack.xcom(ended.run, "song", map_index=0)["result"][0]["status"] == "completed"


def test_outcome_cant_be_had_is_fetched_by_the_retry_and_no_other_song_is_made(airflow_stack, play, token):
    with EmulatorServer(accounts=1, max_jobs=1, job_seconds=3, token=token) as emulator:
        emulator.faults.add(Fault(endpoint="outcome", body="html"))

        def mend(run: DagRun) -> None:
            for _ in attempts(120):
                if any(task["try_number"] == 2 for task in airflow_stack.task_instances(run)):
                    emulator.faults.clear()
                    return
            pytest.fail("there was no retry")

        ended = play("songs_with_outcomes_by_a_retry", emulator, mend)

    assert [(task["state"], task["try_number"]) for task in ended.tasks] == [("success", 2)]
    assert airflow_stack.xcom(ended.run, "song", map_index=0)["result"][0]["status"] == "completed"
    assert ended.stats.accepted == 1


def test_outcome_cant_be_had_is_fetched_when_the_task_is_cleared(airflow_stack, play, token):
    with EmulatorServer(accounts=1, max_jobs=1, job_seconds=3, token=token) as emulator:
        emulator.faults.add(Fault(endpoint="outcome", status=404))

        def clear(run: DagRun) -> None:
            assert airflow_stack.wait(run) == "failed"
            emulator.faults.clear()
            airflow_stack.clear(run, "song")

        ended = play("songs_without_outcomes", emulator, clear)

    assert [task["state"] for task in ended.tasks] == ["success"]
    assert airflow_stack.xcom(ended.run, "song", map_index=0)["result"][0]["status"] == "completed"
    assert ended.stats.accepted == 1


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
            if endpoint == "capacity":
                readings.append(datetime.now(UTC))
            count_request(endpoint)

        emulator.service.count_request = note_readings  # type: ignore[method-assign]

        def kill_songs(run: DagRun) -> None:
            for _ in attempts(90):
                executing = {map_index(job) for job in emulator.service.jobs()}
                waiting = in_triggerer(airflow_stack, run) - executing
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
    grant = grant_of(airflow_stack, killed.ended.run, killed.last)
    granted = datetime.fromtimestamp(grant.observed_at + 0.1, UTC)

    assert 1 <= len([reading for reading in killed.readings if cancelled < reading < granted]) <= 2


def test_submit_task_after_killed_ones_succeeds_at_its_first_try(killed):
    tasks = {task["map_index"]: (task["state"], task["try_number"]) for task in killed.ended.tasks}

    assert tasks[killed.last] == ("success", 1)
