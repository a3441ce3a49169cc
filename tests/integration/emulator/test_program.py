from __future__ import annotations

import re
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
import requests

from airflow_riffusion.emulator import EmulatorServer
from airflow_riffusion.emulator.__main__ import main
from dev.airflow_client import attempts


def has_ipv6() -> bool:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


@pytest.fixture
def start():
    """Start the program; return it with its first line of output."""
    started = []

    def begin(*arguments: str) -> tuple[subprocess.Popen[str], str]:
        program = subprocess.Popen(
            [sys.executable, "-m", "airflow_riffusion.emulator", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(program)
        return program, program.stdout.readline()

    yield begin
    for program in started:
        program.kill()
        program.communicate()


@pytest.fixture
def in_process():
    """Return a function that runs the program in this process, and returns its exit code."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def run(*arguments: str) -> int | str | None:
        try:
            return main(arguments)
        except SystemExit as ended:
            return ended.code

    yield run
    for number, handler in before.items():
        signal.signal(number, handler)


def test_program_when_ready_prints_its_address(start):
    _, line = start("--port", "0", "--accounts", "1", "--max-jobs", "3", "--job-seconds", "2.5")
    assert re.fullmatch(
        r"Riffusion emulator ready on http://127\.0\.0\.1:\d+ \(1 account x 3 slots, jobs take 2\.5 s\)\n",
        line,
    )


def test_program_with_full_stdout_serves(http):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with Path("/dev/full").open("w") as full:
        program = subprocess.Popen(
            [sys.executable, "-m", "airflow_riffusion.emulator", "--port", str(port)], stdout=full
        )
    try:
        for _ in attempts(60):
            with suppress(requests.ConnectionError):
                assert http.get(f"http://127.0.0.1:{port}/emulator/stats").ok
                break
        else:
            pytest.fail("no answer")
    finally:
        program.terminate()
    assert program.wait(60) == 0


def test_program_with_options_serves_by_them(start, http):
    _, line = start("--port", "0", "--accounts", "1", "--service", "kling", "--token", "secret")
    url = re.search(r"http://\S+", line)[0]
    assert http.get(f"{url}/v1/kling/scheduler/available").status_code == 401
    http.headers["Authorization"] = "Bearer secret"
    assert http.get(f"{url}/v1/kling/scheduler/available").json() == {
        "executing": [],
        "available": [{"email": "account1@example.com", "maxJobs": 2, "executing": 0, "available": 2}],
    }


@pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6")
def test_program_with_host_in_brackets_listens(start, http):
    _, line = start("--port", "0", "--host", "[::1]")
    url = re.search(r"http://\[::1\]:\d+", line)[0]
    assert http.get(f"{url}/v1/riffusion/scheduler").json() == []


def test_program_hiding_full_accounts_lists_none(start, http):
    _, line = start("--port", "0", "--accounts", "1", "--max-jobs", "1", "--hide-full-accounts")
    assert line.endswith("jobs take 20 s, full accounts are not listed)\n")
    service = re.search(r"http://\S+", line)[0] + "/v1/riffusion"
    assert http.post(f"{service}/music/create-prompt", json={"prompt": "a song"}).ok
    assert http.get(f"{service}/scheduler/available").json()["available"] == []


def test_program_on_ctrl_c_ends_cleanly(start):
    program, _ = start("--port", "0")
    program.send_signal(signal.SIGINT)
    assert program.communicate(timeout=60) == ("", "")
    assert program.returncode == 0


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


def test_program_without_its_extra_says_what_to_install():
    program = subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys; sys.modules['fastapi'] = None\n"
            "from airflow_riffusion.emulator.__main__ import main\n"
            "sys.exit(main([]))",
        ],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (program.returncode, program.stderr) == (
        1,
        "fastapi is not installed: pip install 'airflow-riffusion[emulator]'\n",
    )


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
