"""A reading as a table for people. Pure: it becomes what it looks like when a console prints it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Group
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from datetime import timedelta

    from rich.console import RenderableType

    from airflow_riffusion.capacity import Capacity, ExecutingJob

_LONGEST_BAR = 10  # no account has more slots
_NARROW = 60
_NUMBERS = ("Executing", "Free", "Max", "Elapsed")


def capacity_table(reading: Capacity, conn_id: str, *, width: int, blocks: bool = True) -> RenderableType:
    """
    Return what shows a reading: its accounts with their totals, and the executing jobs.

    :param reading: the reading.
    :param conn_id: the connection it was taken on.
    :param width: columns of the terminal; a narrow one shows no bars, and shortens what doesn't fit.
    :param blocks: whether bars are made of block characters, or of ASCII.
    """
    headline = Text.assemble(
        (_shown(conn_id), "bold"),
        f" ({reading.service}), {reading.observed_at:%H:%M:%S} UTC: ",
        (str(reading), _free_style(reading.available)),
    )
    parts: list[RenderableType] = [headline, Text(), _accounts(reading, width >= _NARROW, blocks)]
    if reading.jobs:
        parts += [Text(), _jobs(reading.jobs)]
    return Group(*parts)


def bar(available: int, max_jobs: int | None, *, blocks: bool = True) -> str:
    """
    Draw slots: those in use first, then the free ones.

    :param available: how many are free.
    :param max_jobs: how many there are; None if nobody said.
    :param blocks: whether it is made of block characters, or of ASCII.
    :return: one character for each slot, or ten in proportion if there are more than ten.
    """
    used, free = ("█", "░") if blocks else ("#", ".")
    slots = max_jobs or 0
    available = min(available, slots)
    length = min(slots, _LONGEST_BAR)
    empty = available
    if slots > length:
        # One free slot of many is still to be seen, and so is one in use.
        least, most = int(available > 0), length - int(available < slots)
        empty = min(most, max(least, round(length * available / slots)))
    return used * (length - empty) + free * empty


def _accounts(reading: Capacity, bars: bool, blocks: bool) -> Table:
    table = _table("Account", "Executing", "Free", "Max")
    if bars:
        table.add_column()
    rows = [
        (_shown(each.user_id), each.executing, each.available, each.max_jobs) for each in reading.accounts
    ]
    totals = ("All accounts", reading.executing, reading.available, reading.max_jobs)
    for row in (*rows, totals):
        name, executing, available, max_jobs = row
        table.add_row(
            _cell(name),
            _number(executing),
            Text(str(available), style=_free_style(available), no_wrap=True),
            _number(max_jobs),
            *([Text(bar(available, max_jobs, blocks=blocks), no_wrap=True)] if bars else []),
            style="bold" if row is totals else "",
        )
    return table


def _jobs(jobs: tuple[ExecutingJob, ...]) -> Table:
    table = _table("Executing on", "Elapsed", "Job", "Reference")
    for job in jobs:
        table.add_row(
            _cell(_shown(job.user_id)),
            Text(_clock(job.elapsed), no_wrap=True),
            _cell(_shown(job.job_id)),
            _cell(_shown(job.reply_ref)),
        )
    return table


def _table(*names: str) -> Table:
    # Without lines: what they are drawn with is not in every font, and in nobody's way in a pipe.
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for name in names:
        number = name in _NUMBERS
        table.add_column(_cell(name), justify="right" if number else "left", no_wrap=number)
    return table


def _cell(text: str) -> Text:
    """Return an id: shortened, not broken, where it doesn't fit, and never taken for markup."""
    return Text(text, no_wrap=True, overflow="ellipsis")


def _number(number: int | None) -> Text:
    return Text("?" if number is None else str(number), no_wrap=True)


def _shown(text: str | None) -> str:
    """Return what somebody else wrote, without what a terminal would obey."""
    return "".join(each if each.isprintable() else "?" for each in text) if text else "-"


def _clock(elapsed: timedelta | None) -> str:
    if elapsed is None:
        return "-"
    minutes, seconds = divmod(int(elapsed.total_seconds()), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes:02}:{seconds:02}"


def _free_style(available: int) -> str:
    return "green" if available else "yellow"
