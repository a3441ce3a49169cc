"""A reading as a table for people. Pure: it becomes what it looks like when a console prints it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.cells import cell_len
from rich.console import Group
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import timedelta

    from rich.console import RenderableType

    from airflow_riffusion.core.capacity import Capacity, ExecutingJob

_LONGEST_BAR = 10  # no account has more slots
_NARROW = 60
_GAP = 2  # columns
_NUMBERS = ("Executing", "Free", "Max", "Elapsed")


def capacity_table(
    reading: Capacity, conn_id: str, *, width: int, blocks: bool = True, old: bool = False
) -> RenderableType:
    """
    Return what shows a reading: its accounts with their totals, and the executing jobs.

    :param reading: the reading.
    :param conn_id: the connection it was taken on.
    :param width: columns of the terminal; a narrow one shows no bars, and shortens what doesn't fit.
    :param blocks: whether bars are made of block characters, and what is shortened ends in an ellipsis; if
        not, nothing is added that isn't ASCII.
    :param old: whether newer readings could not be had.
    """
    time = f"{reading.observed_at:%H:%M:%S} UTC"
    headline = Text.assemble(
        (_shown(conn_id), "" if old else "bold"),
        f" ({reading.service}), {f'last reading at {time}, none newer' if old else time}: ",
        (str(reading), "" if old else _free_style(reading.available)),
        style="dim" if old else "",
    )
    parts: list[RenderableType] = [headline, Text(), _accounts(reading, width >= _NARROW, blocks)]
    if reading.jobs:
        parts += [Text(), _jobs(reading.jobs, width, blocks)]
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
    table = _table(("Account", "Executing", "Free", "Max"), blocks)
    if bars:
        table.add_column()
    rows = [
        (_shown(each.user_id), each.executing, each.available, each.max_jobs) for each in reading.accounts
    ]
    totals = ("All accounts", reading.executing, reading.available, reading.max_jobs)
    for row in (*rows, totals):
        name, executing, available, max_jobs = row
        table.add_row(
            _cell(name, blocks),
            _number(executing),
            Text(str(available), style=_free_style(available), no_wrap=True),
            _number(max_jobs),
            *([Text(bar(available, max_jobs, blocks=blocks), no_wrap=True)] if bars else []),
            style="bold" if row is totals else "",
        )
    return table


def _jobs(jobs: tuple[ExecutingJob, ...], width: int, blocks: bool) -> Table:
    names = ("Executing on", "Elapsed", "Job", "Reference")
    rows = [
        (_shown(job.user_id), _clock(job.elapsed), _shown(job.job_id), _shown(job.reply_ref)) for job in jobs
    ]
    table = _table(names, blocks)
    # What the ids leave: they are shortened only when the references are as short as their heading.
    *ids, reference = (max(map(cell_len, column)) for column in zip(names, *rows, strict=True))
    room = width - sum(ids) - _GAP * len(names)  # rich before 14 wants a gap at the end, too
    table.columns[-1].max_width = min(reference, max(room, cell_len(names[-1])))
    for account, elapsed, *others in rows:
        table.add_row(
            _cell(account, blocks),
            Text(elapsed, no_wrap=True),
            *(_cell(other, blocks) for other in others),
        )
    return table


def _table(names: Sequence[str], blocks: bool) -> Table:
    # Without lines: what they are drawn with is not in every font, and in nobody's way in a pipe.
    table = Table(box=None, pad_edge=False, padding=(0, _GAP, 0, 0), header_style="dim")
    for name in names:
        number = name in _NUMBERS
        table.add_column(_cell(name, blocks), justify="right" if number else "left", no_wrap=number)
    return table


def _cell(text: str, blocks: bool) -> Text:
    """Return an id: shortened, not broken, where it doesn't fit, and never taken for markup."""
    return Text(text, no_wrap=True, overflow="ellipsis" if blocks else "crop")


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
