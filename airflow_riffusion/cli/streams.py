"""Stdout and stderr, whatever has become of them: a full disk, a closed pipe, nothing at all."""

from __future__ import annotations

import os
import re
import sys
from contextlib import suppress

# From the scheme to the host of an address, also of one that is misspelt: there are user and password.
_CREDENTIALS = re.compile(r"\b([\w+.-]+:/*)[^\s'\"]*@")


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


def on_one_line(text: str) -> str:
    """
    Return a text as one line, without what a terminal would obey, and without the password of an address.

    :param text: such as what an exception says.
    """
    line = " ".join("".join(char if char.isprintable() else " " for char in text).split())
    return _CREDENTIALS.sub(r"\1***@", line)


def settle() -> None:
    """Drop what can't be written: Python would try once more at its end, complain, and exit with 120."""
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None:
                stream.flush()
        except OSError:
            with open(os.devnull, "wb") as nothing:  # noqa: PTH123 - no path of ours
                os.dup2(nothing.fileno(), stream.fileno())
