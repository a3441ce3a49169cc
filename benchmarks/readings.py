"""What one reading costs a client, against a bare ``requests.get`` and ``HttpHook``."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from statistics import median, quantiles
from typing import TYPE_CHECKING
from unittest.mock import patch

from airflow_riffusion.services import SERVICES
from benchmarks.table import Row

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Client = Callable[[], object]

AT_MOST = 1.3
NOTE = (
    "Readings: every client reads tests/contract/available_200.json from a server in a process of its own "
    "that does nothing but send it, so that the client's cost is what shows. One call of each client in "
    "turn, in several rounds; a figure is its lowest in any round, which a busy neighbour spoils least. "
    "A kept hook, with its TCP connection, is what the gate has; a new one for each reading, its Airflow "
    "connection looked up in an environment variable, is what a task has. requests.get opens a TCP "
    "connection for each call; the kept requests.Session shows what keeping it is worth without us. Parsing: "
    "each service's documented answer, from bytes to Capacity."
)

_CONTRACT = Path(__file__).parents[1] / "tests" / "contract"
_PAYLOAD = _CONTRACT / "available_200.json"
_PAYLOADS = {
    "riffusion": _PAYLOAD,
    "flowmusic": _CONTRACT / "flowmusic.jobs_200.json",
    "tempolor": _CONTRACT / "available_200.tempolor.json",
    "acemusic": _CONTRACT / "acemusic.jobs_200.json",
    "mureka": _CONTRACT / "mureka.jobs_200.json",
    "pixverse": _CONTRACT / "pixverse.available_200.json",
    "kling": _CONTRACT / "available_200.kling.json",
}
_ENDPOINT = "v1/riffusion/scheduler/available"
_TOKEN = "user:1234-abcDEF"
_HEADERS = {"Authorization": f"Bearer {_TOKEN}"}

# Ours, the peer's, and how many times the peer's ours may be.
_COMPARED = (
    ("kept RiffusionHook", "requests.get(…).json()", AT_MOST),
    ("kept RiffusionHook", "kept requests.Session", None),
    ("kept RiffusionHook", "kept HttpHook", None),
    ("new RiffusionHook", "requests.get(…).json()", None),
    ("new RiffusionHook", "new HttpHook", None),
)


def measure(calls: int = 300, *, rounds: int = 5, warm_up: int = 20) -> list[Row]:
    """
    Read the capacity from one server with each client in turn.

    :param calls: how many readings of each client make a round.
    :param rounds: how many rounds there are; each figure is its lowest in any round.
    :param warm_up: how many readings of each client go before.
    """
    with _server() as url, _connections(url):
        clients = _clients(url)
        _times(clients, warm_up)
        all_times = [_times(clients, calls) for _ in range(rounds)]
    rows = []
    for ours, peer, at_most in _COMPARED:
        for figure, of, target in (("ms, median", median, at_most), ("ms, p95", _p95, None)):
            our_figure, peer_figure = (min(of(times[name]) for times in all_times) for name in (ours, peer))
            rows.append(Row(f"get_capacity(), {ours}", figure, our_figure, peer_figure, peer, target))
    return rows + _parsing(calls, rounds)


def _parsing(calls: int, rounds: int) -> list[Row]:
    """Parse the answer of each service."""
    clients: dict[str, Client] = {
        name: partial(
            SERVICES[name].read_capacity, path.read_bytes(), observed_at=datetime.now(UTC), max_jobs=10
        )
        for name, path in _PAYLOADS.items()
    }
    all_times = [_times(clients, calls) for _ in range(rounds)]
    return [
        Row(f"parse a reading, {name}", "ms, median", min(median(times[name]) for times in all_times))
        for name in clients
    ]


def _times(clients: dict[str, Client], calls: int) -> dict[str, list[float]]:
    times: dict[str, list[float]] = {name: [] for name in clients}
    order = list(clients)
    for _ in range(calls):
        order.append(order.pop(0))  # each is first once in a while
        for name in order:
            start = time.perf_counter()
            clients[name]()
            times[name].append((time.perf_counter() - start) * 1000)
    return times


def _clients(url: str) -> dict[str, Client]:
    # Late: Airflow reads its settings from the environment while it is being imported.
    import requests
    from airflow.providers.http.hooks.http import HttpHook

    from airflow_riffusion.hooks.riffusion import RiffusionHook

    address = f"{url}/{_ENDPOINT}"
    session = requests.Session()
    riffusion_hook = RiffusionHook("benchmark_riffusion")
    http_hook = HttpHook("GET", "benchmark_http")
    return {
        "requests.get(…).json()": lambda: requests.get(address, headers=_HEADERS).json(),
        "kept requests.Session": lambda: session.get(address, headers=_HEADERS).json(),
        "kept RiffusionHook": riffusion_hook.get_capacity,
        "new RiffusionHook": lambda: RiffusionHook("benchmark_riffusion").get_capacity(),
        "kept HttpHook": lambda: http_hook.run(_ENDPOINT, headers=_HEADERS).json(),
        "new HttpHook": lambda: HttpHook("GET", "benchmark_http").run(_ENDPOINT, headers=_HEADERS).json(),
    }


@contextmanager
def _server() -> Iterator[str]:
    command = [sys.executable, "-m", "benchmarks.server", str(_PAYLOAD)]
    with subprocess.Popen(
        command, cwd=Path(__file__).parents[1], stdout=subprocess.PIPE, text=True
    ) as server:
        try:
            assert server.stdout is not None
            url = server.stdout.readline().strip()
            if not url:
                raise RuntimeError("the server did not start")
            yield url
        finally:
            server.kill()


@contextmanager
def _connections(url: str) -> Iterator[None]:
    """Name the server in two connections, and no proxy."""
    host, port = url.removeprefix("http://").split(":")
    connections = {
        "AIRFLOW_CONN_BENCHMARK_RIFFUSION": {"conn_type": "riffusion", "password": _TOKEN, "host": url},
        "AIRFLOW_CONN_BENCHMARK_HTTP": {"conn_type": "http", "host": host, "port": int(port)},
    }
    kept = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    stored = {name: json.dumps(connection) for name, connection in connections.items()}
    with patch.dict(os.environ, kept | stored, clear=True):
        yield


def _p95(times: list[float]) -> float:
    return quantiles(times, n=20, method="inclusive")[-1]
