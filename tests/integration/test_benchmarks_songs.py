"""What the songs' benchmark makes of what it has counted; the figures themselves need a real Airflow."""

from __future__ import annotations

import pytest

from benchmarks import songs


def job(start, end):
    return {"started": f"2026-01-01T12:00:{start:02d}+00:00", "ended": f"2026-01-01T12:00:{end:02d}+00:00"}


def test_busy_is_the_part_of_the_slots_time_that_jobs_took():
    assert songs.busy([job(0, 20), job(0, 10), job(20, 40)], slots=2) == pytest.approx(62.5)


def test_rows_each_figure_is_beside_the_peers_with_its_target():
    figures = {dag_id: {"worker processes": 2, "slots busy, %": 96.0} for dag_id in songs.OURS}
    figures[songs.PEER] = {"worker processes": 9, "slots busy, %": 60.0}

    rows = {(row.measured, row.figure): row for row in songs.rows(5, figures)}

    busy = rows["5 songs, RiffusionSubmitOperator", "slots busy, %"]
    assert (busy.ours, busy.peer, busy.met) == (96.0, 60.0, True)
    assert rows["5 songs, … no worker", "worker processes"].met is False
    assert rows["5 songs, CapacitySensor and a task", "slots busy, %"].met is None
