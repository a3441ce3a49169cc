"""Songs on the services that live, on a real Airflow: whatever a service calls things, a song is a song."""

from __future__ import annotations

import itertools
import json
import wave
from dataclasses import dataclass
from datetime import datetime
from io import BytesIO
from typing import TYPE_CHECKING, Any

import pytest
import requests

from airflow_riffusion.emulator import EmulatorServer
from airflow_riffusion.emulator.faults import Fault
from tests.system.dags.services import SERVICES

if TYPE_CHECKING:
    from airflow_riffusion.emulator.records import Job, Stats

EXTRAS = {"mureka": {"max_jobs": 2}}


@dataclass(frozen=True)
class Ended:
    """What there is to tell of a run: the songs' XComs, by map index; how they ended; what was counted."""

    songs: dict[int, dict[str, Any]]
    states: dict[int, str]
    jobs: list[Job]
    stats: Stats
    seconds: float
    logs: dict[int, str]
    files: list[bytes]


@pytest.fixture(scope="module")
def connect(airflow_stack, token):
    """Return a function that stores a connection to an emulator of a service."""

    def connect(conn_id: str, service: str, emulator: EmulatorServer) -> None:
        extra = json.dumps({"service": service, **EXTRAS.get(service, {})})
        airflow_stack.create_connection(conn_id, "riffusion", host=emulator.url, password=token, extra=extra)

    return connect


@pytest.fixture(scope="module")
def play(airflow_stack, connect, token):
    """Return a function that runs a DAG against an emulator of a service."""

    def play(dag_id: str, service: str, *faults: Fault, **options: Any) -> Ended:
        with EmulatorServer(service=service, token=token, seed=1, **options) as emulator:
            for fault in faults:
                emulator.faults.add(fault)
            connect(dag_id, service, emulator)
            run = airflow_stack.trigger(dag_id)
            airflow_stack.wait(run, 300)
            tasks = {task["map_index"]: task for task in airflow_stack.task_instances(run)}
            states = {index: task["state"] for index, task in tasks.items()}
            songs = {
                index: airflow_stack.xcom(run, "song", map_index=index)
                for index, state in states.items()
                if state == "success"
            }
            begins = min(task["start_date"] or task["queued_when"] for task in tasks.values())
            return Ended(
                songs=songs,
                states=states,
                jobs=emulator.service.jobs(),
                stats=emulator.service.stats(),
                seconds=seconds_between(begins, max(task["end_date"] for task in tasks.values())),
                logs={index: airflow_stack.log(run, "song", index) for index in tasks},
                files=[
                    requests.get(audio["url"], timeout=10).content
                    for song in songs.values()
                    for audio in song["audio"]
                ],
            )

    return play


def seconds_between(begin: str, end: str) -> float:
    return (datetime.fromisoformat(end) - datetime.fromisoformat(begin)).total_seconds()


def is_playable(file: bytes) -> bool:
    with wave.open(BytesIO(file)) as opened:
        return opened.getnframes() > opened.getframerate()


@pytest.fixture(scope="module", params=SERVICES)
def on_service(request, play):
    return play(f"songs_on_{request.param}", request.param, accounts=2, max_jobs=2, job_seconds=5)


def test_songs_on_each_service_succeed(on_service):
    assert on_service.states == {0: "success", 1: "success"}
    assert on_service.stats.refusals == 0


def test_songs_on_each_service_have_audio_that_plays(on_service):
    assert all(song["audio"] for song in on_service.songs.values())
    assert all(is_playable(file) for file in on_service.files)
    assert len(set(on_service.files)) == len(on_service.files)


def test_songs_on_each_service_name_their_jobs(on_service):
    made = {(str(job.job_id), job.user_id) for job in on_service.jobs}

    assert {(song["job_id"], song["user_id"]) for song in on_service.songs.values()} == made


@pytest.fixture(scope="module")
def with_lost_answers(play):
    """Make 10 songs on 3 slots, while the answers to two submissions are lost: their jobs last longer."""
    durations = itertools.cycle((8.0, 8.0, 8.0, 30.0))
    return play(
        "songs_on_flowmusic_with_lost_answers",
        "flowmusic",
        Fault(endpoint="submit", lose_answer=True, every=4, times=2),
        accounts={"one@example.com": 2, "two:@example.com": 1},
        job_seconds=lambda: next(durations),
    )


def test_flowmusic_songs_with_lost_answers_are_made_once(with_lost_answers):
    assert set(with_lost_answers.states.values()) == {"success"}
    assert sorted(job.prompt for job in with_lost_answers.jobs) == sorted(
        f"song {index}" for index in range(10)
    )


def test_flowmusic_songs_with_lost_answers_have_audio_each(with_lost_answers):
    assert [len(song["audio"]) > 0 for song in with_lost_answers.songs.values()] == [True] * 10


def test_flowmusic_takes_one_reading_per_interval_and_asks_seldom_for_accounts(with_lost_answers):
    requests = with_lost_answers.stats.requests_by_endpoint

    assert requests["capacity"] <= with_lost_answers.seconds / 2 + 2
    assert requests["accounts"] <= with_lost_answers.seconds / 60 + 1


def test_flowmusic_failed_song_fails_its_task_with_the_reason(play):
    ended = play(
        "songs_on_flowmusic_that_fail",
        "flowmusic",
        Fault(endpoint="submit", job_error="the prompt has no verb", times=1),
        accounts=1,
        max_jobs=2,
        job_seconds=5,
    )

    assert sorted(ended.states.values()) == ["failed", "success"]
    (failed,) = (index for index, state in ended.states.items() if state == "failed")
    assert "failed: the prompt has no verb" in ended.logs[failed]


@pytest.mark.parametrize("dag_id", ["riffusion_album", "flowmusic_album"])
def test_album_saves_the_audio_of_each_song_and_a_playlist(
    airflow_stack, emulator, connect, token, tmp_path, dag_id
):
    prompts = ["a lullaby for a lighthouse", "polka on the moon", "rain on a tin roof"]
    with EmulatorServer(
        service="flowmusic", token=token, accounts=1, max_jobs=3, job_seconds=12
    ) as flowmusic:
        connect("flowmusic_album", "flowmusic", flowmusic)
        run = airflow_stack.trigger(dag_id, {"prompts": prompts, "folder": tmp_path.as_uri()})
        assert airflow_stack.wait(run, 240) == "success"
        songs = [airflow_stack.xcom(run, "song", map_index=index) for index in range(3)]
        served = [requests.get(audio["url"], timeout=10).content for song in songs for audio in song["audio"]]

    lines = (tmp_path / "album.m3u8").read_text().splitlines()
    saved = [(tmp_path / line).read_bytes() for line in lines if not line.startswith("#")]
    assert lines[0] == "#EXTM3U"
    assert saved == served
    assert len(set(saved)) == len(saved) >= 3
    assert all(is_playable(file) for file in saved)


def test_tempolor_two_jobs_of_one_submission_are_one_song_with_two_files(play):
    ended = play(
        "songs_on_tempolor_in_pairs",
        "tempolor",
        accounts=1,
        max_jobs=4,
        job_seconds=5,
        jobs_per_submission=2,
        audio_delay=3,
    )

    assert ended.states == dict.fromkeys(range(3), "success")
    assert [(len(song["job_ids"]), len(song["audio"])) for song in ended.songs.values()] == [(2, 2)] * 3
    assert ended.stats.refusals == 0
