"""A DAG that an ``AssetWatcher`` starts, on an Airflow of its own: its watcher never stops polling."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass, field

import pytest

from airflow_riffusion.emulator import EmulatorServer
from dev.airflow_client import DagRun, attempts
from dev.airflow_stack import AirflowStack
from tests.system.conftest import EXAMPLE_DAGS

DAG = "riffusion_on_capacity"
ENOUGH = 2  # readings, until what the first of them leads to has happened


@dataclass
class Story:
    """How many runs there were after each of its parts, and what they were told and made."""

    runs: dict[str, int] = field(default_factory=dict)
    payloads: list[dict] = field(default_factory=list)
    states: set[str] = field(default_factory=set)
    log: str = ""


class Stage:
    """The Airflow and the service that the story needs."""

    def __init__(self, airflow, service, dag_file):
        self.airflow = airflow
        self.service = service
        self.dag_file = dag_file

    def unpause(self):
        self.airflow.await_dag(DAG)
        self.airflow.request("PATCH", f"dags/{DAG}", json={"is_paused": False})
        os.utime(self.dag_file)  # Airflow looks for a DAG's watchers when it parses its file.

    def await_readings(self):
        wanted = self.service.stats().requests_by_endpoint["available"] + ENOUGH
        for _ in attempts(120):
            if self.service.stats().requests_by_endpoint["available"] >= wanted:
                return
        pytest.fail("nobody reads")

    def await_songs(self, wanted):
        for _ in attempts(120):
            if len(self.songs()) >= wanted:
                return
        pytest.fail(f"{len(self.songs())} songs of {wanted} were submitted by {len(self.runs())} runs")

    def songs(self):
        return [job for job in self.service.jobs() if (job.reply_ref or "").startswith(DAG)]

    def take_slots(self, number):
        return [self.service.submit("somebody else's song") for _ in range(number)]

    def end(self, jobs):
        for job in jobs:
            self.service.cancel(str(job.job_id))

    def runs(self):
        runs = self.airflow.request("GET", f"dags/{DAG}/dagRuns")["dag_runs"]
        return [DagRun(DAG, run["dag_run_id"]) for run in runs]

    def payloads(self):
        events = self.airflow.request("GET", "assets/events")["asset_events"]
        return [event["extra"]["payload"] for event in events]


@pytest.fixture(scope="module")
def stage(token, tmp_path_factory):
    """Start an Airflow and a service with two accounts of two slots each; the DAG is paused yet."""
    dags = tmp_path_factory.mktemp("dags")
    dag_file = shutil.copy(EXAMPLE_DAGS / f"{DAG}.py", dags)
    with EmulatorServer(accounts=2, max_jobs=2, job_seconds=3600, token=token) as emulator:
        connection = {"conn_type": "riffusion", "host": emulator.url, "password": token}
        with AirflowStack(
            tmp_path_factory.mktemp("airflow"),
            dags_folder=dags,
            connections={"riffusion_default": connection},
        ) as airflow:
            yield Stage(airflow, emulator.service, dag_file)


@pytest.fixture(scope="module")
def story(stage):
    """Let slots come free, restart the triggerer while they are, and let them come free once more."""
    story = Story()

    def note(part):
        stage.await_readings()
        story.runs[part] = len(stage.runs())

    taken = stage.take_slots(4)
    stage.unpause()
    note("while full")
    stage.end(taken)
    stage.await_songs(2)
    note("room, and still some when both songs are made")
    stage.airflow.kill("triggerer")
    stage.airflow.start("triggerer")
    note("after a restart")
    taken = stage.take_slots(2)
    note("full again")
    stage.end(taken)
    stage.await_songs(4)
    note("room again")

    story.payloads = stage.payloads()
    runs = stage.runs()
    stage.end(stage.songs())
    story.states = {stage.airflow.wait(run) for run in runs}
    story.log = stage.airflow.log(runs[0], "songs")
    return story


def test_there_is_no_run_while_all_slots_are_in_use(story):
    assert story.runs["while full"] == 0


def test_a_rise_starts_one_run(story):
    assert story.runs["room, and still some when both songs are made"] == 1


def test_a_killed_triggerer_starts_none_again(story):
    assert story.runs["after a restart"] == 1


def test_the_next_rise_starts_the_next_run(story):
    assert (story.runs["full again"], story.runs["room again"]) == (1, 2)


def test_the_runs_make_their_songs(story):
    assert story.states == {"success"}


def test_a_run_is_told_what_there_is_room_for(story):
    assert all(payload["room"] >= 2 for payload in story.payloads)
    assert f"Room for {story.payloads[0]['room']} songs" in story.log
