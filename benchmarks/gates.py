"""What waiting costs a real Airflow: hundreds of gates on one scheduler and one triggerer."""

from __future__ import annotations

import sqlite3
import tempfile
import time
from contextlib import closing, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from benchmarks.contenders import SENSOR_INTERVAL
from benchmarks.service import TOKEN, emulator
from benchmarks.table import Row
from dev.airflow_client import attempts
from dev.airflow_stack import AirflowStack
from dev.processes import interrupts_unwind

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from benchmarks.service import Service

    Figures = dict[str, float]

# What is measured, by its DAG in benchmarks/dags/gates.py.
OURS = {"deferred_by_worker": "deferred by a worker", "no_worker": "no worker"}
PEER = "http_sensor"
NOTE = (
    "Gates: so many mapped task groups of one sensor each, on a real Airflow with LocalExecutor and sqlite, "
    "for as many slots of an emulator in a process of its own. One run after the other: CapacitySensor() "
    "with its defaults, which a worker defers and a worker ends; CapacitySensor(start_from_trigger=True, "
    "end_from_trigger=True); HttpSensor(mode='reschedule') of providers-http with a response_check, every "
    f"{SENSOR_INTERVAL:g} s as in the model: with its default of 60 s it would leave a free slot idle for "
    "half a minute. All slots are taken, and become free at once, as long after the run's start for each "
    "sensor. A gate waits once its trigger runs (the trigger's log exists), or once its HttpSensor has "
    "looked and was rescheduled. Airflow starts lower map indexes first, so those that look again can keep "
    "others from ever looking; then 'until all wait' is the whole time. Worker processes: tasks' processes "
    "that told Airflow that they begin (event 'running' in its audit log). CPU: of all of Airflow's "
    "processes and of all that they started, idling included, from the run's start until all have passed. "
    "Status requests: what the emulator counted in that time. Failed tries: those that Airflow repeated. "
    "One gate of each kind has passed before, so what only the first one takes is in no figure."
)

# Without a request for so long, more than twice the gate's interval, nobody waits and nothing is held.
_SILENCE = 12.0
_TIMEOUT = 900.0

_LOOKED = "SELECT count(DISTINCT map_index) FROM log WHERE dag_id = ? AND event = 'up_for_reschedule'"
_PASSED = "SELECT count(*) FROM task_instance WHERE dag_id = ? AND state = 'success'"
_WORKERS = "SELECT count(*) FROM log WHERE dag_id = ? AND event = 'running'"
_FAILED_TRIES = "SELECT count(*) FROM task_instance_history WHERE dag_id = ?"


def measure(count: int = 300, *, wait: float = 120) -> list[Row]:
    """
    Let gates wait in a real Airflow, then free all slots, and see what it costs.

    :param count: how many gates wait at once.
    :param wait: seconds from the start of a run until the slots become free.
    """
    with (
        interrupts_unwind(),
        tempfile.TemporaryDirectory(prefix="airflow-riffusion-bench-") as home,
        emulator(count) as service,
    ):
        others = psutil.Process().children()
        with _airflow(home, count, service.url) as airflow:
            components = [process for process in psutil.Process().children() if process not in others]
            bench = _Bench(airflow, components, service)
            bench.warm_up()
            return rows(count, {dag_id: bench.run(dag_id, count, wait) for dag_id in (*OURS, PEER)})


def rows(count: int, figures: Mapping[str, Figures]) -> list[Row]:
    """
    Set each figure of ours beside the peer's.

    :param count: how many gates waited.
    :param figures: by DAG, and then by what they are.
    """
    return [
        Row(f"{count} gates, {name}", figure, ours, figures[PEER][figure], "HttpSensor, reschedule")
        for dag_id, name in OURS.items()
        for figure, ours in figures[dag_id].items()
    ]


def cpu_seconds(processes: Collection[psutil.Process]) -> float:
    """
    Return the CPU time of processes, of their living descendants, and of those that they have reaped.

    :param processes: the processes; none of them a descendant of another.
    """
    total = 0.0
    for process in processes:
        # A parent comes after its children: one that ends meanwhile is found in its parent's time.
        for each in [*reversed(process.children(recursive=True)), process]:
            with suppress(psutil.NoSuchProcess):
                times = each.cpu_times()
                total += times.user + times.system + times.children_user + times.children_system
    return total


class _Bench:
    """One Airflow, and what can be seen of it without asking it: that would cost it CPU time."""

    def __init__(
        self, airflow: AirflowStack, components: Collection[psutil.Process], service: Service
    ) -> None:
        self._airflow = airflow
        self._components = components
        self._service = service
        self._home = Path(airflow.env["AIRFLOW_HOME"])

    def warm_up(self) -> None:
        """Let one gate of each kind pass."""
        runs = [self._airflow.trigger(f"{dag_id}_warm_up") for dag_id in (*OURS, PEER)]
        for run in runs:
            if self._airflow.wait(run) != "success":
                raise RuntimeError(f"{run.dag_id} failed")

    def run(self, dag_id: str, count: int, wait: float) -> Figures:
        """Let so many gates wait for so long, and then pass."""
        self._service.fill()
        self._await_silence()
        requests_before, cpu_before = self._service.readings(), cpu_seconds(self._components)
        self._airflow.trigger(dag_id)
        waiting, until_waiting = _reach(count, partial(self._waiting, dag_id), wait)
        time.sleep(wait - until_waiting)
        requests_waiting = self._service.readings() - requests_before
        self._service.free_all()
        passed, until_passed = _reach(count, partial(self._count, _PASSED, dag_id), _TIMEOUT)
        if passed < count:
            raise TimeoutError(f"{dag_id}: {passed} of {count} gates have passed after {_TIMEOUT:g} s")
        return {
            f"gates that wait when slots become free, after {wait:g} s": waiting,
            "s until all wait": until_waiting,
            "s from free slots until all have passed": until_passed,
            "worker processes": self._count(_WORKERS, dag_id),
            "CPU s of all Airflow": cpu_seconds(self._components) - cpu_before,
            "status requests": requests_waiting + self._service.readings(),
            "failed tries": self._count(_FAILED_TRIES, dag_id),
        }

    def _await_silence(self) -> None:
        before = None
        for _ in attempts(_TIMEOUT, _SILENCE):
            readings = self._service.readings()
            if readings == before:
                return
            before = readings
        raise TimeoutError(f"somebody still asks for free slots after {_TIMEOUT:g} s")

    def _waiting(self, dag_id: str) -> int:
        logs = (self._home / "logs" / f"dag_id={dag_id}").rglob("*.trigger.*")
        return len({log.parent for log in logs}) + self._count(_LOOKED, dag_id)

    def _count(self, query: str, dag_id: str) -> int:
        database = f"{(self._home / 'airflow.db').as_uri()}?mode=ro"
        with closing(sqlite3.connect(database, uri=True)) as connection:
            count: int = connection.execute(query, [dag_id]).fetchone()[0]
        return count


def _reach(goal: int, look: Callable[[], int], timeout: float) -> tuple[int, float]:
    """Look until the goal is reached or the time is over; return what was reached, and after how long."""
    since = time.monotonic()
    for _ in attempts(timeout):
        reached = look()
        if reached >= goal:
            break
    return reached, min(time.monotonic() - since, timeout)


def _airflow(home: str, count: int, url: str) -> AirflowStack:
    authorization = {"Authorization": f"Bearer {TOKEN}"}
    return AirflowStack(
        home,
        dags_folder=Path(__file__).parent / "dags",
        connections={
            "riffusion_default": {"conn_type": "riffusion", "host": url, "password": TOKEN},
            "http_default": {"conn_type": "http", "host": url, "extra": authorization},
        },
        env={"BENCHMARK_GATES": str(count), "BENCHMARK_HTTP_SENSOR_INTERVAL": str(SENSOR_INTERVAL)},
    )
