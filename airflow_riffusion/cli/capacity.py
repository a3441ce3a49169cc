"""``capacity``: what has to happen before Airflow is imported, and the errors of that import."""

from __future__ import annotations

import logging
import os
import signal
import warnings
from typing import TYPE_CHECKING

from airflow_riffusion.cli.output import print_error

if TYPE_CHECKING:
    from argparse import Namespace


def run(options: Namespace) -> int:
    """Show one reading, or with ``--watch`` one after another, and return the exit code."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that a terminal gets its cursor back
    logging.disable(logging.CRITICAL)  # Airflow logs to stdout, which is for readings only.
    warnings.simplefilter("ignore")
    # As Airflow's own commands do: otherwise Airflow 3 does not look for connections in its database.
    os.environ["_AIRFLOW_PROCESS_CONTEXT"] = "server"
    try:
        from airflow.utils.cli import suppress_logs_and_warning

        from airflow_riffusion.cli.readings import show

        options.verbose = False  # what Airflow's function asks for
        suppress_logs_and_warning(show)(options)  # from Airflow 3.2 on, logging.disable() is not enough
    except KeyboardInterrupt:
        return 0 if options.watch else 1
    except Exception as error:  # noqa: BLE001 - Airflow's settings can fail in any way
        print_error(f"The capacity can't be shown: {type(error).__name__}: {error}")
        return 1
    return 0
