from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
import requests

from airflow_riffusion.emulator import EmulatorServer
from airflow_riffusion.emulator.__main__ import main
from airflow_riffusion.emulator.dialects import TITLES
from dev.airflow_client import attempts
from dev.airflow_stack import free_port

PROGRAM = (sys.executable, "-m", "airflow_riffusion.emulator")


@contextmanager
def running(program: subprocess.Popen) -> Iterator[None]:
    """Kill a program that is left when the test is over."""
    try:
        yield
    finally:
        program.kill()
        program.communicate()


@pytest.fixture
def in_process():
    """Return a function that runs the program in this process, and returns its exit code."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def run(*arguments: str) -> int | str | None:
        try:
            return main(arguments)
        except SystemExit as exited:
            return exited.code

    yield run
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def build(in_process, monkeypatch, capsys):
    """Return a function that runs the program up to when it is ready: what it would serve, and its output."""

    def run(*arguments: str) -> tuple[EmulatorServer, str]:
        built = []

        def ready_at_once(emulator: EmulatorServer, when_ready: Callable[[], object]) -> None:
            built.append(emulator)
            when_ready()

        monkeypatch.setattr(EmulatorServer, "run", ready_at_once)
        assert in_process(*arguments) == 0
        return built[0], capsys.readouterr().out

    return run


def test_program_when_ready_prints_address_and_options(build):
    _, line = build("--port", "1", "--accounts", "1", "--max-jobs", "3", "--job-seconds", "2.5")
    assert line == ("Riffusion emulator ready on http://127.0.0.1:1 (1 account x 3 slots, jobs take 2.5 s)\n")


def test_program_with_service_and_token_serves_by_them(build, http):
    emulator, _ = build("--port", "0", "--accounts", "1", "--service", "kling", "--token", "secret")
    with emulator:
        url = f"{emulator.url}/v1/kling/scheduler/available"
        assert http.get(url).status_code == 401
        http.headers["Authorization"] = "Bearer secret"
        assert http.get(url).json() == {
            "executing": [],
            "available": [{"email": "account1@example.com", "maxJobs": 2, "executing": 0, "available": 2}],
        }


@pytest.mark.parametrize("service", TITLES)
def test_program_with_any_service_names_it(build, service):
    _, line = build("--port", "1", "--service", service)
    assert line.startswith(f"{TITLES[service]} emulator ready on ")


def test_program_with_host_in_brackets_takes_the_address(build):
    emulator, _ = build("--port", "1", "--host", "[::1]")
    assert emulator.url == "http://[::1]:1"


def test_program_hiding_full_accounts_lists_none(build, http):
    emulator, line = build("--port", "0", "--accounts", "1", "--max-jobs", "1", "--hide-full-accounts")
    assert line.endswith("jobs take 20 s, full accounts are not listed)\n")
    with emulator:
        service = f"{emulator.url}/v1/riffusion"
        assert http.post(f"{service}/music/create-prompt", json={"prompt": "a prompt"}).ok
        assert http.get(f"{service}/scheduler/available").json()["available"] == []


@pytest.mark.parametrize("package", ["fastapi", "uvicorn"])
def test_program_without_its_extra_says_what_to_install(in_process, monkeypatch, capsys, package):
    for module in ("app", "server"):
        monkeypatch.delitem(sys.modules, f"airflow_riffusion.emulator.{module}")
    monkeypatch.setitem(sys.modules, package, None)
    assert in_process() == 1
    assert capsys.readouterr().err == (
        f"{package} is not installed: pip install 'airflow-riffusion[emulator]'\n"
    )


def test_program_on_ctrl_c_ends_cleanly():
    program = subprocess.Popen(
        [*PROGRAM, "--port", "0"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    with running(program):
        assert program.stdout.readline().startswith("Riffusion emulator ready on http://127.0.0.1:")
        program.send_signal(signal.SIGINT)
        assert program.communicate(timeout=60) == ("", "")
    assert program.returncode == 0


def test_program_with_full_stdout_serves(http):
    port = free_port()
    with Path("/dev/full").open("w") as full:
        program = subprocess.Popen([*PROGRAM, "--port", str(port)], stdout=full)
    with running(program):
        for _ in attempts(60):
            with suppress(requests.ConnectionError):
                assert http.get(f"http://127.0.0.1:{port}/emulator/stats").ok
                break
        else:
            pytest.fail("no answer")
        program.terminate()
        assert program.wait(60) == 0


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--max-jobs", "11"], "error: --max-jobs: must be between 1 and 10, not 11"),
        (["--host", "0.0.0.0"], "error: --host: '0.0.0.0' can be reached from other machines"),
        (["--service", "suno"], "error: argument --service: invalid choice: 'suno'"),
    ],
)
def test_program_with_bad_arguments_exits_2(in_process, capsys, arguments, complaint):
    assert in_process(*arguments) == 2
    assert complaint in capsys.readouterr().err


def test_program_with_busy_port_exits_1(in_process, capsys):
    with EmulatorServer() as emulator:
        port = emulator.url.rpartition(":")[2]
        assert in_process("--port", port) == 1
    assert capsys.readouterr().err == f"Can't listen on 127.0.0.1, port {port}: Address already in use\n"


def test_emulator_import_needs_no_airflow():
    program = subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys, airflow_riffusion.emulator.server\n"
            "print([name for name in sys.modules if name.partition('.')[0] == 'airflow'])",
        ],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert program.stdout == "[]\n"
