"""
The commands, as ``airflow riffusion`` (from Airflow 3.2 on) and ``airflow-riffusion`` have them alike.

Airflow loads this module with every ``airflow`` command: it imports next to nothing, and what a command does
is loaded when it runs.
"""

from __future__ import annotations

import argparse
import logging
import sys
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

from airflow_riffusion.cli.streams import complain, on_one_line, settle
from airflow_riffusion.emulator.program import DESCRIPTION as EMULATOR_DESCRIPTION
from airflow_riffusion.emulator.program import OPTIONS as EMULATOR_OPTIONS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from airflow.cli.cli_config import CLICommand

GROUP_HELP = "Look at the job slots of Riffusion accounts"

UNABLE = 3
INTERRUPTED = 130  # as a shell has it: 128 + SIGINT

DEFAULT_INTERVAL = 5.0

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Command:
    """
    A command.

    :param name: what it is called by.
    :param help: what it does, in one line.
    :param description: what it does, for ``--help``.
    :param options: its options: flags, and what ``argparse`` is told about them.
    :param module: whose function ``run`` takes the options and returns the exit code.
    """

    name: str
    help: str
    description: str
    options: Mapping[tuple[str, ...], Mapping[str, Any]]
    module: str

    def run(self, options: argparse.Namespace) -> int:
        """
        Do what the command is for.

        Whatever else goes wrong here is one line on stderr; its traceback is logged at DEBUG.

        :param options: the options given.
        :return: the exit code.
        """
        try:
            if sys.stdout is None:
                raise OSError("stdout is closed")
            exit_code: int = import_module(self.module).run(options)
        except KeyboardInterrupt:
            return INTERRUPTED
        except Exception as error:  # noqa: BLE001 - Airflow's settings can fail in any way
            _log.debug("%s can't go on", self.name, exc_info=True)
            said = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
            complain(f"airflow-riffusion {self.name} can't go on here: {on_one_line(said)}")
            return UNABLE
        finally:
            settle()
        return exit_code

    def exit(self, options: argparse.Namespace) -> None:
        """
        Do what the command is for, and end the program: Airflow makes nothing of what a command returns.

        :param options: the options given.
        """
        raise SystemExit(self.run(options))


def _interval(text: str) -> float:
    seconds = float(text)
    if not 1 <= seconds <= 86_400:
        raise argparse.ArgumentTypeError(f"must be between 1 and 86400 seconds, not {text}")
    return seconds


_interval.__name__ = "number"  # what argparse calls a value that float() refuses

COMMANDS = (
    Command(
        name="capacity",
        help="Show which slots are free and which jobs are executing",
        description=(
            "Takes one reading and shows which slots are free and which jobs are executing. Exit codes: "
            "0 the reading was taken, --watch was ended by Ctrl-C or SIGTERM, or nobody reads the output; "
            "1 the service, Airflow's database or a secrets backend is unavailable, or the answer was no "
            "capacity answer: waiting may help; 2 the service or the connection says no, or the options make "
            "no sense; 3 the command can't run here: Airflow's settings, or where its output goes; "
            "130 Ctrl-C before the reading."
        ),
        options={
            ("--conn-id",): {
                "default": "riffusion_default",
                "metavar": "ID",
                "help": "the Airflow connection (%(default)s)",
            },
            ("-o", "--output"): {
                "choices": ("table", "json", "yaml"),
                "default": "table",
                "help": "json and yaml are what the CapacityOperator returns (%(default)s)",
            },
            ("--watch",): {
                "action": "store_true",
                "help": "take readings until Ctrl-C, also while the service is unavailable",
            },
            ("--interval",): {
                "type": _interval,
                "default": DEFAULT_INTERVAL,
                "metavar": "S",
                "help": "seconds between the readings of --watch, at least 1 (%(default)g)",
            },
        },
        module="airflow_riffusion.cli.capacity",
    ),
    Command(
        name="emulator",
        help="Run the service's emulator on this machine",
        description=EMULATOR_DESCRIPTION,
        options=EMULATOR_OPTIONS,
        module="airflow_riffusion.emulator.program",
    ),
)


def get_riffusion_cli_commands() -> list[CLICommand]:
    """Return the commands for ``airflow``, which from 3.2 on asks each provider."""
    from airflow.cli.cli_config import ActionCommand, Arg, GroupCommand

    commands = [
        ActionCommand(
            name=command.name,
            help=command.help,
            description=command.description,
            func=command.exit,
            args=[Arg(flags, **settings) for flags, settings in command.options.items()],
        )
        for command in COMMANDS
    ]
    return [GroupCommand(name="riffusion", help=GROUP_HELP, subcommands=commands)]
