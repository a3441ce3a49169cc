"""``--watch`` on a real terminal, with the service on loopback."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import termios
import time

import pytest

from airflow_riffusion.emulator import EmulatorServer

ROWS, COLUMNS = 24, 100
_TIME_LIMIT = 120  # seconds


class Display:
    """What can be seen of what was written: lines are broken anew on a resize, as most terminals do."""

    def __init__(self):
        self.rows, self.columns = ROWS, COLUMNS
        self.lines = [""]
        self.row = 0
        self.unfinished = ""

    @property
    def top(self):
        return max(0, len(self.lines) - self.rows)

    def shown(self):
        return "\n".join(self.lines[self.top :])

    def resize(self, rows, columns):
        self.rows, self.columns = rows, columns
        above, below = self._broken(self.lines[: self.row + 1]), self._broken(self.lines[self.row + 1 :])
        self.lines, self.row = above + below, len(above) - 1

    def _broken(self, lines):
        width = self.columns
        return [line[at : at + width] for line in lines for at in range(0, len(line) or 1, width)]

    def write(self, text):
        # What is read may end within a sequence.
        *pieces, self.unfinished = re.split(r"(\x1b\[[0-9;?]*[A-Za-z]|[^\x1b])", self.unfinished + text)
        for piece in filter(None, pieces):
            match piece:
                case "\n":
                    self._next_line()
                case "\x1b[1A":
                    self.row = max(self.top, self.row - 1)
                case "\x1b[2K":
                    self.lines[self.row] = ""
                case "\x1b[H":
                    self.row = self.top
                case "\x1b[2J":
                    self.lines[self.top :] = [""] * (self.row - self.top + 1)
                case char if char.isprintable():
                    if len(self.lines[self.row]) == self.columns:
                        self._next_line()
                    self.lines[self.row] += char

    def _next_line(self):
        self.row += 1
        self.lines[self.row :] = self.lines[self.row :] or [""]


class Terminal:
    """A terminal of 24 lines with a program on it, and all that was written to it."""

    def __init__(self):
        self.master, self.slave = pty.openpty()
        self.display = Display()
        self.written = ""
        self.resize(ROWS, COLUMNS)

    def resize(self, rows, columns):
        self.display.resize(rows, columns)
        fcntl.ioctl(self.slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def read_until(self, words, times=1):
        """Read until these words were written so many times, if need be for two minutes."""
        until = time.monotonic() + _TIME_LIMIT
        while self.written.count(words) < times and self._ready(until):
            read = os.read(self.master, 65536).decode(errors="replace")
            self.display.write(read)
            self.written += read
        return self.written.count(words) >= times

    def read_on(self, words):
        """Read until these words were written once more."""
        return self.read_until(words, self.written.count(words) + 1)

    def _ready(self, until):
        return bool(select.select([self.master], [], [], max(0.0, until - time.monotonic()))[0])

    def screen(self):
        """Return the lines of the newest drawing, as far as they are written."""
        drawing = re.split(r"\r\x1b\[2K(?:\x1b\[1A\x1b\[2K)*", self.written)[-1]
        return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", drawing).splitlines()


@pytest.fixture
def terminal():
    terminal = Terminal()
    yield terminal
    os.close(terminal.master)
    os.close(terminal.slave)


@pytest.fixture
def watch(start, terminal, connect):
    """Return a function that starts to watch a service on the terminal."""

    def begin(service, interval="1", **environ):
        connect(service.url, conn_id="riffusion_default", password="user:1234-abcDEF")
        return start(
            "capacity",
            "--watch",
            "--interval",
            interval,
            environ={"TERM": "xterm-256color", **environ},
            stdin=terminal.slave,
            stdout=terminal.slave,
            stderr=subprocess.STDOUT,
        )

    return begin


@pytest.fixture
def tall():
    with EmulatorServer(accounts=40, job_seconds=3600) as service:
        yield service


def test_an_outage_is_seen_though_the_table_is_taller_than_the_terminal(watch, terminal, tall):
    watch(tall)
    assert terminal.read_until("80 of 80 slots free")

    tall.__exit__(None, None, None)
    assert terminal.read_until("Connection refused")
    assert terminal.read_until("none newer: 80 of 80 slots free")
    tall.__enter__()
    assert "Connection refused" in " ".join(terminal.screen()[:3])


def test_an_outage_that_ends_is_no_longer_seen(watch, terminal, tall):
    watch(tall)
    tall.__exit__(None, None, None)
    assert terminal.read_until("Connection refused")

    tall.__enter__()
    assert terminal.read_until("80 of 80 slots free")
    assert terminal.screen()[0].startswith("riffusion_default")


def test_a_long_wait_says_when_it_ends(watch, terminal, answering):
    service = answering(b"{}", "429 Too Many Requests", Retry_After="600")
    watch(service)

    assert terminal.read_until("429 Too Many Requests")
    assert terminal.read_until(" UTC.")
    assert re.search(r"Next look at \d\d:\d\d:\d\d UTC\.", terminal.written)


def test_a_terminal_that_can_not_draw_anew_shows_each_reading(watch, terminal, tall):
    watch(tall, interval="86400", TERM="dumb")

    assert terminal.read_until("80 of 80 slots free")
    assert "\x1b" not in terminal.written


def test_a_terminal_that_is_not_utf_8_gets_no_block_characters(watch, terminal, tall):
    watch(tall, PYTHONIOENCODING="latin-1")

    assert terminal.read_until("80 of 80 slots free")
    assert terminal.read_until("  ..")
    assert "\N{LIGHT SHADE}" not in terminal.written


@pytest.fixture
def small():
    with EmulatorServer(accounts=5, job_seconds=3600) as service:
        yield service


def test_watch_on_a_terminal_that_is_resized_leaves_no_line_of_earlier_drawings(watch, terminal, small):
    watch(small)
    assert terminal.read_until("slots free")

    # Larger in the end: what has left the screen may come back.
    for size in [(ROWS, 50), (5, COLUMNS), (6, 50), (ROWS, COLUMNS + 20)]:
        terminal.resize(*size)
        # One drawing may have been under way.
        assert terminal.read_on("slots free")
        assert terminal.read_on("slots free")
        assert terminal.display.shown().count("riffusion_default") == 1
        assert terminal.display.shown().startswith("riffusion_default")


def test_watch_that_ends_on_a_terminal_that_was_resized_leaves_one_drawing_that_fits(watch, terminal, small):
    program = watch(small, interval="86400")
    assert terminal.read_until("slots free")
    assert terminal.read_until("All accounts")

    terminal.resize(ROWS, 50)
    program.send_signal(signal.SIGINT)
    assert terminal.read_until("\x1b[?25h")
    assert terminal.display.shown().count("riffusion_default") == 1
    assert terminal.display.shown().count("All accounts") == 1


def test_ctrl_c_ends_it_and_gives_the_cursor_back(watch, terminal, tall):
    program = watch(tall)
    assert terminal.read_until("80 of 80 slots free")

    program.send_signal(signal.SIGINT)
    assert terminal.read_until("\x1b[?25h")
    assert program.wait(timeout=60) == 0
