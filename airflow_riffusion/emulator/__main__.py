"""``python -m airflow_riffusion.emulator``: the emulator as a program."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from airflow_riffusion.emulator.program import DESCRIPTION, OPTIONS, run

if TYPE_CHECKING:
    from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the emulator until SIGINT or SIGTERM, and return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m airflow_riffusion.emulator",
        usage="%(prog)s [options]",
        description=DESCRIPTION,
        allow_abbrev=False,
    )
    for flags, settings in OPTIONS.items():
        parser.add_argument(*flags, **settings)
    return run(parser.parse_args(arguments))


if __name__ == "__main__":
    sys.exit(main())
