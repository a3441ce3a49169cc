from __future__ import annotations

from datetime import timedelta

import pytest
from rich.cells import cell_len
from rich.console import Console

from airflow_riffusion.cli.table import capacity_table
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


def lines(reading, width=200, conn_id="riffusion_default"):
    console = Console(width=width, color_system=None)
    with console.capture() as printed:
        console.print(capacity_table(reading, conn_id))
    return [line.rstrip() for line in printed.get().rstrip().splitlines()]


def test_table_reading_shows_accounts_totals_and_jobs():
    assert lines(READING) == [
        "riffusion_default (riffusion), 12:00:00 UTC: 5 of 6 slots free on 2 accounts",
        "",
        "Account                               Executing  Free  Max",
        f"{ALICE}          0     2    2",
        f"{BOB}          1     3    4",
        "All accounts                                  1     5    6",
        "",
        "Executing on                          Elapsed  Job       Reference",
        f"{BOB}  0:01:09  a5d2d4a3  songs/1",
    ]


def test_table_reading_without_jobs_ends_with_the_totals():
    assert lines(READING.model_copy(update={"jobs": ()}))[-1].startswith("All accounts")


def test_table_unknown_values_are_shown_as_dashes():
    unknown = AccountCapacity(user_id=ALICE, max_jobs=None, executing=0, available=1)
    shown = lines(READING.model_copy(update={"accounts": (unknown,), "jobs": (ExecutingJob(),)}))

    assert shown[3].split() == [ALICE, "0", "1", "-"]
    assert shown[-1].split() == ["-", "-", "-", "-"]


@pytest.mark.parametrize("width", [80, 44])
def test_table_narrow_terminal_shortens_ids_but_no_number(width):
    shown = lines(READING, width)[-8:]

    assert max(map(cell_len, shown)) <= width
    assert [line.split()[-3:] for line in shown[1:5]] == [
        ["Executing", "Free", "Max"],
        ["0", "2", "2"],
        ["1", "3", "4"],
        ["1", "5", "6"],
    ]


@pytest.mark.parametrize(
    "text", ["\x1b[2Jgone", "line\nbreak", "bell\x07", "\x9b31m", "right-to-left\u202e", "tab\there"]
)
def test_table_control_characters_are_never_shown(text):
    job = JOB.model_copy(update={"reply_ref": text, "job_id": text, "user_id": text})
    account = READING.accounts[0].model_copy(update={"user_id": text})
    shown = lines(READING.model_copy(update={"jobs": (job,), "accounts": (account,)}), conn_id=text)

    assert len(shown) == 8
    assert all(line.isprintable() for line in shown)


def test_table_markup_in_an_id_is_not_interpreted():
    job = JOB.model_copy(update={"job_id": "[bold]7[/bold]", "reply_ref": ":smile:"})

    assert lines(READING.model_copy(update={"jobs": (job,)}))[-1].split()[2:] == ["[bold]7[/bold]", ":smile:"]
