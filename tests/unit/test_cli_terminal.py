"""``--watch`` on a terminal: what it draws, and when it had better not draw."""

from __future__ import annotations

import re

import pytest

from airflow_riffusion.cli import readings as readings_module
from airflow_riffusion.cli import views as views_module
from airflow_riffusion.cli.__main__ import main
from airflow_riffusion.exceptions import RiffusionRejected, RiffusionUnavailable
from tests.readings import job, reading

FREE = reading(job("1", "a", "song"), a=(3, 4))
DOWN = RiffusionUnavailable("503 Service Unavailable.")
REJECTED = RiffusionRejected("401 Unauthorized: check the API token.")


def watch(*arguments):
    return main(["capacity", "--watch", *arguments])


@pytest.fixture
def terminal(monkeypatch, capsys):
    """Return a function that returns what was written to a terminal that knows colours."""
    for name, value in {"FORCE_COLOR": "1", "TERM": "xterm-256color", "COLUMNS": "100"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setattr(views_module, "_is_terminal", lambda: True)
    return lambda: capsys.readouterr().out


def frames(drawn):
    """Return the lines of what a terminal showed, one drawing after another."""
    for frame in re.split(r"\r\x1b\[2K(?:\x1b\[1A\x1b\[2K)*", drawn):
        yield re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", frame).splitlines()


def test_on_a_terminal_what_went_wrong_stays_above_the_newest_reading(service, terminal):
    service.answers = [FREE, DOWN]
    watch("--interval", "600")
    *_, last = frames(terminal())

    assert re.fullmatch(r"Next look at \d\d:\d\d:\d\d UTC\.", last[0])
    assert last[1] == "503 Service Unavailable."
    assert last[2] == ""
    assert "3 of 4 slots free" in last[3]


def test_on_a_terminal_a_reading_with_none_newer_says_so(service, terminal):
    service.answers = [FREE, DOWN]
    watch()
    drawn = terminal()

    assert drawn.count("last reading at 12:00:00 UTC, none newer: 3 of 4 slots free") >= 1
    assert "\x1b[2mriffusion_default (riffusion), last reading" in drawn


def test_on_a_terminal_a_new_reading_takes_the_place_of_what_went_wrong(service, terminal):
    service.answers = [FREE, DOWN, FREE]
    watch()
    *_, last = frames(terminal())

    assert last[0].startswith("riffusion_default (riffusion), 12:00:00 UTC: 3 of 4")


def test_on_a_terminal_warnings_leave_room_for_the_reading(service, terminal):
    service.answers = [FREE.model_copy(update={"warnings": tuple(f"odd {n}" for n in range(50))})]
    watch()
    *_, last = frames(terminal())

    assert last[:5] == ["odd 0", "odd 1", "odd 2", "and 47 more notes", ""]
    assert "3 of 4 slots free" in last[5]


@pytest.mark.parametrize("term", ["dumb", "unknown"])
def test_a_terminal_that_can_not_draw_anew_gets_one_table_after_another(service, terminal, monkeypatch, term):
    monkeypatch.setenv("TERM", term)
    shown = []
    monkeypatch.setattr(readings_module.time, "sleep", lambda seconds: shown.append(terminal()))
    service.answers = [FREE, FREE]
    watch()

    assert ["3 of 4 slots free" in each for each in shown] == [True, True]
    assert "\x1b" not in "".join(shown)


def test_a_pipe_stays_a_pipe_if_colours_are_forced(service, terminal, monkeypatch):
    monkeypatch.setattr(views_module, "_is_terminal", lambda: False)
    long = "x" * 1024
    service.answers = [reading(job(long, "a", long), a=(3, 4))]
    watch()
    drawn = terminal()

    assert drawn.count(long) == 2
    assert "\x1b[?25l" not in drawn
    assert "\x1b[32m3 of 4 slots free" in drawn


def test_a_terminal_gets_its_cursor_back(service, terminal):
    service.answers = [FREE, REJECTED]
    watch()

    drawn = terminal()
    assert drawn.rindex("\x1b[?25h") > drawn.rindex("\x1b[?25l")


def test_one_reading_on_a_terminal_is_drawn_once(service, terminal):
    service.answers = [FREE]
    main(["capacity"])

    drawn = terminal()
    assert "\x1b[32m3 of 4 slots free" in drawn
    assert "\x1b[?25l" not in drawn
