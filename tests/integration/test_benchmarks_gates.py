"""What the gates' benchmark makes of what it has counted; the figures themselves need a real Airflow."""

from __future__ import annotations

import subprocess
import sys

import psutil
import pytest

from benchmarks import airflow, gates

# More than is expected: Linux counts user and system time in hundredths of a second, each rounded down.
BURN = "import time\nwhile time.process_time() < 0.25: pass"
# Lets a child work until it has ended; then says so, and stays.
PARENT = f"""\
import subprocess, sys
subprocess.run([sys.executable, "-c", {BURN!r}])
print(flush=True)
sys.stdin.read()
"""
# Has a child that stays, and that says when its own child has worked.
GRANDPARENT = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {PARENT!r}])"


def test_rows_each_figure_is_beside_the_same_of_the_peers():
    rows = gates.rows(
        3,
        {
            "deferred_by_worker": {"worker processes": 6, "status requests": 2},
            "no_worker": {"worker processes": 0, "status requests": 1},
            "http_sensor": {"worker processes": 9, "status requests": 8},
        },
    )

    assert [(row.measured, row.figure, row.ours, row.peer) for row in rows] == [
        ("3 gates, deferred by a worker", "worker processes", 6, 9),
        ("3 gates, deferred by a worker", "status requests", 2, 8),
        ("3 gates, no worker", "worker processes", 0, 9),
        ("3 gates, no worker", "status requests", 1, 8),
    ]


@pytest.mark.parametrize("code", [PARENT, GRANDPARENT])
def test_cpu_seconds_of_ended_descendants_are_counted(code):
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as top:
        top.stdout.readline()

        assert airflow.cpu_seconds([psutil.Process(top.pid)]) >= 0.2
