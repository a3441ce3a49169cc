from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys

import pytest
from packaging.version import Version

from airflow_riffusion.cli.__main__ import main
from airflow_riffusion.cli.definition import COMMANDS, get_riffusion_cli_commands
from airflow_riffusion.compat import AIRFLOW_VERSION
from airflow_riffusion.exceptions import RiffusionBadResponse, RiffusionRejected, RiffusionUnavailable
from airflow_riffusion.get_provider_info import get_provider_info
from tests.readings import job, reading

FREE = reading(job("1", "a", "song"), a=(3, 4))
LOGGED_OUT = FREE.model_copy(update={"logged_out": ("a",)})
DOWN = RiffusionUnavailable("503 Service Unavailable.")
REJECTED = RiffusionRejected("401 Unauthorized: check the API token.")
BAD = RiffusionBadResponse("The answer is no capacity answer.")


def capacity(*arguments):
    """Run the command and return its exit code."""
    with pytest.raises(SystemExit) as ended:
        main(["capacity", *arguments])
    return ended.value.code


def watch(*arguments):
    return capacity("--watch", *arguments)


@pytest.mark.parametrize(
    ("answer", "exit_code"),
    [(FREE, 0), (DOWN, 1), (BAD, 1), (RuntimeError(), 1), (KeyboardInterrupt(), 1), (REJECTED, 2)],
)
def test_capacity_any_answer_sets_the_exit_code(service, answer, exit_code):
    service.answers = [answer]

    assert capacity() == exit_code


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (REJECTED, "401 Unauthorized: check the API token.\n"),
        (RiffusionUnavailable("two\nlines \x1b[2J"), "two lines [2J\n"),
        (
            RuntimeError("no driver for\npostgresql+psycopg2:/me:se/cret@db"),
            "The capacity can't be shown: RuntimeError: no driver for postgresql+psycopg2:/***@db\n",
        ),
    ],
)
def test_capacity_error_is_one_line_on_stderr_without_secrets(service, capsys, error, line):
    service.answers = [error]
    capacity()

    assert capsys.readouterr() == ("", line)


def test_capacity_unavailable_service_is_asked_once(service):
    service.answers = [DOWN, FREE]
    capacity()

    assert (service.asked, service.pauses) == (["riffusion_default"], [])


def test_capacity_json_is_the_operators_xcom(service, capsys):
    service.answers = [FREE]
    capacity("--output", "json")

    assert json.loads(capsys.readouterr().out) == FREE.to_xcom()


@pytest.mark.parametrize("arguments", [(), ("--watch",)])
def test_capacity_in_a_pipe_prints_plain_text_and_whole_ids(service, capsys, monkeypatch, arguments):
    monkeypatch.setenv("FORCE_COLOR", "1")
    long = "x" * 1024
    service.answers = [reading(job(long, "a", long), a=(3, 4))]
    capacity(*arguments)
    printed = capsys.readouterr().out

    assert [long, long] in [line.split()[2:] for line in printed.splitlines()]
    assert all(line.isascii() and line.isprintable() for line in printed.splitlines())


@pytest.mark.parametrize("output", ["table", "json"])
def test_capacity_note_is_printed_to_stderr(service, capsys, output):
    service.answers = [LOGGED_OUT]
    capacity("--output", output)

    assert capsys.readouterr().err == "Note: account a needs its login renewed at useapi.net\n"


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["capacity", "--interval", "0.9"], "--interval: must be between 1 and 86400 seconds, not 0.9"),
        (["capacity", "--interval", "nan"], "--interval: must be between 1 and 86400 seconds, not nan"),
        (["capacity", "--interval", "soon"], "--interval: invalid seconds value: 'soon'"),
        (["capacity", "--output", "yaml"], "invalid choice: 'yaml'"),
        ([], "COMMAND"),
    ],
)
def test_main_invalid_arguments_exit_with_2(arguments, complaint, capsys):
    with pytest.raises(SystemExit) as ended:
        main(arguments)

    assert ended.value.code == 2
    assert complaint in capsys.readouterr().err


def test_watch_json_prints_one_line_per_reading(service, capsys):
    service.answers = [FREE, FREE]
    watch("--output", "json")

    assert [json.loads(line) for line in capsys.readouterr().out.splitlines()] == [FREE.to_xcom()] * 2


def test_watch_table_in_a_pipe_prints_one_after_another(service, capsys):
    service.answers = [FREE, FREE]
    watch()

    assert capsys.readouterr().out.count("\n\nriffusion_default (riffusion)") == 1


def test_watch_ctrl_c_exits_with_0(service):
    service.answers = [FREE, FREE]

    assert watch() == 0
    assert service.pauses == [5, 5]


def test_watch_sigterm_exits_with_0(service, monkeypatch):
    service.answers = [FREE, REJECTED]
    monkeypatch.setattr("airflow_riffusion.clock.sleep", lambda seconds: os.kill(os.getpid(), signal.SIGTERM))

    assert watch() == 0


def test_watch_errors_are_survived(service, capsys):
    service.answers = [DOWN, BAD, BAD, FREE]

    assert watch("--output", "json") == 0
    assert json.loads(capsys.readouterr().out) == FREE.to_xcom()


def test_watch_three_bad_answers_in_a_row_exit_with_2(service, capsys):
    service.answers = [BAD, BAD, BAD, FREE]

    assert watch("--output", "json") == 2
    assert "Several readings in a row" in capsys.readouterr().err


def test_watch_rejection_exits_with_2(service):
    service.answers = [FREE, REJECTED, FREE]

    assert watch() == 2
    assert service.answers == [FREE]


def test_watch_repeated_error_is_printed_once(service, capsys):
    service.answers = [DOWN, DOWN, FREE, DOWN]
    watch("--interval", "60")

    assert capsys.readouterr().err == "503 Service Unavailable. Next reading in 60 s.\n" * 2


def test_watch_repeated_note_is_printed_once(service, capsys):
    service.answers = [LOGGED_OUT, LOGGED_OUT, FREE, LOGGED_OUT]
    watch("--output", "json")

    assert capsys.readouterr().err.count("Note: ") == 2


@pytest.mark.parametrize(
    ("retry_after", "pause"), [(None, 7), (3, 7), (30, 30), (1_000_000, 600), (float("inf"), 600)]
)
def test_watch_retry_after_is_honoured_up_to_10_minutes(service, retry_after, pause):
    service.answers = [RiffusionUnavailable("429 Too Many Requests.", retry_after=retry_after)]
    watch("--interval", "7")

    assert service.pauses == [pause]


def test_watch_each_reading_looks_the_connection_up(service):
    service.answers = [FREE, FREE]
    watch("--conn-id", "mine")

    assert service.asked == ["mine"] * 3


def test_definition_import_loads_no_third_party_package():
    code = (
        "import sys; before = set(sys.modules)\n"
        "import airflow_riffusion.cli.__main__\n"
        "new = {name.partition('.')[0] for name in set(sys.modules) - before}\n"
        "print(sorted(new - sys.stdlib_module_names))"
    )
    found = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)

    assert found.stdout == "['airflow_riffusion']\n"


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_definition_each_command_has_a_module_that_runs_it(command):
    assert callable(__import__(command.module, fromlist=["run"]).run)


def test_provider_info_names_the_function_that_returns_the_commands():
    function = get_riffusion_cli_commands

    assert get_provider_info()["cli"] == [f"{function.__module__}.{function.__name__}"]


def test_airflow_commands_have_the_console_scripts_options():
    (group,) = get_riffusion_cli_commands()

    assert group.name == "riffusion"
    assert [(each.name, [arg.flags for arg in each.args]) for each in group.subcommands] == [
        (command.name, list(command.options)) for command in COMMANDS
    ]


def test_airflow_command_exits_with_the_exit_code(service):
    (group,) = get_riffusion_cli_commands()
    command = group.subcommands[0]
    parser = argparse.ArgumentParser()
    for each in command.args:
        each.add_to_parser(parser)
    service.answers = [REJECTED]

    with pytest.raises(SystemExit) as ended:
        command.func(parser.parse_args([]))
    assert ended.value.code == 2


@pytest.mark.skipif(Version("3.2") > AIRFLOW_VERSION, reason="needs Airflow 3.2")
def test_airflow_finds_the_commands():
    from airflow.providers_manager import ProvidersManager

    assert get_riffusion_cli_commands in ProvidersManager().cli_command_functions
