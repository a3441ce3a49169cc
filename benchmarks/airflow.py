"""What a benchmark sees of a real Airflow without asking it: that would cost it CPU time."""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from dev.airflow_client import attempts
from dev.airflow_stack import AirflowStack

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping

_WORKERS = "SELECT count(*) FROM log WHERE dag_id = ? AND event = 'running'"


class MeasuredAirflow:
    """A real Airflow with LocalExecutor and sqlite, and what it costs."""

    def __init__(self, stack: AirflowStack, components: Collection[psutil.Process]) -> None:
        self.stack = stack
        self.home = Path(stack.env["AIRFLOW_HOME"])
        self._components = components

    def cpu_seconds(self) -> float:
        """Return the CPU time of all of its processes, and of all that they have started."""
        return cpu_seconds(self._components)

    def worker_processes(self, dag_id: str) -> int:
        """Return how many processes of tasks have told Airflow that they begin."""
        return int(self.rows(_WORKERS, dag_id)[0][0])

    def rows(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        """Ask its database."""
        database = f"{(self.home / 'airflow.db').as_uri()}?mode=ro"
        with closing(sqlite3.connect(database, uri=True)) as connection:
            return connection.execute(query, values).fetchall()

    def warm_up(self, dag_ids: Collection[str]) -> None:
        """Run a DAG of each kind, so that what only the first one takes is in no figure."""
        runs = [self.stack.trigger(dag_id) for dag_id in dag_ids]
        for run in runs:
            if self.stack.wait(run, 300) != "success":
                raise RuntimeError(f"{run.dag_id} failed")


@contextmanager
def measured_airflow(
    home: str, connections: Mapping[str, dict[str, Any]], **env: str
) -> Iterator[MeasuredAirflow]:
    """Run an Airflow with these connections and the DAGs of the benchmarks."""
    others = psutil.Process().children()
    dags = Path(__file__).parent / "dags"
    with AirflowStack(home, dags_folder=dags, connections=connections, env=env) as stack:
        yield MeasuredAirflow(
            stack, [process for process in psutil.Process().children() if process not in others]
        )


def reach(goal: int, look: Callable[[], int], timeout: float) -> tuple[int, float]:
    """Look until the goal is reached or the time is over; return what was reached, and after how long."""
    since = time.monotonic()
    for _ in attempts(timeout):
        reached = look()
        if reached >= goal:
            break
    return reached, min(time.monotonic() - since, timeout)


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
