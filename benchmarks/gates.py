"""What waiting costs a real Airflow: hundreds of gates on one scheduler and one triggerer."""

from __future__ import annotations

import tempfile
import time
from functools import partial
from typing import TYPE_CHECKING

from benchmarks.airflow import measured_airflow, reach
from benchmarks.contenders import SENSOR_INTERVAL
from benchmarks.service import emulator
from benchmarks.table import Row
from dev.airflow_client import attempts
from dev.processes import interrupts_unwind

if TYPE_CHECKING:
    from collections.abc import Mapping

    from benchmarks.airflow import MeasuredAirflow
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
_FAILED_TRIES = "SELECT count(*) FROM task_instance_history WHERE dag_id = ?"


def measure(count: int = 300, *, wait: float = 120) -> list[Row]:
    """
    Let gates wait in a real Airflow, then free all slots, and see what it costs.

    :param count: how many gates wait at once.
    :param wait: seconds from the start of a run until the slots become free.
    """
    dag_ids = (*OURS, PEER)
    with (
        interrupts_unwind(),
        tempfile.TemporaryDirectory(prefix="airflow-riffusion-bench-") as home,
        emulator(count) as service,
        measured_airflow(
            home,
            {"riffusion_default": service.connection(), "http_default": service.http_connection()},
            BENCHMARK_GATES=str(count),
            BENCHMARK_HTTP_SENSOR_INTERVAL=str(SENSOR_INTERVAL),
        ) as airflow,
    ):
        airflow.warm_up([f"{dag_id}_warm_up" for dag_id in dag_ids])
        bench = _Bench(airflow, service)
        return rows(count, {dag_id: bench.run(dag_id, count, wait) for dag_id in dag_ids})


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


class _Bench:
    def __init__(self, airflow: MeasuredAirflow, service: Service) -> None:
        self._airflow = airflow
        self._service = service

    def run(self, dag_id: str, count: int, wait: float) -> Figures:
        """Let so many gates wait for so long, and then pass."""
        self._service.fill()
        self._await_silence()
        requests_before, cpu_before = self._service.readings(), self._airflow.cpu_seconds()
        self._airflow.stack.trigger(dag_id)
        waiting, until_waiting = reach(count, partial(self._waiting, dag_id), wait)
        time.sleep(wait - until_waiting)
        requests_waiting = self._service.readings() - requests_before
        self._service.free_all()
        passed, until_passed = reach(count, partial(self._count, _PASSED, dag_id), _TIMEOUT)
        if passed < count:
            raise TimeoutError(f"{dag_id}: {passed} of {count} gates have passed after {_TIMEOUT:g} s")
        return {
            f"gates that wait when slots become free, after {wait:g} s": waiting,
            "s until all wait": until_waiting,
            "s from free slots until all have passed": until_passed,
            "worker processes": self._airflow.worker_processes(dag_id),
            "CPU s of all Airflow": self._airflow.cpu_seconds() - cpu_before,
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
        logs = (self._airflow.home / "logs" / f"dag_id={dag_id}").rglob("*.trigger.*")
        return len({log.parent for log in logs}) + self._count(_LOOKED, dag_id)

    def _count(self, query: str, dag_id: str) -> int:
        return int(self._airflow.rows(query, dag_id)[0][0])
