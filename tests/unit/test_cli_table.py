from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from rich.cells import cell_len
from rich.console import Console

from airflow_riffusion.cli.table import bar, capacity_table
from airflow_riffusion.core.capacity import AccountCapacity, Capacity, ExecutingJob
from tests.readings import NOON

ALICE = "5f72c91e-7c5e-4c7b-9d7e-000000000001"
BOB = "e1f3d2a1-7c5e-4c7b-9d7e-000000000002"
JOB = ExecutingJob(job_id="a5d2d4a3", user_id=BOB, elapsed=timedelta(seconds=69), reply_ref="songs/1")
READING = Capacity(
    service="riffusion",
    observed_at=NOON,
    accounts=(
        AccountCapacity(user_id=ALICE, max_jobs=2, executing=0, available=2),
        AccountCapacity(user_id=BOB, max_jobs=4, executing=1, available=3),
    ),
    jobs=(JOB,),
)


def lines(reading, width=200, colours=None, conn_id="riffusion_default", **look):
    console = Console(width=width, color_system=colours, force_terminal=bool(colours), legacy_windows=False)
    with console.capture() as printed:
        console.print(capacity_table(reading, conn_id, width=width, **look))
    return [line.rstrip() for line in printed.get().splitlines()]


def with_account(**fields):
    account = AccountCapacity(user_id=ALICE, **{"max_jobs": None, "executing": 0, "available": 0, **fields})
    return Capacity(
        service="riffusion", observed_at=datetime(2026, 1, 1, tzinfo=UTC), accounts=(account,), jobs=()
    )


def test_it_shows_accounts_totals_and_jobs():
    assert lines(READING, blocks=False) == [
        "riffusion_default (riffusion), 12:00:00 UTC: 5 of 6 slots free on 2 accounts",
        "",
        "Account                               Executing  Free  Max",
        f"{ALICE}          0     2    2  ..",
        f"{BOB}          1     3    4  #...",
        "All accounts                                  1     5    6  #.....",
        "",
        "Executing on                          Elapsed  Job       Reference",
        f"{BOB}    01:09  a5d2d4a3  songs/1",
    ]


def test_without_jobs_it_ends_with_the_totals():
    assert lines(READING.model_copy(update={"jobs": ()}))[-1].startswith("All accounts")


def test_without_accounts_it_shows_totals_of_nothing():
    nothing = Capacity(service="riffusion", observed_at=NOON, accounts=(), jobs=())

    assert lines(nothing)[-1].split() == ["All", "accounts", "0", "0", "0"]


@pytest.mark.parametrize("width", [79, 60, 59, 44, 30])
def test_no_row_is_broken_or_too_wide_for_the_terminal(width):
    shown = lines(READING, width)
    rows = shown[shown.index("") :]

    assert len(rows) == 8
    assert max(map(cell_len, rows)) <= width


def test_a_narrow_terminal_shows_no_bars():
    assert "░" in "".join(lines(READING, 60))
    assert "░" not in "".join(lines(READING, 59))


def test_what_does_not_fit_is_shortened_but_no_number_is():
    shown = lines(READING, 44)
    accounts = shown[shown.index("") + 1 :]

    assert accounts[:2] == [
        "Account                 Executing  Free  Max",
        "5f72c91e-7c5e-4c7b-9d…          0     2    2",
    ]


def test_references_are_shortened_before_ids():
    job = JOB.model_copy(update={"job_id": ALICE, "reply_ref": "songs/" * 20})
    row = lines(READING.model_copy(update={"jobs": (job,)}), 100)[-1]

    assert row.split()[:3] == [BOB, "01:09", ALICE]
    assert row.split()[3].startswith("songs/songs/")


def test_at_80_columns_a_reference_is_as_short_as_its_heading_before_ids_are():
    job = JOB.model_copy(update={"job_id": ALICE, "reply_ref": "songs/" * 20})
    (heading, row) = lines(READING.model_copy(update={"jobs": (job,)}), 80)[-2:]

    assert heading.endswith("Reference")
    account, _, job_id, reference = row.split()
    assert reference.startswith("songs/so")
    assert len(reference) < 12 < 27 < len(account) == len(job_id)


@pytest.mark.parametrize("width", [80, 44])
def test_without_blocks_nothing_is_added_that_is_not_ascii(width):
    assert "".join(lines(READING, width, blocks=False)).isascii()


@pytest.mark.parametrize(("available", "colour"), [(1, "\x1b[32m"), (0, "\x1b[33m")])
def test_free_slots_are_green_and_none_is_yellow(available, colour):
    shown = lines(with_account(available=available, max_jobs=4), colours="standard")

    assert f"{colour}{available} of 4 slots free" in shown[0]
    assert f"{colour}   {available}" in shown[3]


def test_what_nobody_said_is_marked():
    unknown = with_account(available=1).model_copy(update={"jobs": (ExecutingJob(),)})

    assert lines(unknown)[3] == f"{ALICE}          0     1    ?"
    assert lines(unknown)[-1].split() == ["-", "-", "-", "-"]


@pytest.mark.parametrize(
    "nasty", ["\x1b[2Jgone", "line\nbreak", "bell\x07", "\x9b31m", "right-to-left\u202e", "tab\there"]
)
def test_a_terminal_obeys_nothing_that_the_service_sends(nasty):
    job = JOB.model_copy(update={"reply_ref": nasty, "job_id": nasty, "user_id": nasty})
    account = READING.accounts[0].model_copy(update={"user_id": nasty})
    accounts = (account, READING.accounts[1])
    shown = lines(READING.model_copy(update={"jobs": (job,), "accounts": accounts}), conn_id=nasty)

    assert all(line.isprintable() for line in shown)
    assert len(shown) == 9


def test_an_id_is_not_taken_for_markup():
    job = JOB.model_copy(update={"job_id": "[bold]7[/bold]", "reply_ref": ":smile:"})

    assert lines(READING.model_copy(update={"jobs": (job,)}))[-1].split()[2:] == ["[bold]7[/bold]", ":smile:"]


@pytest.mark.parametrize(
    ("elapsed", "shown"),
    [(0, "00:00"), (59.9, "00:59"), (3599, "59:59"), (3600, "1:00:00"), (360_000, "100:00:00")],
)
def test_the_time_a_job_has_run_is_a_clock(elapsed, shown):
    job = JOB.model_copy(update={"elapsed": timedelta(seconds=elapsed)})

    assert lines(READING.model_copy(update={"jobs": (job,)}))[-1].split()[1] == shown


@pytest.mark.parametrize(
    ("available", "max_jobs", "drawn"),
    [
        (2, 2, ".."),
        (0, 2, "##"),
        (3, 10, "#######..."),
        (0, None, ""),
        (5, None, ""),
        (5, 0, ""),
        (5, 4, "...."),
        (50, 100, "#####....."),
        (1, 1000, "#########."),
        (999, 1000, "#........."),
        (0, 1000, "##########"),
        (1000, 1000, ".........."),
    ],
)
def test_a_bar_has_the_slots_in_use_first(available, max_jobs, drawn):
    assert bar(available, max_jobs, blocks=False) == drawn
