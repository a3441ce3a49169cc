"""``capacity`` on a terminal; the terminal itself is rich's console."""

from __future__ import annotations

import io
import re

import pytest
from rich.cells import cell_len
from rich.console import Console

from airflow_riffusion.cli import readings as readings_module
from airflow_riffusion.cli.__main__ import main
from airflow_riffusion.exceptions import RiffusionRejected, RiffusionUnavailable
from tests.readings import job, reading

FREE = reading(job("1", "a", "song"), a=(3, 4))
DOWN = RiffusionUnavailable("503 Service Unavailable.")
REJECTED = RiffusionRejected("401 Unauthorized: check the API token.")


@pytest.fixture
def console(monkeypatch):
    console = Console(
        file=io.StringIO(), force_terminal=True, width=100, height=24, _environ={"TERM": "xterm-256color"}
    )
    monkeypatch.setattr(readings_module, "open_console", lambda: console)
    return console


def watch():
    with pytest.raises(SystemExit):
        main(["capacity", "--watch"])


def frames(console):
    """Return the lines of each drawing: one begins where the cursor is sent home."""
    drawn = console.file.getvalue().partition("\x1b[?1049l")[0]
    return [
        re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", frame).split("\n") for frame in re.split(r"\x1b\[H", drawn)[1:]
    ]


def test_screen_error_stays_above_the_newest_reading(service, console):
    service.answers = [FREE, DOWN]
    watch()
    last = frames(console)[-1]

    assert re.match(r"\d\d:\d\d:\d\d UTC: 503 Service Unavailable\. Next reading in 5 s\.", last[0])
    assert "3 of 4 slots free" in last[1]


def test_screen_new_reading_replaces_the_error(service, console):
    service.answers = [FREE, DOWN, FREE]
    watch()

    assert frames(console)[-1][0].startswith("riffusion_default (riffusion), 12:00:00 UTC: 3 of 4")


def test_screen_many_notes_push_no_reading_off_it(service, console):
    service.answers = [FREE.model_copy(update={"warnings": tuple(f"note {n}" for n in range(50))})]
    watch()

    assert "3 of 4 slots free" in frames(console)[-1][3]


def test_screen_control_characters_never_reach_the_terminal(service, console):
    service.answers = [FREE.model_copy(update={"warnings": ("\x1b[31mnote",)}), RiffusionUnavailable("\x9bX")]
    watch()
    written = console.file.getvalue()

    assert "\x1b[31mnote" not in written
    assert "\x9b" not in written


def test_screen_terminal_that_shrinks_is_redrawn_as_a_whole(service, console, monkeypatch):
    sizes = [(100, 24), (40, 10), (60, 6)]
    after = iter([*sizes[1:], sizes[-1]])

    def resize(seconds):
        console.width, console.height = next(after)

    monkeypatch.setattr("airflow_riffusion.clock.sleep", resize)
    service.answers = [FREE, FREE, FREE]
    watch()

    for frame, (width, height) in zip(frames(console)[-3:], sizes, strict=True):
        assert [cell_len(line) for line in frame] == [width] * height


def test_screen_end_gives_the_terminal_back(service, console, capsys):
    service.answers = [FREE, REJECTED]
    watch()
    written = console.file.getvalue()

    assert written.rindex("\x1b[?25h") > written.rindex("\x1b[?25l")
    assert written.rindex("\x1b[?1049l") > written.rindex("\x1b[?1049h")
    assert capsys.readouterr().err == "401 Unauthorized: check the API token.\n"


def test_capacity_on_a_terminal_is_printed_once_in_colour(service, console):
    service.answers = [FREE]
    with pytest.raises(SystemExit):
        main(["capacity"])

    assert "\x1b[32m3 of 4 slots free" in console.file.getvalue()
    assert "\x1b[?1049h" not in console.file.getvalue()
