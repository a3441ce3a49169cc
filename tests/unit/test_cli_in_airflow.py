"""The commands as ``airflow`` gets them, on Airflow 3.2 and newer."""

from __future__ import annotations

import argparse

import pytest
from packaging.version import Version

from airflow_riffusion.cli.__main__ import main
from airflow_riffusion.cli.definition import COMMANDS, get_riffusion_cli_commands
from airflow_riffusion.compat import AIRFLOW_VERSION
from airflow_riffusion.get_provider_info import get_provider_info


@pytest.fixture
def parser():
    """Return a parser of our commands, each of which is made as Airflow makes it."""
    (group,) = get_riffusion_cli_commands()
    parser = argparse.ArgumentParser()
    subparsers = parser.add_subparsers()
    for command in group.subcommands:
        subparser = subparsers.add_parser(command.name)
        for each in command.args:
            each.add_to_parser(subparser)
        subparser.set_defaults(func=command.func)
    return parser


def test_the_metadata_names_the_function_that_defines_them():
    function = get_riffusion_cli_commands

    assert get_provider_info()["cli"] == [f"{function.__module__}.{function.__name__}"]


def test_they_are_one_group():
    (group,) = get_riffusion_cli_commands()

    assert group.name == "riffusion"
    assert [command.name for command in group.subcommands] == [command.name for command in COMMANDS]


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_they_know_the_same_options_as_the_console_script(parser, command):
    given = vars(parser.parse_args([command.name]))

    assert {name: value for name, value in given.items() if name != "func"} == {
        flags[-1].removeprefix("--").replace("-", "_"): settings.get(
            "default", False if settings.get("action") else None
        )
        for flags, settings in command.options.items()
    }


def test_the_help_of_both_knows_every_exit_code(capsys):
    (group,) = get_riffusion_cli_commands()
    with pytest.raises(SystemExit):
        main(["capacity", "--help"])

    for shown in (group.subcommands[0].description, " ".join(capsys.readouterr().out.split())):
        for exit_code in (
            "0 the reading was taken",
            "1 the service, Airflow's database or a secrets backend is unavailable, or the answer was no",
            "2 the service or the connection says no",
            "3 the command can't run here",
            "130 Ctrl-C before the reading",
        ):
            assert exit_code in shown


def test_they_end_the_program_with_their_exit_code(parser, connect, capsys, monkeypatch):
    monkeypatch.setenv("_AIRFLOW_PROCESS_CONTEXT", "")  # The command sets it for good.
    connect("http://127.0.0.1:1", conn_id="riffusion_default", password="")
    options = parser.parse_args(["capacity"])

    with pytest.raises(SystemExit) as ended:
        options.func(options)
    assert ended.value.code == 2
    assert "the API token is missing" in capsys.readouterr().err


@pytest.mark.skipif(Version("3.2") > AIRFLOW_VERSION, reason="needs Airflow 3.2")
def test_airflow_finds_them():
    from airflow.providers_manager import ProvidersManager

    assert get_riffusion_cli_commands in ProvidersManager().cli_command_functions
