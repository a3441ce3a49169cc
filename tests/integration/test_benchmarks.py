"""The benchmarks run and give figures; what the figures are, no test can say on a shared machine."""

from __future__ import annotations

import pytest

from benchmarks import imports, machine, model, readings
from benchmarks.table import Row, render
from tests.versions import needs_airflow_3

pytest.importorskip("airflow.providers.http", reason="the peer is not installed")


@needs_airflow_3  # what it compares with
def test_imports_are_measured():
    rows = imports.measure(1, warm_up=0)

    assert [row.figure for row in rows] == ["ms, median", "new modules"] * 2
    assert all(row.ours > 0 and row.peer > 0 for row in rows)


def test_readings_are_measured():
    rows = readings.measure(2, rounds=2, warm_up=1)

    assert [row.figure for row in rows] == ["ms, median", "ms, p95"] * 5
    assert all(row.ours > 0 and row.peer > 0 for row in rows)


def test_the_model_shows_what_it_costs_to_wait_and_that_none_is_refused_or_passed_over():
    rows = {(row.measured, row.figure): row for row in model.measure([100], intervals=[5])}

    for figure in ("refused submissions", "order violations"):
        assert rows["100 tasks", figure].ours == 0 < rows["100 tasks", figure].peer
    for figure in ("status requests", "throughput, %"):
        assert rows["100 tasks, a reading per 5 s", figure].met
    assert rows["100 tasks, a reading per 5 s", "slot idle between two jobs, s"].ratio > 1


@pytest.mark.parametrize(
    ("ours", "at_most", "met"), [(1.3, 1.3, True), (1.31, 1.3, False), (9.0, None, None)]
)
def test_a_target_is_met_up_to_its_ratio(ours, at_most, met):
    assert Row("reading", "ms", ours, 1.0, "peer", at_most).met is met


@pytest.mark.parametrize(
    ("target", "shown"),
    [
        ({"ours_at_most": 2}, "ours ≤ 2: met"),
        ({"ours_at_most": 1}, "ours ≤ 1: not met"),
        ({"ours_at_least": 2}, "ours ≥ 2: met"),
        ({"ours_at_least": 3}, "ours ≥ 3: not met"),
    ],
)
def test_a_target_for_our_own_figure_holds_whatever_the_peers_is(target, shown):
    row = Row("model", "requests", 2, 0, "peer", **target)

    assert row.met is not shown.endswith("not met")
    assert row.cells()[-2:] == ("", shown)


def test_the_table_shows_figures_ratio_and_target():
    table = render([Row("imports", "modules", 11, 226, "HttpSensor", at_most=0.1)])

    assert [cell.strip() for cell in table.splitlines()[2].strip("|").split("|")] == [
        "imports", "modules", "11", "HttpSensor", "226", "0.05", "≤ 0.10: met",
    ]  # fmt: skip


def test_the_machine_is_described():
    assert "apache-airflow-providers-http" in machine.describe()
