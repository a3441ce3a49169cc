"""``capacity``: what must be so before Airflow is imported."""

from __future__ import annotations

import logging
import os
import signal
import sys
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING

from airflow_riffusion.cli.definition import DEFAULT_INTERVAL
from airflow_riffusion.cli.streams import complain

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Iterator


def run(options: Namespace) -> int:
    """
    Show a reading, or one after another until Ctrl-C.

    :param options: ``conn_id``, ``output``, ``watch``, and ``interval`` in seconds.
    :return: the exit code; see :func:`airflow_riffusion.cli.readings.show`.
    """
    if not options.watch and _was_given(options.interval):
        complain("error: --interval is the time between the readings of --watch: add --watch, or drop it")
        return 2
    if options.watch:
        # Before Airflow is imported, which takes seconds.
        signal.signal(signal.SIGTERM, signal.default_int_handler)
    # As Airflow's own commands do, or Airflow 3 would not look for connections in its database.
    os.environ["_AIRFLOW_PROCESS_CONTEXT"] = "server"
    try:
        with _without_airflows_remarks():
            from airflow_riffusion.cli.readings import show

            return show(options.conn_id, options.output, interval=options.interval if options.watch else None)
    except KeyboardInterrupt:
        if options.watch:
            return 0
        raise


def _was_given(interval: float) -> bool:
    # By identity: argparse hands the default on as it is, and makes a new number of what was given.
    return interval is not DEFAULT_INTERVAL


@contextmanager
def _without_airflows_remarks() -> Iterator[None]:
    """Keep logs and warnings out of the way, some of which go to stdout: the command tells what matters."""
    disabled, chosen = logging.root.manager.disable, sys.warnoptions.copy()
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            if not chosen:
                warnings.simplefilter("ignore")
                # Or Airflow would let its own warnings through again while it is imported.
                sys.warnoptions.append("ignore")
            yield
    finally:
        sys.warnoptions[:] = chosen
        logging.disable(disabled)
