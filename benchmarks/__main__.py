"""``python -m benchmarks``: measure ours and its peers in one run, and print one table."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
import tempfile
from importlib.metadata import PackageNotFoundError
from typing import TYPE_CHECKING

from benchmarks import imports, machine, model, readings
from benchmarks.table import render

if TYPE_CHECKING:
    from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """
    Measure, and print the table; a target that is not met is shown, and no error.

    :param arguments: the command line's, without the program's name; by default this process's.
    :return: the exit code.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    option = parser.add_argument
    option("--interpreters", type=_several, default=7, metavar="N", help="for each side (%(default)s)")
    option("--calls", type=_several, default=300, metavar="N", help="of each client in a round (%(default)s)")
    option("--rounds", type=_several, default=5, metavar="N", help="of calls (%(default)s)")
    option("--tasks", type=int, nargs="+", choices=model.TASKS, default=model.TASKS, help="modelled (all)")
    options = parser.parse_args(arguments)
    try:
        where = machine.describe()
    except PackageNotFoundError as error:
        parser.exit(1, f"{error.name} is not installed; pyproject.toml's group 'bench' has it\n")
    with tempfile.TemporaryDirectory(prefix="airflow-riffusion-bench-") as home:
        _use_airflow_of_its_own(home)
        _say(f"Importing in 2 x {options.interpreters + 1} fresh interpreters ...")
        rows = imports.measure(options.interpreters)
        _say(f"Reading {options.rounds} x {options.calls} times with each client ...")
        rows += readings.measure(options.calls, rounds=options.rounds)
    _say(f"Simulating {', '.join(map(str, options.tasks))} tasks ...")
    rows += model.measure(options.tasks)
    command = shlex.join(["python", "-m", "benchmarks", *arguments])
    notes = (f"Machine: {where}.\nCommand: `{command}`.", imports.NOTE, readings.NOTE, model.NOTE)
    print("\n\n".join([render(rows), *notes]))
    return 0


def _use_airflow_of_its_own(home: str) -> None:
    """Make Airflow, once it is imported here or in a subprocess, know nothing of this machine's settings."""
    for name in [name for name in os.environ if name.startswith("AIRFLOW_")]:
        del os.environ[name]
    os.environ["AIRFLOW_HOME"] = home


def _several(text: str) -> int:
    number = int(text)
    if number < 2:
        raise argparse.ArgumentTypeError("at least 2, or there is no median")
    return number


def _say(what: str) -> None:
    print(what, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
