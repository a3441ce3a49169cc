"""The console script and what it does, with the service on loopback."""

from __future__ import annotations

import json
import os
import re
import select
import signal
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from packaging.version import Version

from airflow_riffusion.cli.__main__ import main
from airflow_riffusion.compat import AIRFLOW_VERSION
from airflow_riffusion.emulator import EmulatorServer

AIRFLOW = Path(sys.executable).with_name("airflow")

NO_UNIT_TEST = {"AIRFLOW__CORE__UNIT_TEST_MODE": "False"}  # which Airflow would tell on stdout

needs_commands_of_providers = pytest.mark.skipif(
    Version("3.2") > AIRFLOW_VERSION, reason="needs Airflow 3.2: older ones know no commands of providers"
)


SIGNALLED = """
import os, sys

class Signals:
    def find_spec(self, name, path=None, target=None):
        if name == "airflow.configuration":
            os.kill(os.getpid(), int(os.environ["SENT"]))

sys.meta_path.insert(0, Signals())
"""


@pytest.fixture
def service(connect, monkeypatch):
    monkeypatch.setenv("_AIRFLOW_PROCESS_CONTEXT", "")
    with EmulatorServer(accounts=2, max_jobs=2, job_seconds=3600, token="user:1234-abcDEF") as service:
        service.service.submit("polka on the moon", reply_url="https://me:pass@example.com/done?key=secret")
        connect(service.url, conn_id="riffusion_default")
        yield service


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
    restarted = datetime.now(tz=UTC)
    reading = json.loads(program.stdout.readline())
    assert reading["available"] == 3
    assert datetime.fromisoformat(reading["observed_at"]) > restarted - timedelta(seconds=5)

    program.send_signal(signal.SIGTERM)
    program.communicate(timeout=60)
    assert program.returncode == 0


def test_a_reading_is_in_the_pipe_before_the_next_is_taken(start, service):
    program = start("capacity", "--watch", "--interval", "86400", "--output", "json")

    assert select.select([program.stdout], [], [], 120)[0]


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGINT])
def test_watching_ends_well_while_airflow_is_still_being_imported(start, service, sent, tmp_path):
    # What Python runs first; it says when the import of Airflow begins.
    (tmp_path / "sitecustomize.py").write_text(SIGNALLED)
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    program = start("capacity", "--watch", environ={"PYTHONPATH": path, "SENT": str(int(sent))})

    assert program.communicate(timeout=60) == ("", "")
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


@needs_commands_of_providers
def test_airflow_runs_the_emulator_and_says_nothing_else(start):
    program = start("riffusion", "emulator", "--port", "0", program=AIRFLOW, environ=NO_UNIT_TEST)
    assert program.stdout.readline().startswith("Riffusion emulator ready on http://127.0.0.1:")

    program.send_signal(signal.SIGTERM)
    out, _ = program.communicate(timeout=60)
    assert (program.returncode, out) == (0, "")


@needs_commands_of_providers
def test_airflow_ends_with_the_exit_code_of_an_unavailable_service(start, connect):
    connect("http://127.0.0.1:1", conn_id="riffusion_default")
    program = start("riffusion", "capacity", program=AIRFLOW, environ=NO_UNIT_TEST)
    out, err = program.communicate(timeout=120)

    assert (program.returncode, out) == (1, "")
    assert "Connection refused" in err


def test_callback_urls_are_shown_without_their_secrets(service, capsys):
    assert main(["capacity", "--output", "yaml"]) == 0
    shown = capsys.readouterr().out

    assert "https://example.com/done\n" in shown
    assert "secret" not in shown
    assert "pass" not in shown


def test_cli_full_accounts_that_are_not_listed_are_shown_as_full(connect, capsys):
    with EmulatorServer(
        accounts={"alice": 2, "bob": 2}, job_seconds=600, hide_full_accounts=True
    ) as emulator:
        for _ in range(4):
            emulator.service.submit("polka")
        emulator.service.log_out("bob")
        connect(emulator.url)
        assert main(["capacity", "--conn-id", "riffusion_test", "--output", "json"]) == 0

    said = capsys.readouterr()
    assert json.loads(said.out[said.out.index("{") :])["accounts"] == [
        {"user_id": "alice", "max_jobs": 2, "executing": 2, "available": 0}
    ]
    assert said.err == "Note: account bob needs its login renewed at useapi.net\n"


def test_a_wrong_token_is_rejected(service, connect, capsys):
    connect(service.url, conn_id="riffusion_default", password="user:other")

    assert main(["capacity"]) == 2
    assert "check the API token in connection 'riffusion_default'" in capsys.readouterr().err


def test_certificates_that_can_not_be_read_are_rejected(service, connect, capsys, monkeypatch):
    connect("https://api.example.com", conn_id="riffusion_default")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/missing.pem")

    assert main(["capacity"]) == 2
    assert "REQUESTS_CA_BUNDLE names '/missing.pem'" in capsys.readouterr().err


def test_a_service_that_is_down_is_unavailable(service, capsys):
    service.__exit__(None, None, None)

    assert main(["capacity"]) == 1
    assert "Connection refused" in capsys.readouterr().err
    service.__enter__()
