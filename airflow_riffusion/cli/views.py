"""Where the readings go: onto a terminal, or to a program, in one of several formats."""

from __future__ import annotations

import io
import json
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

from rich.console import Console, Group
from rich.control import Control
from rich.live import Live
from rich.text import Text

from airflow_riffusion.cli.streams import complain, say
from airflow_riffusion.cli.table import capacity_table

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from rich.console import ConsoleDimensions, RenderableType

    from airflow_riffusion.core.capacity import Capacity
    from airflow_riffusion.exceptions import RiffusionError

# As wide as any table gets: a program wants all of an id.
_PIPE_WIDTH = 10_000
_MOST_NOTES = 3


class View(Protocol):
    """Shows what the service said."""

    def show(self, reading: Capacity) -> None:
        """Show a reading."""

    def trouble(self, error: RiffusionError, now: datetime, next_look: datetime) -> None:
        """Show why there is no reading this time, and when the next is to be taken."""


@contextmanager
def opened_view(output: str, conn_id: str, *, watch: bool) -> Iterator[View]:
    """
    Open what shows readings on stdout, and on stderr what went wrong.

    :param output: ``table``, ``json`` or ``yaml``.
    :param conn_id: the connection, for the table.
    :param watch: whether there will be many readings: a table on a terminal is then drawn anew each time.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # A name it can't spell is no reason to end.
    console = Console(markup=False, emoji=False, highlight=False)
    terminal = _is_terminal()
    if not terminal:
        console.width = _PIPE_WIDTH
    table = _TableMaker(console, conn_id, blocks=terminal and _speaks_unicode())
    if output != "table":
        yield Documents(output, many=watch)
    elif watch and terminal and console.is_terminal and not console.is_dumb_terminal:
        with Live(console=console, auto_refresh=False, vertical_overflow="ellipsis") as live:
            view = LiveTable(live, table)
            try:
                yield view
            finally:
                view.fit()
    else:
        yield Tables(console, table)


def _is_terminal() -> bool:
    # Not the console's word for it: with FORCE_COLOR it takes a pipe for a terminal.
    return sys.stdout.isatty()


def _speaks_unicode() -> bool:
    return (sys.stdout.encoding or "").lower().startswith("utf")


class _TableMaker:
    """Makes the tables of one connection, as they fit the console's width at that moment."""

    def __init__(self, console: Console, conn_id: str, *, blocks: bool) -> None:
        self._console = console
        self._conn_id = conn_id
        self._blocks = blocks

    def __call__(self, reading: Capacity, *, old: bool = False) -> RenderableType:
        width = self._console.width
        return capacity_table(reading, self._conn_id, width=width, blocks=self._blocks, old=old)


class _Remarks:
    """What goes to stderr beside readings, each when it is news."""

    def __init__(self) -> None:
        self._last: tuple[str, ...] = ()

    def on(self, reading: Capacity) -> None:
        for note in reading.notes:
            if note not in self._last:
                complain(f"Note: {note}")
        self._last = reading.notes

    def trouble(self, error: RiffusionError, now: datetime, next_look: datetime) -> None:
        if self._last != (str(error),):
            complain(f"{now:%H:%M:%S} UTC: {error} Next look at {next_look:%H:%M:%S} UTC.")
        self._last = (str(error),)


class Documents:
    """
    Readings for programs, each as :meth:`Capacity.to_xcom` has it.

    :param output: ``json`` or ``yaml``.
    :param many: whether one follows another: then each is a line of JSON, or a YAML document with its marker.
    """

    def __init__(self, output: str, *, many: bool) -> None:
        self._output = output
        self._many = many
        self._remarks = _Remarks()

    def show(self, reading: Capacity) -> None:
        """Print a reading."""
        if self._output == "json":
            say(json.dumps(reading.to_xcom(), indent=None if self._many else 2) + "\n")
        else:
            import yaml

            say(yaml.safe_dump(reading.to_xcom(), sort_keys=False, explicit_start=self._many))
        self._remarks.on(reading)

    def trouble(self, error: RiffusionError, now: datetime, next_look: datetime) -> None:
        """Print what went wrong to stderr, unless it is what went wrong before."""
        self._remarks.trouble(error, now, next_look)


class Tables:
    """
    Readings as tables, one after another: in full if a program reads them, else as wide as the terminal.

    :param console: where they go.
    :param table: makes a table of a reading.
    """

    def __init__(self, console: Console, table: _TableMaker) -> None:
        self._console = console
        self._table = table
        self._separator = ""
        self._remarks = _Remarks()

    def show(self, reading: Capacity) -> None:
        """Print a reading."""
        with self._console.capture() as printed:
            self._console.print(self._table(reading))
        lines = [line.rstrip() for line in printed.get().splitlines()]
        say(self._separator + "\n".join(lines) + "\n")
        self._separator = "\n"
        self._remarks.on(reading)

    def trouble(self, error: RiffusionError, now: datetime, next_look: datetime) -> None:
        """Print what went wrong to stderr, unless it is what went wrong before."""
        self._remarks.trouble(error, now, next_look)


class LiveTable:
    """
    The newest reading as a table that is drawn anew in its place.

    :param live: where it is.
    :param table: makes a table of a reading.
    """

    def __init__(self, live: Live, table: _TableMaker) -> None:
        self._live = live
        self._table = table
        self._newest: Capacity | None = None
        self._notes: list[Text] = []
        self._old = False
        self._size: ConsoleDimensions | None = None  # the terminal's, when it was last drawn on

    def show(self, reading: Capacity) -> None:
        """Draw a reading in the place of the one before."""
        self._newest = reading
        notes = [Text(note, style="yellow") for note in reading.notes[:_MOST_NOTES]]
        if more := len(reading.notes) - len(notes):
            notes.append(Text(f"and {more} more notes", style="yellow"))
        self._draw(notes)

    def trouble(self, error: RiffusionError, now: datetime, next_look: datetime) -> None:  # noqa: ARG002
        """Draw what went wrong above the newest reading, which is marked as old."""
        look = Text(f"Next look at {next_look:%H:%M:%S} UTC.", style="red")
        self._draw([look, Text(str(error), style="red")], old=True)

    def fit(self) -> None:
        """Draw the same once more if the terminal has been resized since."""
        if self._is_resized():
            self._draw(self._notes, old=self._old)

    def _is_resized(self) -> bool:
        return self._size not in (None, self._live.console.size)

    def _draw(self, notes: list[Text], *, old: bool = False) -> None:
        if self._is_resized():
            # What was drawn takes another number of lines now, or is partly gone: there is no way up to its
            # first line, and all that is left of it would stay.
            self._live.console.control(Control.home(), Control.clear())
        self._notes, self._old, self._size = notes, old, self._live.console.size
        # Notes first: a table taller than the terminal is cut at its end.
        shown: list[RenderableType] = [*notes]
        if self._newest is not None:
            shown += [Text()] if notes else []
            shown.append(self._table(self._newest, old=old))
        self._live.update(Group(*shown), refresh=True)
