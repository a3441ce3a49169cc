"""What importing sensor and operator costs a DAG file, against providers-http."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from benchmarks.table import Row

OURS = (
    "airflow_riffusion.sensors.capacity",
    "airflow_riffusion.operators.capacity",
    "airflow_riffusion.operators.submit",
)
PEERS = ("airflow.providers.http.sensors.http", "airflow.providers.http.operators.http")
AT_MOST = 0.1

NOTE = (
    "Imports: each run is a fresh interpreter that has imported DAG and BaseOperator from airflow.sdk, as "
    "every DAG file has, and has collected the garbage of that; then the clock starts. BaseSensorOperator "
    "counts as the sensor's. Both sides in turn, after one run of each that counts for nothing (it writes "
    "the bytecode)."
)


@dataclass(frozen=True)
class ImportCost:
    """
    What importing modules costs.

    :param ms: milliseconds, the median of all runs.
    :param modules: how many modules it adds to ``sys.modules``.
    """

    ms: float
    modules: int


def measure(runs: int = 7, *, warm_up: int = 1) -> list[Row]:
    """
    Import our sensor and operator, and the peer's, in fresh interpreters.

    :param runs: how many interpreters of each side count.
    :param warm_up: how many interpreters of each go before.
    """
    ours: list[list[ImportCost]] = []
    peers: list[list[ImportCost]] = []
    for run in range(warm_up + runs):
        for names, costs in ((OURS, ours), (PEERS, peers)):
            cost = _probe(names)
            if run >= warm_up:
                costs.append(cost)
    both, peers_sensor, peers_both = _summary(ours, upto=2), _summary(peers, upto=1), _summary(peers, upto=2)
    return [
        *_rows("import sensor + operator", both, "HttpSensor alone", peers_sensor, AT_MOST),
        *_rows("import sensor + operator", both, "HttpSensor + HttpOperator", peers_both),
        *_rows(
            "… + RiffusionSubmitOperator", _summary(ours, upto=3), "HttpSensor + HttpOperator", peers_both
        ),
    ]


def _rows(
    measured: str, ours: ImportCost, peer_name: str, peer: ImportCost, at_most: float | None = None
) -> tuple[Row, Row]:
    return (
        Row(measured, "ms, median", ours.ms, peer.ms, peer_name, at_most),
        Row(measured, "new modules", ours.modules, peer.modules, peer_name, at_most),
    )


def _summary(runs: list[list[ImportCost]], *, upto: int) -> ImportCost:
    costs = [run[upto - 1] for run in runs]
    return ImportCost(median(cost.ms for cost in costs), max(cost.modules for cost in costs))


def _probe(names: tuple[str, ...]) -> list[ImportCost]:
    probe = subprocess.run(
        [sys.executable, "-m", "benchmarks.import_probe", *names],
        cwd=Path(__file__).parents[1],
        # Without bytecode the compiler would be measured.
        env={name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    last_line = probe.stdout.splitlines()[-1]  # Airflow may have had something to say before
    return [ImportCost(**cost) for cost in json.loads(last_line)]
