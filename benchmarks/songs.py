"""What a hundred songs cost a real Airflow, from their order to the end of the last one."""

from __future__ import annotations

import json
import statistics
import tempfile
from datetime import datetime
from typing import TYPE_CHECKING, Any

from benchmarks.airflow import measured_airflow, reach
from benchmarks.contenders import SENSOR_INTERVAL
from benchmarks.service import emulator
from benchmarks.table import Row
from dev.processes import interrupts_unwind

if TYPE_CHECKING:
    from collections.abc import Mapping

    from benchmarks.airflow import MeasuredAirflow
    from benchmarks.service import Service

    Figures = dict[str, float]

# What is measured, by its DAG in benchmarks/dags/songs.py.
OURS = {
    "operator": "RiffusionSubmitOperator",
    "ended_by_trigger": "… ended by the trigger",
    "no_worker_song": "… no worker",
    "sensor_and_task": "CapacitySensor and a task",
}
PEER = "http_sensor_and_operator"
SLOTS = 20
JOB_SECONDS = 20.0
NOTE = (
    f"Songs: jobs of {JOB_SECONDS:g} s on {SLOTS} slots of an emulator in a process of its own, ordered at "
    "once as mapped tasks on a real Airflow with LocalExecutor and sqlite; one way after the other. "
    "RiffusionSubmitOperator with its defaults, with end_from_trigger, and with start_from_trigger as "
    "well; CapacitySensor and a task that submits by the hook; HttpSensor(mode='reschedule') of "
    f"providers-http, every {SENSOR_INTERVAL:g} s, and HttpOperator with a retry every 10 s. Makespan: "
    "from the order until the last job is over. Slots busy: of all slots, from the start of the first job "
    "to the end of the last. From grant to accepted: from the log's line, or the time of the reading that "
    "granted a sensor its slot, to the start of the job. Status requests, refused submissions: what the "
    "emulator counted. Worker processes and CPU: as for gates, until the run is over. One song of each "
    "kind has been made before."
)

_TIMEOUT = 1800.0
_OTHER_GETS = ("accounts", "outcome", "audio")
_GRANTS = (
    "SELECT map_index, value FROM xcom WHERE dag_id = ? AND task_id = 'song.wait' AND key = 'return_value'"
)


def measure(count: int = 100) -> list[Row]:
    """
    Make songs on a real Airflow in each way, and see what it costs.

    :param count: how many songs are ordered at once.
    """
    dag_ids = (*OURS, PEER)
    with (
        interrupts_unwind(),
        tempfile.TemporaryDirectory(prefix="airflow-riffusion-bench-") as home,
        emulator(SLOTS, JOB_SECONDS) as service,
        measured_airflow(
            home,
            {"riffusion_default": service.connection(), "http_default": service.http_connection()},
            BENCHMARK_SONGS=str(count),
            BENCHMARK_HTTP_SENSOR_INTERVAL=str(SENSOR_INTERVAL),
        ) as airflow,
    ):
        airflow.warm_up([f"{dag_id}_warm_up" for dag_id in dag_ids])
        return rows(count, {dag_id: run(airflow, service, dag_id, count) for dag_id in dag_ids})


def rows(count: int, figures: Mapping[str, Figures]) -> list[Row]:
    """
    Set each figure of ours beside the peer's.

    :param count: how many songs were made.
    :param figures: by DAG, and then by what they are.
    """
    return [
        Row(
            f"{count} songs, {name}",
            figure,
            ours,
            figures[PEER].get(figure),
            "HttpSensor, HttpOperator" if figure in figures[PEER] else "",
            **({} if dag_id == "sensor_and_task" else target(figure, workers=dag_id != "no_worker_song")),
        )
        for dag_id, name in OURS.items()
        for figure, ours in figures[dag_id].items()
    ]


def busy(jobs: list[dict[str, Any]], slots: int) -> float:
    """Return which part of the slots' time the jobs took, from the first start to the last end (percent)."""
    times = [(_time(job["started"]), _time(job["ended"])) for job in jobs]
    span = max(end for _, end in times) - min(start for start, _ in times)
    return 100 * sum(end - start for start, end in times) / (slots * span)


def target(figure: str, *, workers: bool) -> dict[str, float]:
    """
    Return the target of a figure of the operator, as arguments of a row; empty if there is none.

    :param figure: which.
    :param workers: whether workers may take part.
    """
    targets = {
        "slots busy, %": {"ours_at_least": 95.0},
        "s from grant to accepted, median": {"ours_at_most": 1.0},
        "refused submissions": {"ours_at_most": 0.0},
    }
    if not workers:
        targets["worker processes"] = {"ours_at_most": 0.0}
    return targets.get(figure, {})


def run(airflow: MeasuredAirflow, service: Service, dag_id: str, count: int) -> Figures:
    """
    Make songs in one way on one service, and see what it costs.

    :param airflow: where.
    :param service: what makes them.
    :param dag_id: the DAG that orders them all at once.
    :param count: how many there are.
    """
    service.free_all()
    cpu_before = airflow.cpu_seconds()
    dag_run = airflow.stack.trigger(dag_id)
    made, makespan = reach(count, lambda: service.stats()["completed"], _TIMEOUT)
    if made < count:
        raise TimeoutError(f"{dag_id}: {made} of {count} songs are made after {_TIMEOUT:g} s")
    airflow.stack.wait(dag_run, _TIMEOUT)
    cpu, stats, jobs = airflow.cpu_seconds() - cpu_before, service.stats(), service.jobs()
    figures = {
        "s makespan": makespan,
        "slots busy, %": busy(jobs, stats["slots"]),
        "refused submissions": stats["refusals"],
        "status requests": stats["requests_by_endpoint"]["capacity"],
        "other GET requests": sum(stats["requests_by_endpoint"][endpoint] for endpoint in _OTHER_GETS),
        "worker processes": airflow.worker_processes(dag_id),
        "CPU s of all Airflow": cpu,
    }
    if delays := _delays(airflow, dag_id, jobs):
        figures["s from grant to accepted, median"] = statistics.median(delays)
        figures["s from grant to accepted, max"] = max(delays)
    return figures


def _delays(airflow: MeasuredAirflow, dag_id: str, jobs: list[dict[str, Any]]) -> list[float]:
    """Return how long it took from each song's grant to the start of its job; empty without grants."""
    granted = _granted_by_trigger(airflow, dag_id) or _granted_to_sensor(airflow, dag_id)
    if not granted:
        return []
    started = {int(job["prompt"].removeprefix("song ")): _time(job["started"]) for job in jobs}
    return [started[index] - at for index, at in granted.items() if index in started]


def _granted_by_trigger(airflow: MeasuredAirflow, dag_id: str) -> dict[int, float]:
    granted = {}
    for log in (airflow.home / "logs" / f"dag_id={dag_id}").rglob("task_id=song/*/*.trigger.*"):
        index = int(log.parent.name.removeprefix("map_index="))
        for line in log.read_text().splitlines():
            entry = json.loads(line)
            if str(entry.get("event")).startswith("Granted "):
                granted[index] = _time(entry["timestamp"])
    return granted


def _granted_to_sensor(airflow: MeasuredAirflow, dag_id: str) -> dict[int, float]:
    granted = {}
    for index, value in airflow.rows(_GRANTS, dag_id):
        xcom = json.loads(value)
        xcom = json.loads(xcom) if isinstance(xcom, str) else xcom
        granted[index] = _time(xcom["observed_at"])
    return granted


def _time(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()
