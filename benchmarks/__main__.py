"""``python -m benchmarks``: measure ours and its peers in one run, and print one table."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
import tempfile
from importlib import import_module
from importlib.metadata import PackageNotFoundError
from typing import TYPE_CHECKING

from benchmarks import machine
from benchmarks.table import render

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.table import Row

PARTS = ("imports", "readings", "model", "triggers", "gates", "songs", "songs_per_service")


def main(arguments: Sequence[str] | None = None) -> int:
    """
    Measure, and print the table; a target that is not met is shown, and no error.

    :param arguments: the command line's, without the program's name; by default this process's.
    :return: the exit code.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    options = _parser().parse_args(arguments)
    try:
        where = machine.describe()
    except PackageNotFoundError as error:
        print(f"{error.name} is not installed; pyproject.toml's group 'bench' has it", file=sys.stderr)
        return 1
    rows: list[Row] = []
    notes = []
    with tempfile.TemporaryDirectory(prefix="airflow-riffusion-bench-") as home:
        # Before Airflow is imported.
        _use_airflow_of_its_own(home)
        for part in options.parts or PARTS:
            print(f"Measuring {part} ...", file=sys.stderr, flush=True)
            module = import_module(f"benchmarks.{part}")
            rows += module.measure()
            notes.append(module.NOTE)
            print(render(rows), file=sys.stderr, flush=True)  # not lost if a later part fails
    command = shlex.join(["python", "-m", "benchmarks", *arguments])
    print("\n\n".join([render(rows), f"Machine: {where}.\nCommand: `{command}`.", *notes]))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "parts", nargs="*", type=_part, metavar="PART", help=f"of {', '.join(PARTS)} (all of them)"
    )
    return parser


def _part(name: str) -> str:
    if name not in PARTS:
        raise argparse.ArgumentTypeError(f"{name!r} is none of {', '.join(PARTS)}")
    return name


def _use_airflow_of_its_own(home: str) -> None:
    """Make Airflow, once it is imported here or in a subprocess, know nothing of this machine's settings."""
    for name in [name for name in os.environ if name.startswith("AIRFLOW_")]:
        del os.environ[name]
    os.environ["AIRFLOW_HOME"] = home


if __name__ == "__main__":
    sys.exit(main())
