"""Many songs on an Airflow of several machines: Celery workers, and triggerers that come and go."""

from __future__ import annotations

import math
import os
import random
import shutil
import time
from collections import Counter
from dataclasses import dataclass
from functools import partial
from itertools import repeat
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from airflow_riffusion.emulator import EmulatorServer
from dev.airflow_client import attempts
from dev.airflow_cluster import AirflowCluster
from dev.servers import PROGRAMS
from tests.system.dags import scale

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airflow_riffusion.emulator.records import Job, Stats

DAG = "albums"
DAG_FILE = Path(__file__).parent / "dags" / "many_machines.py"
SONGS = scale.ALBUMS * 40
SLOTS = 20
# Long enough to keep most slots in use. So three triggerers that knew nothing of each other had 69 of 469
# submissions refused; with 5 to 10 s, where songs wait for Airflow rather than for slots, none.
JOB_SECONDS = (12, 18)
SECONDS_AWAY = 20  # for which a killed triggerer is missing
SECONDS_STALLED = 60  # of a triggerer that goes on afterwards: more than Airflow waits for its heartbeat
TIMEOUT = 900

missing = [name for name, path in PROGRAMS.items() if path is None]
pytestmark = pytest.mark.skipif(
    bool(missing) and "CI" not in os.environ,
    reason=f"needs Debian's packages postgresql and redis-server: there is no {', '.join(missing)}",
)


@dataclass(frozen=True)
class Ended:
    """
    What there is to tell of a run when it has ended.

    :param seconds: how long it took, from just before the albums were ordered.
    :param states: how many task instances ended in each state.
    :param jobs: the songs' jobs, in the order in which they took their slots.
    :param waited_in: for each triggerer, how many triggers it had at the most.
    :param ended_in: for each worker, how many task instances ended there.
    :param stats: what the service counted.
    """

    seconds: float
    states: Counter[str]
    jobs: list[Job]
    waited_in: Counter[str]
    ended_in: Counter[str]
    stats: Stats

    @property
    def submissions(self) -> int:
        return self.stats.requests_by_endpoint["submit"]

    @property
    def slots_in_use(self) -> float:
        """The share of the slots that jobs took, from the first one's start to the last one's end."""
        taken = sum((job.over_at - job.started).total_seconds() for job in self.jobs)
        span = max(job.over_at for job in self.jobs) - self.jobs[0].started
        return taken / (SLOTS * span.total_seconds())

    def __str__(self) -> str:
        figures = {
            "songs made": f"{self.stats.completed} of {SONGS}",
            "submissions in all": self.submissions,
            "submissions refused": self.stats.refusals,
            "status requests": self.stats.requests_by_endpoint["capacity"],
            "makespan": f"{self.seconds:.0f} s",
            "slots in use": f"{self.slots_in_use:.0%} of {SLOTS}",
            "triggers at the most": _listed(self.waited_in),
            "task instances ended": _listed(self.ended_in),
        }
        return "\n".join(f"  {name:22}{figure}" for name, figure in figures.items())


def _listed(counts: Counter[str]) -> str:
    return ", ".join(f"{count} in {name}" for name, count in sorted(counts.items()))


@pytest.fixture(scope="module")
def tell(request):
    """Return a function that shows a text at once, where pytest keeps back what tests print."""
    capture = request.config.pluginmanager.getplugin("capturemanager")
    reporter = request.config.pluginmanager.getplugin("terminalreporter")

    def tell(text: str) -> None:
        with capture.global_and_fixture_disabled():
            reporter.ensure_newline()
            reporter.write_line(text)

    return tell


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """Start an Airflow with two workers and two triggerers."""
    if missing:
        pytest.fail(
            f"Install Debian's packages postgresql and redis-server: there is no {', '.join(missing)}"
        )
    dags = tmp_path_factory.mktemp("dags")
    shutil.copy(DAG_FILE, dags)
    # Two triggerers take all songs, but none can take over all that another one has.
    capacity = {"AIRFLOW__TRIGGERER__CAPACITY": str(int(0.55 * SONGS))}
    with AirflowCluster(tmp_path_factory.mktemp("cluster"), dags_folder=dags, env=capacity) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def ended(cluster, token, tell):
    """
    Make all songs, all albums at once, while triggerers come and go.

    Others have all slots until nearly all songs wait: it is for slots that they shall wait, and not for
    Airflow, which starts them no faster than slots become free.
    """
    coming_and_going = ComingAndGoing(cluster)
    with EmulatorServer(
        accounts=2, max_jobs=SLOTS // 2, job_seconds=partial(next, durations()), token=token, seed=1
    ) as emulator:
        service = emulator.service
        others = [str(service.submit("another client's job").job_id) for _ in range(SLOTS)]
        cluster.create_connection(DAG, "riffusion", host=emulator.url, password=token)
        began = time.monotonic()
        for album in range(scale.ALBUMS):
            cluster.trigger(DAG, {"album": album})
        waited_in: Counter[str] = Counter()
        for _ in attempts(TIMEOUT, interval=1):
            waiting = triggers(cluster)
            waited_in |= waiting
            while others and waiting.total() >= 0.95 * SONGS:
                service.cancel(others.pop())
            coming_and_going.go_on(service.stats().completed)
            if not count(cluster, "state", "dag_run").keys() - {"success", "failed"}:
                break
        ended = Ended(
            seconds=time.monotonic() - began,
            states=count(cluster, "state", "task_instance"),
            jobs=[job for job in service.jobs() if job.status != "cancelled"],
            waited_in=waited_in,
            ended_in=count(cluster, "unixname", "task_instance"),
            stats=service.stats(),
        )
    tell(f"{SONGS} songs:\n{ended}")
    assert coming_and_going.is_over
    return ended


def durations() -> Iterator[float]:
    """Yield how many seconds jobs take: those of others until they are cancelled, and then songs."""
    yield from repeat(3600.0, SLOTS)
    drawn = random.Random(1)
    while True:
        yield drawn.uniform(*JOB_SECONDS)


def triggers(cluster: AirflowCluster) -> Counter[str]:
    """Return how many triggers each triggerer has."""
    found = cluster.query(
        "SELECT unixname, count(*) FROM trigger JOIN job ON job.id = triggerer_id GROUP BY unixname"
    )
    return Counter(dict(found))


def count(cluster: AirflowCluster, column: str, table: str) -> Counter[str]:
    """Return how often each value of a column occurs."""
    found = cluster.query(f"SELECT {column}, count(*) FROM {table} WHERE dag_id = ? GROUP BY {column}", DAG)
    return Counter(dict(found))


class ComingAndGoing:
    """
    A third triggerer comes when some songs are made, and the first one stalls for a minute.

    Airflow gives the triggers of the first one to the others; when it goes on, it must submit nothing twice.
    At half of the songs the second one is killed, and comes back.

    :param cluster: where the triggerers are.
    """

    def __init__(self, cluster: AirflowCluster) -> None:
        self.cluster = cluster
        self.steps = [
            self.third_comes,
            self.first_stalls,
            self.first_goes_on,
            self.second_is_killed,
            self.second_comes_back,
        ]
        self.back_at = math.inf

    @property
    def is_over(self) -> bool:
        return not self.steps

    def go_on(self, made: int) -> None:
        if self.steps and self.steps[0](made):
            self.steps.pop(0)

    def third_comes(self, made: int) -> bool:
        if made >= SONGS / 20:
            self.cluster.start("triggerer-3")
        return made >= SONGS / 20

    def first_stalls(self, made: int) -> bool:
        self.cluster.suspend("triggerer-1")
        self.back_at = time.monotonic() + SECONDS_STALLED
        return True

    def first_goes_on(self, made: int) -> bool:
        if time.monotonic() >= self.back_at:
            self.cluster.resume("triggerer-1")
            return True
        return False

    def second_is_killed(self, made: int) -> bool:
        if made >= SONGS / 2:
            self.cluster.kill("triggerer-2")
            self.back_at = time.monotonic() + SECONDS_AWAY
        return made >= SONGS / 2

    def second_comes_back(self, made: int) -> bool:
        if time.monotonic() >= self.back_at:
            self.cluster.start("triggerer-2")
            return True
        return False


def test_many_machines_make_every_job_once(ended):
    assert len(ended.jobs) == len({job.prompt for job in ended.jobs}) == SONGS
    assert ended.stats.completed == SONGS


def test_many_machines_every_task_succeeds(ended):
    assert set(ended.states) == {"success"}


def test_many_machines_both_workers_end_tasks(ended):
    assert set(ended.ended_in) == {"worker-1", "worker-2"}


def test_many_machines_all_triggerers_have_waiting_tasks(ended):
    assert set(ended.waited_in) == {"triggerer-1", "triggerer-2", "triggerer-3"}


def test_many_machines_no_submission_is_refused(ended):
    assert ended.stats.refusals == 0
