"""A model of many tasks that all begin to wait at once: requests, refusals, order, throughput."""

from __future__ import annotations

from statistics import fmean
from typing import TYPE_CHECKING

from benchmarks import contenders
from benchmarks.contenders import (
    ACCOUNTS,
    HOLD,
    MEAN,
    SENSOR_INTERVAL,
    SIGMA,
    SLOTS,
    SUBMISSION,
    TRIGGERS,
    Load,
)
from benchmarks.table import Row

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.contenders import Run

TASKS = (100, 500, 2_000, 10_000)
INTERVALS = (5, 10, 15)
AT_LEAST = 97.0

_RUNS_OF = 2_000
_FIGURES = {
    "refused": "refused submissions",
    "violations": "order violations",
    "requests": "status requests",
    "throughput": "throughput, %",
    "idle": "slot idle between two jobs, s",
}

NOTE = (
    f"Model: virtual time, no HTTP, answers take no time. All tasks begin to wait at once for {SLOTS} slots "
    f"on {len(ACCOUNTS)} accounts. Jobs last log-normally (mean {MEAN:.0f} s, sigma {SIGMA}); a submission "
    f"comes {SUBMISSION[0]:.0f}-{SUBMISSION[1]:.0f} s (uniform) after the grant; both are the same for every "
    f"contender, task by task. Figures are means over as many runs as make {_RUNS_OF:,} tasks, at least one. "
    "The all-knowing gate grants each slot, in order, the instant it is free. Each per-task sensor polls "
    f"every {SENSOR_INTERVAL:.0f} s in a phase of its own and passes when it sees a free slot; who is then "
    "refused goes back to polling, and its next submission takes a time drawn anew. Sensors can exceed 100 % "
    "throughput because many tasks race to each slot and the quickest wins: the refusals are its price. "
    f"Ours is the package's SlotLedger with a hold of {HOLD:.0f} s, jobs named by grant_id, and readings "
    "that the model paces as the gate does (interval x 1.0-1.1), so that their number says nothing of the "
    f"gate itself. At most {TRIGGERS:,} tasks are in the ledger, a triggerer's default capacity: these join "
    "in random order, the later ones in theirs as others leave. An order violation is a slot gone to a task "
    "while an earlier one waits: at the grant, or with sensors at the accepted submission. Refusals and "
    "violations of ours are the most at any interval. Throughput is the all-knowing gate's makespan over the "
    "contender's."
)


def measure(tasks: Sequence[int] = TASKS, intervals: Sequence[int] = INTERVALS) -> list[Row]:
    """
    Simulate every contender on the same work.

    :param tasks: how many tasks wait, each number in a simulation of its own.
    :param intervals: seconds between our readings, each likewise.
    """
    return [row for number in tasks for row in _rows(number, intervals)]


def _rows(tasks: int, intervals: Sequence[int]) -> list[Row]:
    loads = [Load(tasks, seed) for seed in range(max(1, _RUNS_OF // tasks))]
    best = _means([contenders.all_knowing(load) for load in loads])
    sensors = _means([contenders.sensors(load) for load in loads])
    ours = {interval: _means([contenders.ours(load, interval) for load in loads]) for interval in intervals}
    sensor, gate = f"sensor per task, {SENSOR_INTERVAL:.0f} s", "all-knowing gate"
    rows = []
    for figure in ("refused", "violations"):
        most = max(means[figure] for means in ours.values())
        rows.append(Row(f"{tasks:,} tasks", _FIGURES[figure], most, sensors[figure], sensor, ours_at_most=0))
    for interval, means in ours.items():
        measured = f"{tasks:,} tasks, a reading per {interval} s"
        limits: dict[str, dict[str, float]] = {
            "requests": {"ours_at_most": int(1 + means["last_request"] / interval)},
            "throughput": {"ours_at_least": AT_LEAST},
        }
        for run in (means, sensors):
            run["throughput"] = 100 * best["makespan"] / run["makespan"]
        for figure, peer, peer_name in (
            ("requests", sensors, sensor),
            ("throughput", sensors, sensor),
            ("idle", best, gate),
        ):
            limit = limits.get(figure, {})
            rows.append(Row(measured, _FIGURES[figure], means[figure], peer[figure], peer_name, **limit))
    return rows


def _means(runs: Sequence[Run]) -> dict[str, float]:
    means = {}
    for figure in ("requests", "refused", "violations", "last_request", "makespan", "idle"):
        mean = fmean(getattr(run, figure) for run in runs)
        means[figure] = int(mean) if mean.is_integer() else mean
    return means
