"""Every code block of README.md and of the site's pages runs."""

from __future__ import annotations

import argparse
import os
import re
import shlex
import tomllib

import pytest
import requests

from airflow_riffusion.cli import __main__ as console_script
from airflow_riffusion.cli.definition import Command
from airflow_riffusion.compat import HAS_ZERO_WORKER_MODE
from airflow_riffusion.emulator import EmulatorServer
from airflow_riffusion.emulator import __main__ as emulator_program
from airflow_riffusion.hooks.riffusion import RiffusionHook
from tests import docs
from tests.versions import needs_airflow_3, needs_zero_worker_mode

PYPROJECT = tomllib.loads((docs.ROOT / "pyproject.toml").read_text())


@pytest.fixture
def emulator(connect):
    with EmulatorServer(service="flowmusic", accounts=2, max_jobs=2) as emulator:
        connect(emulator.url, conn_id="riffusion_default", extra={"service": "flowmusic"})
        emulator.service.submit("polka on the moon")
        yield emulator


@pytest.mark.parametrize("script", docs.scripts(), ids=str)
def test_docs_script_runs(script, emulator, capsys):
    exec(script.compile(), {})


def marked(block):
    needs = needs_zero_worker_mode if "start_from_trigger" in block.text else needs_airflow_3
    return pytest.param(block, marks=needs)


@pytest.mark.parametrize("dag", [marked(block) for block in docs.dags()], ids=str)
def test_docs_dag_can_be_parsed(dag):
    exec(dag.compile(), {})


def test_docs_dag_ids_are_unique():
    names = [name for block in docs.dags() for name in re.findall(r"@dag\([^\n]*\)\ndef (\w+)", block.text)]

    assert len(names) == len(set(names)) == len(docs.dags())


def lines(program):
    """Return the shell lines that start a program, each with where it stands."""
    found = [
        pytest.param(shlex.split(line), id=f"{block}: {line[:60]}")
        for block in docs.blocks("shell")
        for line in block.text.splitlines()
        if line.startswith(f"{program} ")
    ]
    assert found
    return found


def test_docs_shell_lines_start_programs_that_tests_know():
    known = {"make", "pip", "export", "airflow", "airflow-riffusion", "python", "curl"}

    assert {line.split()[0] for block in docs.blocks("shell") for line in block.text.splitlines()} <= known


@pytest.mark.parametrize("words", lines("make"))
def test_docs_make_target_exists(words):
    (targets,) = re.findall(r"^\.PHONY: (.*)$", (docs.ROOT / "Makefile").read_text(), re.MULTILINE)

    assert {word for word in words[1:] if "=" not in word} <= set(targets.split())


@pytest.mark.parametrize("words", lines("pip"))
def test_docs_pip_line_names_a_constraints_file_and_extras_that_exist(words):
    parser = argparse.ArgumentParser()
    parser.add_argument("--constraint", required=True)
    parser.add_argument("what")
    options = parser.parse_args(words[2:])

    assert (docs.ROOT / options.constraint).exists()
    assert set(re.findall(r"\[(\w+)\]", options.what)) <= set(PYPROJECT["project"]["optional-dependencies"])


@pytest.mark.parametrize("words", lines("export"))
def test_docs_connection_variable_is_read(words, monkeypatch):
    monkeypatch.setitem(os.environ, *words[1].split("=", 1))

    assert RiffusionHook().settings.token == "user:1234-abcDEF"


@pytest.mark.skipif(not HAS_ZERO_WORKER_MODE, reason="the commands are those of Airflow 3.3")
@pytest.mark.parametrize("words", lines("airflow"))
def test_docs_airflow_command_can_be_parsed(words):
    from airflow.cli.cli_parser import get_parser

    get_parser().parse_args(words[1:])


@pytest.mark.parametrize("words", lines("airflow-riffusion"))
def test_docs_console_script_line_can_be_parsed(words, monkeypatch):
    monkeypatch.setattr(Command, "run", lambda command, options: None)

    console_script.main(words[1:])


@pytest.mark.parametrize("words", lines("python"))
def test_docs_emulator_line_can_be_parsed(words, monkeypatch):
    monkeypatch.setattr(emulator_program, "run", lambda options: 0)

    assert words[:3] == ["python", "-m", "airflow_riffusion.emulator"]
    assert emulator_program.main(words[3:]) == 0


@pytest.mark.parametrize("words", lines("curl"))
def test_docs_curl_line_is_answered(words, emulator):
    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    parser.add_argument("-H", action="append")
    parser.add_argument("-d")
    options = parser.parse_args(words[1:])
    answer = requests.request(
        "POST" if options.d else "GET",
        options.url.replace("http://127.0.0.1:8099", emulator.url),
        headers=dict(header.split(": ", 1) for header in options.H),
        data=options.d,
        timeout=10,
    )

    answer.raise_for_status()
