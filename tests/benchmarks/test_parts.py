"""The benchmarks run and give figures; what the figures are, no test can say on a shared machine."""

from __future__ import annotations

from airflow_riffusion.services import SERVICES
from benchmarks import imports, model, readings


def test_imports_are_measured():
    rows = imports.measure(1, warm_up=0)

    assert [row.figure for row in rows] == ["ms, median", "new modules"] * 3
    assert all(row.ours > 0 and row.peer > 0 for row in rows)


def test_readings_are_measured():
    rows = readings.measure(2, rounds=2, warm_up=1)

    compared, parsed = rows[:10], rows[10:]
    assert [row.figure for row in compared] == ["ms, median", "ms, p95"] * 5
    assert all(row.ours > 0 and row.peer > 0 for row in compared)
    assert [row.measured for row in parsed] == [f"parse a reading, {name}" for name in SERVICES]
    assert all(row.ours > 0 for row in parsed)


def test_model_of_100_tasks_refuses_none_and_keeps_their_order():
    rows = {(row.measured, row.figure): row for row in model.measure([100], intervals=[5])}

    for figure in ("refused submissions", "order violations"):
        assert rows["100 tasks", figure].ours == 0 < rows["100 tasks", figure].peer
    for figure in ("status requests", "throughput, %"):
        assert rows["100 tasks, a reading per 5 s", figure].met
    assert rows["100 tasks, a reading per 5 s", "slot idle between two jobs, s"].ratio > 1
