"""A reading as rich's tables. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Group
from rich.table import Table
from rich.text import Text

from airflow_riffusion.core.coerce import one_line

if TYPE_CHECKING:
    from airflow_riffusion.core.capacity import Capacity

_NUMBERS = ("Executing", "Free", "Max", "Elapsed")


def capacity_table(reading: Capacity, conn_id: str) -> Group:
    """Return a headline, the accounts with their totals, and the executing jobs."""
    headline = Text.assemble(
        (one_line(conn_id), "bold"),
        f" ({reading.service}), {reading.observed_at:%H:%M:%S} UTC: ",
        (str(reading), _style(reading.available)),
    )
    accounts = _table("Account", "Executing", "Free", "Max")
    for account in reading.accounts:
        numbers = (account.executing, account.available, account.max_jobs)
        accounts.add_row(*map(_cell, (account.user_id, *numbers)), style=_style(account.available))
    totals = (reading.executing, reading.available, reading.max_jobs)
    accounts.add_row(*map(_cell, ("All accounts", *totals)), style="bold")
    parts: list[Text | Table] = [headline, Text(), accounts]
    if reading.jobs:
        jobs = _table("Executing on", "Elapsed", "Job", "Reference")
        for job in reading.jobs:
            jobs.add_row(*map(_cell, (job.user_id, job.elapsed, job.job_id, job.reply_ref)))
        parts += [Text(), jobs]
    return Group(*parts, Text())


def _table(*names: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in names:
        is_number = name in _NUMBERS
        table.add_column(name, justify="right" if is_number else "left", no_wrap=is_number)
    return table


def _cell(value: object) -> Text:
    return Text("-" if value is None else one_line(str(value)))


def _style(available: int) -> str:
    return "green" if available else "yellow"
