"""The emulator as a program: its options, and what it does with them."""

from __future__ import annotations

import logging
import signal
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NoReturn

from airflow_riffusion.emulator.dialects import DIALECTS

if TYPE_CHECKING:
    from argparse import Namespace
    from types import FrameType

DESCRIPTION = "useapi.net's scheduler service on your own machine."

OPTIONS: dict[tuple[str, ...], dict[str, Any]] = {
    ("--accounts",): {
        "type": int,
        "default": 2,
        "metavar": "N",
        "help": "how many accounts there are (%(default)s)",
    },
    ("--max-jobs",): {
        "type": int,
        "default": 2,
        "metavar": "N",
        "help": "slots per account, 1 to 10 (%(default)s)",
    },
    ("--job-seconds",): {
        "type": float,
        "default": 20,
        "metavar": "S",
        "help": "how long a job takes (%(default)s s)",
    },
    ("--other-clients-per-minute",): {
        "type": float,
        "default": 0,
        "metavar": "R",
        "help": "other clients a minute (%(default)s)",
    },
    ("--hide-full-accounts",): {
        "action": "store_true",
        "help": "list no account that has no free slot, as some services do",
    },
    ("--port",): {
        "type": int,
        "default": 8099,
        "help": "port to listen on; 0 picks a free one (%(default)s)",
    },
    ("--host",): {
        "default": "127.0.0.1",
        "help": "address to listen on; beyond loopback only with a --token",
    },
    ("--token",): {"metavar": "T", "help": "the one API token to accept; without it, any will do"},
    ("--service",): {
        "choices": list(DIALECTS),
        "default": "riffusion",
        "help": "what to speak like (%(default)s)",
    },
    ("--seed",): {"type": int, "metavar": "N", "help": "makes whatever is left to chance repeat itself"},
}
"""The options as ``argparse`` has them: flags, and the arguments of ``add_argument``."""

_EXTRA = ("fastapi", "starlette", "uvicorn", "h11")


def run(options: Namespace) -> int:
    """
    Run the emulator until SIGINT or SIGTERM.

    :param options: what was given for :data:`OPTIONS`; anything else in it is ignored.
    :return: the exit code: 0, 1 if it can't run here, or 2 if an option makes no sense.
    """
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
    given = {name: getattr(options, name) for name in map(_name, OPTIONS)}
    try:
        emulator = EmulatorServer(**given)
    except ValueError as error:
        name, _, problem = str(error).partition(":")
        return _complain(2, f"error: --{name.replace('_', '-')}:{problem}")
    try:
        emulator.run(when_ready=lambda: _announce(emulator.url, options))
    except OSError as error:
        reason = str(error.strerror).partition(" (")[0]
        return _complain(1, f"Can't listen on {options.host}, port {options.port}: {reason}")
    return 0


def _name(flags: tuple[str, ...]) -> str:
    return flags[-1].removeprefix("--").replace("-", "_")


def _complain(exit_code: int, message: str) -> int:
    if sys.stderr is not None:
        sys.stderr.write(f"{message}\n")
    return exit_code


def _announce(url: str, options: Namespace) -> None:
    accounts = f"{options.accounts} account{'s' if options.accounts > 1 else ''}"
    slots = f"{options.max_jobs} slot{'s' if options.max_jobs > 1 else ''}"
    others = (
        f", {options.other_clients_per_minute:g} other clients a minute"
        if options.other_clients_per_minute
        else ""
    )
    hidden = ", full accounts are not listed" if options.hide_full_accounts else ""
    with suppress(OSError):  # That nobody can read it is no reason not to listen.
        sys.stdout.write(
            f"{DIALECTS[options.service].title} emulator ready on {url} "
            f"({accounts} x {slots}, jobs take {options.job_seconds:g} s{others}{hidden})\n"
        )
        sys.stdout.flush()


def _stop(_signal: int, _frame: FrameType | None) -> NoReturn:
    raise SystemExit(0)
