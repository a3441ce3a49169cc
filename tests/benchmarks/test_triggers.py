"""The triggers' benchmark gives figures; what the figures are, no test can say on a shared machine."""

from __future__ import annotations

import logging
import os

import airflow_riffusion.triggers.capacity  # noqa: F401 - importing Airflow sets up its own logging
from benchmarks import triggers


def test_waiting_triggers_are_measured():
    environment, handlers = dict(os.environ), logging.getLogger().handlers[:]

    rows = triggers.measure((120,), intervals=1, rounds=1)

    assert {row.measured for row in rows} == {"120 waiting CapacityTriggers"}
    figures = {row.figure: row.ours for row in rows}
    assert 0 < figures["requests per interval"] <= 2
    assert figures["KiB per waiter"] > 0
    assert figures["ms blocked after that"] > 0
    assert figures["ms to event, median"] > 0
    assert (dict(os.environ), logging.getLogger().handlers) == (environment, handlers)
