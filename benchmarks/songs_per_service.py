"""What the same songs cost on each service that makes some."""

from __future__ import annotations

import tempfile
from contextlib import ExitStack

from airflow_riffusion.services import SERVICES
from benchmarks import songs
from benchmarks.airflow import measured_airflow
from benchmarks.service import emulator
from benchmarks.songs import JOB_SECONDS, SLOTS
from benchmarks.table import Row
from dev.processes import interrupts_unwind

MAX_JOBS = 4  # an account of acemusic has no more
MAKERS_OF_SONGS = [name for name, service in SERVICES.items() if service.submit_endpoint]
NOTE = (
    f"Songs per service: as songs, in the mode that needs no worker, with an emulator of each service. "
    f"{SLOTS} slots on accounts of {MAX_JOBS}; mureka does not say how many, so its connection does. Other "
    "GET requests: for accounts, outcomes and audio. mureka wants 3 s between two submissions."
)
_DECIDED_BY_PAUSE = ("slots busy, %", "s from grant to accepted, median")


def measure(count: int = 60) -> list[Row]:
    """
    Make songs on one service after the other.

    :param count: how many songs are ordered at once, of each service.
    """
    with (
        interrupts_unwind(),
        tempfile.TemporaryDirectory(prefix="airflow-riffusion-bench-") as home,
        ExitStack() as emulators,
    ):
        services = {
            name: emulators.enter_context(emulator(SLOTS, JOB_SECONDS, service=name, max_jobs=MAX_JOBS))
            for name in MAKERS_OF_SONGS
        }
        connections = {
            name: service.connection(service=name, max_jobs=MAX_JOBS) for name, service in services.items()
        }
        env = {"BENCHMARK_SONGS_PER_SERVICE": str(count), "BENCHMARK_SERVICES": " ".join(services)}
        with measured_airflow(home, connections, **env) as airflow:
            airflow.warm_up([f"songs_on_{name}_warm_up" for name in services])
            return [
                Row(f"{count} songs on {name}", figure, ours, **_target(name, figure))
                for name, service in services.items()
                for figure, ours in songs.run(airflow, service, f"songs_on_{name}", count).items()
            ]


def _target(name: str, figure: str) -> dict[str, float]:
    if SERVICES[name].submission_interval and figure in _DECIDED_BY_PAUSE:
        return {}
    return songs.target(figure, workers=False)
