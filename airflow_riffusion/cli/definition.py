"""
The commands of ``airflow riffusion`` (from Airflow 3.2 on) and ``airflow-riffusion``.

Airflow loads this module with every ``airflow`` command, so it imports next to nothing: the module of a
command is imported when the command runs.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, NoReturn

from airflow_riffusion.emulator.program import DESCRIPTION as EMULATOR_DESCRIPTION
from airflow_riffusion.emulator.program import OPTIONS as EMULATOR_OPTIONS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from airflow.cli.cli_config import CLICommand

GROUP_HELP = "Look at the job slots of your accounts at useapi.net"


@dataclass(frozen=True)
class Command:
    """A command: its module's ``run`` takes the options and returns the exit code."""

    name: str
    help: str
    description: str
    options: Mapping[tuple[str, ...], Mapping[str, Any]]
    module: str

    def run(self, options: argparse.Namespace) -> NoReturn:
        """Run the command and exit: Airflow ignores what a command returns."""
        raise SystemExit(import_module(self.module).run(options))


def seconds(text: str) -> float:
    """Read ``--interval``; argparse names this function where the text is no number."""
    number = float(text)
    if not 1 <= number <= 86_400:
        raise argparse.ArgumentTypeError(f"must be between 1 and 86400 seconds, not {text}")
    return number


CONN_ID = {"default": "riffusion_default", "metavar": "ID", "help": "the Airflow connection (%(default)s)"}
OUTPUT = {
    "choices": ("table", "json"),
    "default": "table",
    "help": "json is what the CapacityOperator returns (%(default)s)",
}
WATCH = {"action": "store_true", "help": "take readings until Ctrl-C, also while the service is unavailable"}
INTERVAL = {
    "type": seconds,
    "default": 5.0,
    "metavar": "S",
    "help": "seconds between the readings of --watch, at least 1 (%(default)g)",
}

COMMANDS = (
    Command(
        name="capacity",
        help="Show which slots are free and which jobs are executing",
        description=(
            "Takes one reading and shows which slots are free and which jobs are executing. Exit codes: "
            "0 the reading was taken, or --watch was ended by Ctrl-C or SIGTERM; "
            "1 no reading could be taken: waiting may help; "
            "2 the service or the connection says no, or an option is wrong: waiting won't help."
        ),
        options={
            ("--conn-id",): CONN_ID,
            ("-o", "--output"): OUTPUT,
            ("--watch",): WATCH,
            ("--interval",): INTERVAL,
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
    """Return the commands for ``airflow``, which asks each provider from 3.2 on."""
    from airflow.cli.cli_config import ActionCommand, Arg, GroupCommand

    commands = [
        ActionCommand(
            name=command.name,
            help=command.help,
            description=command.description,
            func=command.run,
            args=[Arg(flags, **settings) for flags, settings in command.options.items()],
        )
        for command in COMMANDS
    ]
    return [GroupCommand(name="riffusion", help=GROUP_HELP, subcommands=commands)]
