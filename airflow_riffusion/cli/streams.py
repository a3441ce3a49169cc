"""Stdout and stderr, whatever has become of them: a full disk, a closed pipe, nothing at all."""

from __future__ import annotations

import os
import sys
from contextlib import suppress


def say(text: str) -> None:
    """
    Write to stdout, at once: whoever reads a pipe wants a reading when it is taken.

    :param text: what to write, with its line ends.
    :raises OSError: if it can't be written.
    """
    sys.stdout.write(text)
    sys.stdout.flush()


def complain(message: str) -> None:
    """
    Write a line to stderr. That nobody can read it is no reason to end, or for another exit code.

    :param message: the line.
    """
    if sys.stderr is not None:
        with suppress(OSError):
            sys.stderr.write(f"{message}\n")
            sys.stderr.flush()


def settle() -> None:
    """Drop what can't be written: Python would try once more at its end, complain, and exit with 120."""
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None:
                stream.flush()
        except OSError:
            with open(os.devnull, "wb") as nothing:  # noqa: PTH123 - no path of ours
                os.dup2(nothing.fileno(), stream.fileno())
