"""``python -m airflow_riffusion.emulator``: the emulator as a program."""

from __future__ import annotations

import argparse
import logging
import signal
import sys
from typing import TYPE_CHECKING, NoReturn

from airflow_riffusion.emulator.dialects import DIALECTS

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import FrameType

_EXTRA = ("fastapi", "starlette", "uvicorn", "h11")


def main(arguments: Sequence[str] | None = None) -> int:
    """
    Run the emulator until SIGINT or SIGTERM.

    :param arguments: the command line's, without the program's name; by default this process's.
    :return: the exit code.
    """
    parser = _parser()
    options = parser.parse_args(arguments)
    for stopping in (signal.SIGINT, signal.SIGTERM):
        signal.signal(stopping, _stop)
    logging.basicConfig(format="%(levelname)s %(name)s: %(message)s")
    try:
        from airflow_riffusion.emulator.server import EmulatorServer
    except ModuleNotFoundError as error:
        if error.name not in _EXTRA:
            raise
        parser.exit(1, f"{error.name} is not installed: pip install 'airflow-riffusion[emulator]'\n")
    try:
        emulator = EmulatorServer(**vars(options))
    except ValueError as error:
        name, _, problem = str(error).partition(":")
        parser.error(f"--{name.replace('_', '-')}:{problem}")
    try:
        emulator.run(when_ready=lambda: _announce(emulator.url, options))
    except OSError as error:
        reason = str(error.strerror).partition(" (")[0]
        parser.exit(1, f"Can't listen on {options.host}, port {options.port}: {reason}\n")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m airflow_riffusion.emulator",
        usage="%(prog)s [options]",
        description="useapi.net's scheduler service on your own machine.",
        allow_abbrev=False,
    )
    option = parser.add_argument
    option("--accounts", type=int, default=2, metavar="N", help="how many accounts there are (%(default)s)")
    option("--max-jobs", type=int, default=2, metavar="N", help="slots per account, 1 to 10 (%(default)s)")
    option("--job-seconds", type=float, default=20, metavar="S", help="how long a job takes (%(default)s s)")
    option("--foreign-rate", type=float, default=0, metavar="R", help="other clients a minute (%(default)s)")
    option("--port", type=int, default=8099, help="port to listen on; 0 picks a free one (%(default)s)")
    option("--host", default="127.0.0.1", help="address to listen on; beyond loopback only with a --token")
    option("--token", metavar="T", help="the one API token to accept; without it, any will do")
    option("--service", choices=list(DIALECTS), default="riffusion", help="what to speak like (%(default)s)")
    option("--seed", type=int, metavar="N", help="makes whatever is left to chance repeat itself")
    return parser


def _announce(url: str, options: argparse.Namespace) -> None:
    accounts = f"{options.accounts} account{'s' if options.accounts > 1 else ''}"
    slots = f"{options.max_jobs} slot{'s' if options.max_jobs > 1 else ''}"
    others = f", {options.foreign_rate:g} other clients a minute" if options.foreign_rate else ""
    sys.stdout.write(
        f"{DIALECTS[options.service].title} emulator ready on {url} "
        f"({accounts} x {slots}, jobs take {options.job_seconds:g} s{others})\n"
    )
    sys.stdout.flush()


def _stop(_signal: int, _frame: FrameType | None) -> NoReturn:
    raise SystemExit(0)


if __name__ == "__main__":
    sys.exit(main())
