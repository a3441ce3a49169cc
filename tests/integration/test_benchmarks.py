"""The table of the benchmarks; `make bench SMOKE=1` tries out the benchmarks themselves."""

from __future__ import annotations

import pytest

from benchmarks import machine
from benchmarks.table import Row, render

pytest.importorskip("airflow.providers.http", reason="the peer is not installed")


@pytest.mark.parametrize(
    ("ours", "at_most", "met"), [(1.3, 1.3, True), (1.31, 1.3, False), (9.0, None, None)]
)
def test_row_target_up_to_its_ratio_is_met(ours, at_most, met):
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
def test_row_target_for_our_figure_ignores_the_peers(target, shown):
    row = Row("model", "requests", 2, 0, "peer", **target)

    assert row.met is not shown.endswith("not met")
    assert row.cells()[-2:] == ("", shown)


def test_render_row_shows_figures_ratio_and_target():
    table = render([Row("imports", "modules", 11, 226, "HttpSensor", at_most=0.1)])

    assert [cell.strip() for cell in table.splitlines()[2].strip("|").split("|")] == [
        "imports", "modules", "11", "HttpSensor", "226", "0.05", "≤ 0.10: met",
    ]  # fmt: skip


def test_describe_machine_names_the_peers_package():
    assert "apache-airflow-providers-http" in machine.describe()
