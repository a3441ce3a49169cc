"""The benchmarks run and give figures; what the figures are, no test can say on a shared machine."""

from __future__ import annotations

import pytest

from benchmarks import imports, machine, readings
from benchmarks.table import Row, render

pytest.importorskip("airflow.providers.http", reason="the peer is not installed")


def test_imports_are_measured():
    rows = imports.measure(1, warm_up=0)

    assert [row.figure for row in rows] == ["ms, median", "new modules"] * 2
    assert all(row.ours > 0 and row.peer > 0 for row in rows)


def test_readings_are_measured():
    rows = readings.measure(2, rounds=2, warm_up=1)

    assert [row.figure for row in rows] == ["ms, median", "ms, p95"] * 5
    assert all(row.ours > 0 and row.peer > 0 for row in rows)


@pytest.mark.parametrize(
    ("ours", "at_most", "met"), [(1.3, 1.3, True), (1.31, 1.3, False), (9.0, None, None)]
)
def test_a_target_is_met_up_to_its_ratio(ours, at_most, met):
    assert Row("reading", "ms", ours, 1.0, "peer", at_most).met is met


def test_the_table_shows_figures_ratio_and_target():
    table = render([Row("imports", "modules", 11, 226, "HttpSensor", at_most=0.1)])

    assert [cell.strip() for cell in table.splitlines()[2].strip("|").split("|")] == [
        "imports", "modules", "11", "HttpSensor", "226", "0.05", "≤ 0.10: met",
    ]  # fmt: skip


def test_the_machine_is_described():
    assert "apache-airflow-providers-http" in machine.describe()
