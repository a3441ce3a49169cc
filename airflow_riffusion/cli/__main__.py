"""The console script ``airflow-riffusion``: Airflow before 3.2 knows no commands of providers."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from airflow_riffusion.cli.definition import COMMANDS, GROUP_HELP

if TYPE_CHECKING:
    from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """
    Run a command.

    :param arguments: the command line's, without the program's name; by default this process's.
    :return: the exit code.
    """
    parser = argparse.ArgumentParser(
        prog="airflow-riffusion", description=f"{GROUP_HELP}.", allow_abbrev=False
    )
    subparsers = parser.add_subparsers(required=True, metavar="COMMAND")
    for command in COMMANDS:
        subparser = subparsers.add_parser(
            command.name, help=command.help, description=command.description, allow_abbrev=False
        )
        for flags, settings in command.options.items():
            subparser.add_argument(*flags, **settings)
        subparser.set_defaults(run=command.run)
    options = parser.parse_args(arguments)
    exit_code: int = options.run(options)
    return exit_code


if __name__ == "__main__":
    sys.exit(main())
