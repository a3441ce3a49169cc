"""A DAG that an ``AssetWatcher`` starts, on an Airflow of its own: its watcher never stops polling."""

from __future__ import annotations

import os
import shutil
import socket
import threading
from dataclasses import dataclass, field

import pytest

from airflow_riffusion.emulator import EmulatorServer
from airflow_riffusion.emulator.faults import Fault
from dev.airflow_client import FINAL_STATES, DagRun, attempts
from dev.airflow_stack import AirflowStack
from tests.system.conftest import EXAMPLE_DAGS

DAG = "riffusion_on_capacity"


class Statsd:
    """Hears which metrics there are."""

    def __init__(self):
        self.names = set()
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._listener = threading.Thread(target=self._listen, daemon=True)

    def __enter__(self):
        self._socket.bind(("127.0.0.1", 0))
        self._listener.start()
        return self

    def __exit__(self, *_):
        self._socket.sendto(b"", self._socket.getsockname())
        self._listener.join()
        self._socket.close()

    @property
    def settings(self):
        host, port = self._socket.getsockname()
        return {
            "AIRFLOW__METRICS__STATSD_ON": "True",
            "AIRFLOW__METRICS__STATSD_HOST": host,
            "AIRFLOW__METRICS__STATSD_PORT": str(port),
        }

    def _listen(self):
        while packet := self._socket.recv(65536):
            self.names.update(line.partition(":")[0] for line in packet.decode().splitlines())


@dataclass
class Story:
    """How many runs and events there were after each of its parts, and what the runs were told and made."""

    runs: dict[str, tuple[int, int]] = field(default_factory=dict)
    metrics: set[str] = field(default_factory=set)
    payloads: list[dict] = field(default_factory=list)
    states: list[str] = field(default_factory=list)
    log: str = ""


class Stage:
    """The Airflow and the service that the story needs."""

    def __init__(self, airflow, emulator, dag_file):
        self.airflow = airflow
        self.emulator = emulator
        self.service = emulator.service
        self.dag_file = dag_file

    def unpause(self):
        self.airflow.await_dag(DAG)
        self.airflow.request("PATCH", f"dags/{DAG}", json={"is_paused": False})
        os.utime(self.dag_file)  # Airflow looks for a DAG's watchers when it parses its file.

    def await_readings(self, number):
        wanted = self.service.stats().requests_by_endpoint["capacity"] + number
        for _ in attempts(120):
            if self.service.stats().requests_by_endpoint["capacity"] >= wanted:
                return
        pytest.fail("nobody reads")

    def await_watcher(self, wanted):
        for _ in attempts(60):
            if self.watchers_started() >= wanted:
                return
        pytest.fail("no triggerer has taken up the watcher")

    def watchers_started(self):
        return (self.airflow.home / "triggerer.log").read_text().count("Watching for 2 slots")

    def await_run(self):
        for _ in attempts(60):
            if self.runs():
                return
        pytest.fail("slots are unclaimed, but no run")

    def await_songs(self):
        """Wait until the last event's run has submitted a song for each slot."""
        self.await_song(1)
        # Only now: Airflow 3.3 answers 500 to a question for events whose runs have not started.
        self.await_song(self.payloads()[-1]["unclaimed"])

    def await_song(self, number):
        for _ in attempts(120):
            if len(self.songs()) >= number:
                return
        pytest.fail(f"{len(self.songs())} of {number} songs were submitted by {len(self.runs())} runs")

    def songs(self):
        return [job for job in self.service.jobs() if (job.reply_ref or "").startswith(DAG)]

    def take_slots(self, number):
        return [self.service.submit("another client's job") for _ in range(number)]

    def end(self, jobs):
        for job in jobs:
            self.service.complete(str(job.job_id))

    def runs(self):
        runs = self.airflow.request("GET", f"dags/{DAG}/dagRuns")["dag_runs"]
        return [DagRun(DAG, run["dag_run_id"]) for run in runs]

    def payloads(self):
        events = self.airflow.request("GET", "assets/events")["asset_events"]
        return [event["extra"]["payload"] for event in events]


@pytest.fixture(scope="module")
def statsd():
    with Statsd() as statsd:
        yield statsd


@pytest.fixture(scope="module")
def stage(token, statsd, tmp_path_factory):
    """Start an Airflow and a service with two accounts of two slots each; the DAG is paused yet."""
    dags = tmp_path_factory.mktemp("dags")
    dag_file = shutil.copy(EXAMPLE_DAGS / f"{DAG}.py", dags)
    with EmulatorServer(accounts=2, max_jobs=2, job_seconds=3600, token=token) as emulator:
        connection = {"conn_type": "riffusion", "host": emulator.url, "password": token}
        with AirflowStack(
            tmp_path_factory.mktemp("airflow"),
            dags_folder=dags,
            connections={"riffusion_default": connection},
            env=statsd.settings,
        ) as airflow:
            yield Stage(airflow, emulator, dag_file)


@pytest.fixture(scope="module")
def story(stage, statsd):
    """Let slots come free for songs that are refused, restart the triggerer, and let them come free again."""
    story = Story()

    def note(part, readings=2):
        stage.await_readings(readings)
        story.runs[part] = len(stage.runs()), len(stage.payloads())

    taken = stage.take_slots(4)
    stage.unpause()
    note("while full")
    stage.emulator.faults.add(Fault(endpoint="submit", status=400))
    stage.end(taken)
    stage.await_run()
    story.states = [stage.airflow.wait(run) for run in stage.runs()]
    note("when its songs were refused", readings=5)
    stage.airflow.kill("triggerer")
    stage.airflow.start("triggerer")
    stage.await_watcher(2)
    note("after a restart", readings=5)
    stage.emulator.faults.clear()
    taken = stage.take_slots(4)
    note("full again")
    stage.end(taken)
    stage.await_songs()
    note("free again")

    story.metrics = statsd.names
    story.payloads = stage.payloads()
    (run,) = [run for run in stage.runs() if stage.airflow.state(run) not in FINAL_STATES]
    stage.end(stage.songs())  # which frees slots for yet another run
    story.states.append(stage.airflow.wait(run))
    story.log = stage.airflow.log(run, "songs")
    return story


def test_event_dag_while_all_slots_are_in_use_has_no_run(story):
    assert story.runs["while full"] == (0, 0)


def test_event_dag_rise_whose_jobs_are_refused_starts_one_run(story):
    assert story.runs["when its songs were refused"] == (1, 1)


def test_event_dag_killed_triggerer_starts_no_second_run(story):
    assert story.runs["after a restart"] == (1, 1)


def test_event_dag_next_rise_starts_the_next_run(story):
    assert (story.runs["full again"], story.runs["free again"]) == ((1, 1), (2, 2))


def test_event_dag_runs_succeed_unless_their_jobs_are_refused(story):
    assert story.states == ["failed", "success"]


def test_event_dag_run_gets_the_slots_left_by_its_event(story):
    assert all(payload["unclaimed"] >= 2 for payload in story.payloads)
    assert f"Making {story.payloads[-1]['unclaimed']} songs" in story.log


@pytest.mark.parametrize(
    "name",
    ["slots.available", "gate.waiting", "gate.held", "gate.wait", "grants", "request", "request.error"],
)
def test_metrics_of_triggerer_and_workers_reach_statsd(story, name):
    assert f"airflow.riffusion.{name}" in story.metrics
