"""The console script ``airflow-riffusion``: before 3.2, Airflow can't run commands of providers."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from airflow_riffusion.cli.definition import COMMANDS, GROUP_HELP

if TYPE_CHECKING:
    from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command, which exits by itself."""
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
    options.run(options)


if __name__ == "__main__":
    main()
