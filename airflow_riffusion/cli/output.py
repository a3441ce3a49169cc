"""Shows readings: printed one after another, or redrawn in place on a terminal. Errors go to stderr."""

from __future__ import annotations

import json
import re
import sys
from typing import TYPE_CHECKING

from rich.console import Console, Group
from rich.text import Text

from airflow_riffusion import clock
from airflow_riffusion.cli.table import capacity_table
from airflow_riffusion.core.coerce import one_line

if TYPE_CHECKING:
    from rich.live import Live

    from airflow_riffusion.core.capacity import Capacity

_PIPE_WIDTH = 10_000  # columns: a program needs the whole of every id
_MOST_NOTES = 3  # on a terminal, which the table has to fit on, too
# User and password of an address, also of a malformed one.
_CREDENTIALS = re.compile(r"\b([\w+.-]+:/*)[^\s'\"]*@")


def open_console() -> Console:
    """Return the console on stdout; a pipe gets no colours, even if ``FORCE_COLOR`` is set."""
    terminal = sys.stdout.isatty()
    return Console(force_terminal=terminal, width=None if terminal else _PIPE_WIDTH)


def print_error(message: str) -> None:
    """Print one safe line to stderr."""
    sys.stderr.write(f"{_safe(message)}\n")


class Printer:
    """Prints each reading below the one before; notes and errors go to stderr when they change."""

    def __init__(self, console: Console, conn_id: str, output: str) -> None:
        self._console = console
        self._conn_id = conn_id
        self._output = output
        self._reported: tuple[str, ...] = ()

    def show(self, reading: Capacity) -> None:
        """Print a reading."""
        if self._output == "json":
            self._console.out(json.dumps(reading.to_xcom()), highlight=False)
        else:
            self._console.print(capacity_table(reading, self._conn_id))
        self.report(*(f"Note: {note}" for note in reading.notes))

    def report(self, *messages: str) -> None:
        """Print the messages that were not among the last ones."""
        for message in messages:
            if message not in self._reported:
                print_error(message)
        self._reported = messages


class Screen:
    """Redraws the newest reading in place, below its notes or the error since."""

    def __init__(self, live: Live, conn_id: str) -> None:
        self._live = live
        self._conn_id = conn_id
        self._table = Group()

    def show(self, reading: Capacity) -> None:
        """Draw a reading."""
        self._table = capacity_table(reading, self._conn_id)
        self.report(*reading.notes[:_MOST_NOTES])

    def report(self, *messages: str) -> None:
        """Draw messages above the table, whose end a small terminal cuts off."""
        now = clock.utc_now()
        above = (Text(_safe(f"{now:%H:%M:%S} UTC: {message}"), style="yellow") for message in messages)
        self._live.update(Group(*above, self._table), refresh=True)


def _safe(message: str) -> str:
    return _CREDENTIALS.sub(r"\1***@", one_line(message))
