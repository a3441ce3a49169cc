"""Where the readings go: onto a terminal, or to a program, in one of several formats."""

from __future__ import annotations

import json
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from airflow_riffusion.cli.table import capacity_table

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import RenderableType

    from airflow_riffusion.capacity import Capacity
    from airflow_riffusion.exceptions import RiffusionError

# As wide as any table gets: a program wants all of an id.
_PIPE_WIDTH = 10_000


class View(Protocol):
    """Shows what the service said."""

    def show(self, reading: Capacity) -> None:
        """Show a reading."""

    def trouble(self, error: RiffusionError) -> None:
        """Show why there is no reading this time."""


@contextmanager
def opened_view(output: str, conn_id: str, *, watch: bool) -> Iterator[View]:
    """
    Open what shows readings on stdout, and on stderr what went wrong.

    :param output: ``table``, ``json`` or ``yaml``.
    :param conn_id: the connection, for the table.
    :param watch: whether there will be many readings: a table on a terminal is then drawn anew each time.
    """
    console = Console(markup=False, emoji=False, highlight=False)
    if not console.is_terminal:
        console.width = _PIPE_WIDTH
    if output != "table":
        yield Documents(output, many=watch)
    elif not (watch and console.is_terminal):
        yield Tables(console, conn_id)
    else:
        with Live(console=console, auto_refresh=False, vertical_overflow="ellipsis") as live:
            yield LiveTable(live, conn_id)


class Documents:
    """
    Readings for programs, each as :meth:`Capacity.to_xcom` has it.

    :param output: ``json`` or ``yaml``.
    :param many: whether one follows another: then each is a line of JSON, or a YAML document with its marker.
    """

    def __init__(self, output: str, *, many: bool) -> None:
        self._output = output
        self._many = many

    def show(self, reading: Capacity) -> None:
        """Print a reading."""
        if self._output == "json":
            _print(json.dumps(reading.to_xcom(), indent=None if self._many else 2) + "\n")
        else:
            import yaml

            _print(yaml.safe_dump(reading.to_xcom(), sort_keys=False, explicit_start=self._many))
        _warn(reading)

    def trouble(self, error: RiffusionError) -> None:
        """Print what went wrong to stderr."""
        _complain(str(error))


class Tables:
    """
    Readings as tables, one after another: in full if a program reads them, else as wide as the terminal.

    :param console: where they go.
    :param conn_id: the connection they were taken on.
    """

    def __init__(self, console: Console, conn_id: str) -> None:
        self._console = console
        self._conn_id = conn_id
        self._separator = ""

    def show(self, reading: Capacity) -> None:
        """Print a reading."""
        with self._console.capture() as printed:
            self._console.print(_table(reading, self._conn_id, self._console))
        lines = [line.rstrip() for line in printed.get().splitlines()]
        _print(self._separator + "\n".join(lines) + "\n")
        self._separator = "\n"
        _warn(reading)

    def trouble(self, error: RiffusionError) -> None:
        """Print what went wrong to stderr."""
        _complain(str(error))


class LiveTable:
    """
    The newest reading as a table that is drawn anew in its place.

    :param live: where it is.
    :param conn_id: the connection the readings are taken on.
    """

    def __init__(self, live: Live, conn_id: str) -> None:
        self._live = live
        self._conn_id = conn_id
        self._newest: Capacity | None = None

    def show(self, reading: Capacity) -> None:
        """Draw a reading in the place of the one before."""
        self._newest = reading
        self._draw(*(Text(oddity, style="yellow") for oddity in reading.oddities))

    def trouble(self, error: RiffusionError) -> None:
        """Draw what went wrong below the newest reading."""
        self._draw(Text(str(error), style="red"))

    def _draw(self, *notes: Text) -> None:
        shown: list[RenderableType] = []
        if self._newest is not None:
            shown.append(_table(self._newest, self._conn_id, self._live.console))
        between = [Text()] if shown and notes else []
        self._live.update(Group(*shown, *between, *notes), refresh=True)


def _table(reading: Capacity, conn_id: str, console: Console) -> RenderableType:
    blocks = console.is_terminal and console.encoding.lower().startswith("utf")
    return capacity_table(reading, conn_id, width=console.width, blocks=blocks)


def _warn(reading: Capacity) -> None:
    for oddity in reading.oddities:
        _complain(f"Odd answer: {oddity}")


def _complain(message: str) -> None:
    sys.stderr.write(f"{message}\n")
    sys.stderr.flush()


def _print(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()
