"""The command line with the service on loopback. Two tests start the console script, which takes seconds."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import signal
import struct
import subprocess
import termios

import pytest

from airflow_riffusion.cli.__main__ import main
from airflow_riffusion.emulator import EmulatorServer
from dev.airflow_stack import free_port

TOKEN = "user:1234-abcDEF"


@pytest.fixture
def service(connect, restore_process):
    with EmulatorServer(port=free_port(), accounts=2, max_jobs=2, job_seconds=3600, token=TOKEN) as service:
        service.service.submit("polka on the moon", reply_url="https://me:pass@example.com/done?key=secret")
        connect(service.url, conn_id="riffusion_default")
        yield service


def capacity(*arguments):
    """Run the command and return its exit code."""
    with pytest.raises(SystemExit) as ended:
        main(["capacity", *arguments])
    return ended.value.code


def test_console_script_watch_json_survives_an_outage_until_sigterm(start, service):
    program = start("capacity", "--watch", "--interval", "1", "--output", "json")
    assert json.loads(program.stdout.readline())["available"] == 3

    service.__exit__(None, None, None)
    assert "Connection refused" in program.stderr.readline()
    service.__enter__()
    assert json.loads(program.stdout.readline())["available"] == 3

    program.send_signal(signal.SIGTERM)
    _, errors = program.communicate(timeout=60)
    assert (program.returncode, errors) == (0, "")


def test_console_script_watch_on_a_terminal_is_resized_and_ended_by_ctrl_c(start, service):
    master, slave = pty.openpty()

    def resize(rows, columns):
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def read_until(words):
        written = b""
        while words not in written:
            written += os.read(master, 65536)

    resize(24, 100)
    environ = {"TERM": "xterm-256color"}
    streams = {"stdin": slave, "stdout": slave, "stderr": subprocess.STDOUT}
    program = start("capacity", "--watch", "--interval", "86400", environ=environ, **streams)
    read_until(b"3 of 4 slots free on 2 accounts")
    resize(24, 50)
    read_until(b"\x1b[H")  # the next drawing, without a next reading
    read_until(b"All accounts")

    program.send_signal(signal.SIGINT)
    read_until(b"\x1b[?25h")
    os.close(slave)
    os.close(master)
    assert program.wait(timeout=60) == 0


def test_capacity_callback_urls_are_shown_without_secrets(service, capsys):
    assert capacity("--output", "json") == 0
    shown = capsys.readouterr().out

    assert '"https://example.com/done"' in shown
    assert "secret" not in shown
    assert "pass" not in shown


def test_capacity_full_accounts_that_are_not_listed_are_shown_as_full(connect, restore_process, capsys):
    with EmulatorServer(
        accounts={"alice": 2, "bob": 2}, job_seconds=600, hide_full_accounts=True
    ) as emulator:
        for _ in range(4):
            emulator.service.submit("polka")
        emulator.service.log_out("bob")
        connect(emulator.url)
        capsys.readouterr()  # what the emulator logs
        assert capacity("--conn-id", "riffusion_test", "--output", "json") == 0
        shown = capsys.readouterr()

    assert json.loads(shown.out)["accounts"] == [
        {"user_id": "alice", "max_jobs": 2, "executing": 2, "available": 0}
    ]
    assert shown.err == "Note: account bob needs its login renewed at useapi.net\n"


def test_capacity_wrong_token_exits_with_2(service, connect, capsys):
    connect(service.url, conn_id="riffusion_default", password="user:other")

    assert capacity() == 2
    assert "check the API token in connection 'riffusion_default'" in capsys.readouterr().err


def test_capacity_service_that_is_down_exits_with_1(connect, restore_process, capsys):
    connect("http://127.0.0.1:1", conn_id="riffusion_default")

    assert capacity() == 1
    assert "Connection refused" in capsys.readouterr().err


def test_capacity_unreadable_environment_variable_exits_with_2(restore_process, monkeypatch, capsys):
    monkeypatch.setenv("AIRFLOW_CONN_MINE", '{"conn_type": "riffusion", "password": "user:1234-abcDEF"')

    assert capacity("--conn-id", "mine") == 2
    errors = capsys.readouterr().err
    assert "'mine' can't be looked up in EnvironmentVariablesBackend" in errors
    assert "abcDEF" not in errors


def test_capacity_database_that_fails_exits_with_1(restore_process, monkeypatch, capsys):
    from airflow import settings

    monkeypatch.setattr(settings, "Session", None)  # as if Airflow could not open it

    assert capacity("--conn-id", "stored") == 1
    assert "'stored' can't be looked up in MetastoreBackend" in capsys.readouterr().err
