"""The emulator as a program: its options, and how it runs."""

from __future__ import annotations

import logging
import signal
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NoReturn

from airflow_riffusion.emulator.dialects import TITLES

if TYPE_CHECKING:
    from argparse import Namespace
    from types import FrameType

DESCRIPTION = "useapi.net's scheduler service on your own machine."

OPTIONS: dict[tuple[str, ...], dict[str, Any]] = {
    ("--accounts",): {"type": int, "default": 2, "help": "how many accounts there are (%(default)s)"},
    ("--max-jobs",): {
        "type": int,
        "default": 2,
        "help": "slots per account, up to 10 on most services (%(default)s)",
    },
    ("--job-seconds",): {"type": float, "default": 20, "help": "how long a job takes (%(default)s s)"},
    ("--other-clients-per-minute",): {
        "type": float,
        "default": 0,
        "metavar": "R",
        "help": "how many other clients come for a slot, on average (%(default)s)",
    },
    ("--hide-full-accounts",): {
        "action": "store_true",
        "default": None,
        "help": "list no account without a free slot, as tempolor does anyway",
    },
    ("--port",): {"type": int, "default": 8099, "help": "port to listen on; 0 for any free (%(default)s)"},
    ("--host",): {"default": "127.0.0.1", "help": "where to listen; beyond loopback with a --token only"},
    ("--token",): {"help": "the one API token to accept; without it, any will do"},
    ("--service",): {"choices": list(TITLES), "default": "riffusion", "help": "which one (%(default)s)"},
    ("--seed",): {"type": int, "help": "makes all that is random repeat itself"},
}
"""The options as ``argparse`` has them: flags, and the arguments of ``add_argument``."""

_EXTRA = ("fastapi", "starlette", "uvicorn", "h11")


def run(options: Namespace) -> int:
    """Run until SIGINT or SIGTERM; exit with 0, with 1 if it can't run here, with 2 for a bad option."""
    for stopping in (signal.SIGINT, signal.SIGTERM):
        signal.signal(stopping, _stop)
    logging.basicConfig(format="%(levelname)s %(name)s: %(message)s")
    for name in ("uvicorn", "uvicorn.error"):
        # `airflow riffusion emulator` has Airflow's logging, which writes them to stdout.
        logging.getLogger(name).setLevel(logging.WARNING)
    try:
        from airflow_riffusion.emulator.server import EmulatorServer
    except ModuleNotFoundError as error:
        if error.name not in _EXTRA:
            raise
        return _complain(1, f"{error.name} is not installed: pip install 'airflow-riffusion[emulator]'")
    names = [flags[-1].removeprefix("--").replace("-", "_") for flags in OPTIONS]
    try:
        emulator = EmulatorServer(**{name: getattr(options, name) for name in names})
    except ValueError as error:
        name, _, problem = str(error).partition(":")
        return _complain(2, f"error: --{name.replace('_', '-')}:{problem}")
    try:
        emulator.run(when_ready=lambda: _announce(emulator.url, options))
    except OSError as error:
        reason = str(error.strerror).partition(" (")[0]
        return _complain(1, f"Can't listen on {options.host}, port {options.port}: {reason}")
    return 0


def _complain(exit_code: int, message: str) -> int:
    if sys.stderr is not None:
        sys.stderr.write(f"{message}\n")
    return exit_code


def _announce(url: str, options: Namespace) -> None:
    accounts = f"{options.accounts} account{'s' if options.accounts > 1 else ''}"
    slots = f"{options.max_jobs} slot{'s' if options.max_jobs > 1 else ''}"
    rate = options.other_clients_per_minute
    others = f", {rate:g} other clients a minute" if rate else ""
    hidden = ", full accounts are not listed" if options.hide_full_accounts else ""
    with suppress(OSError):  # It serves also with a closed or full stdout.
        sys.stdout.write(
            f"{TITLES[options.service]} emulator ready on {url} "
            f"({accounts} x {slots}, jobs take {options.job_seconds:g} s{others}{hidden})\n"
        )
        sys.stdout.flush()


def _stop(_signal: int, _frame: FrameType | None) -> NoReturn:
    raise SystemExit(0)
