"""The console script and what it does, with the service on loopback."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from airflow_riffusion.cli.__main__ import main
from airflow_riffusion.emulator import EmulatorServer

SCRIPT = Path(sys.executable).with_name("airflow-riffusion")


@pytest.fixture
def service(connect, monkeypatch):
    monkeypatch.setenv("_AIRFLOW_PROCESS_CONTEXT", "")
    with EmulatorServer(accounts=2, max_jobs=2, job_seconds=3600, token="user:1234-abcDEF") as service:
        service.service.submit("polka on the moon", reply_url="https://me:pass@example.com/done?key=secret")
        connect(service.url, conn_id="riffusion_default")
        yield service


@pytest.fixture
def start():
    """Start the console script; whatever is left of it afterwards is killed."""
    started = []

    def begin(*arguments: str) -> subprocess.Popen[str]:
        program = subprocess.Popen(
            [SCRIPT, *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(program)
        return program

    yield begin
    for program in started:
        program.kill()
        program.communicate()


def test_the_console_script_shows_a_reading_and_says_nothing_else(start, service):
    program = start("capacity")
    out, err = program.communicate(timeout=120)

    assert (program.returncode, err) == (0, "")
    assert "3 of 4 slots free on 2 accounts" in out.splitlines()[0]


def test_the_console_script_names_an_unknown_connection(start, service):
    program = start("capacity", "--conn-id", "nobodys")
    out, err = program.communicate(timeout=120)

    assert (program.returncode, out) == (2, "")
    assert re.fullmatch(r"The connection 'nobodys' does not exist .*\n", err)


def test_watching_lasts_through_an_outage_until_somebody_ends_it(start, service):
    program = start("capacity", "--watch", "--interval", "1", "--output", "json")
    assert json.loads(program.stdout.readline())["available"] == 3

    service.__exit__(None, None, None)
    assert "Connection refused" in program.stderr.readline()
    service.__enter__()
    assert json.loads(program.stdout.readline())["available"] == 3

    program.send_signal(signal.SIGTERM)
    program.communicate(timeout=60)
    assert program.returncode == 0


def test_watching_ends_well_when_nobody_reads_any_longer(start, service):
    program = start("capacity", "--watch", "--interval", "1", "--output", "json")
    program.stdout.readline()
    program.stdout.close()

    assert (program.stderr.read(), program.wait(timeout=60)) == ("", 0)


def test_the_console_script_runs_the_emulator(start):
    program = start("emulator", "--port", "0", "--accounts", "1", "--max-jobs", "3", "--service", "kling")
    assert re.fullmatch(
        r"Kling emulator ready on http://127\.0\.0\.1:\d+ \(1 account x 3 slots, jobs take 20 s\)\n",
        program.stdout.readline(),
    )

    program.send_signal(signal.SIGTERM)
    assert program.communicate(timeout=60) == ("", "")
    assert program.returncode == 0


def test_callback_urls_are_shown_without_their_secrets(service, capsys):
    assert main(["capacity", "--output", "yaml"]) == 0
    shown = capsys.readouterr().out

    assert "https://example.com/done\n" in shown
    assert "secret" not in shown
    assert "pass" not in shown


def test_a_wrong_token_is_rejected(service, connect, capsys):
    connect(service.url, conn_id="riffusion_default", password="user:other")

    assert main(["capacity"]) == 2
    assert "check the API token in connection 'riffusion_default'" in capsys.readouterr().err


def test_a_service_that_is_down_is_unavailable(service, capsys):
    service.__exit__(None, None, None)

    assert main(["capacity"]) == 1
    assert "Connection refused" in capsys.readouterr().err
    service.__enter__()
