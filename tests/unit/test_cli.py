from __future__ import annotations

import builtins
import json
import logging
import os
import re
import signal
import subprocess
import sys
import warnings
from datetime import time

import pytest
import yaml
from airflow.exceptions import AirflowException

from airflow_riffusion.cli import readings as readings_module
from airflow_riffusion.cli.__main__ import main
from airflow_riffusion.cli.definition import COMMANDS
from airflow_riffusion.exceptions import (
    RiffusionBadResponse,
    RiffusionConnectionNotFound,
    RiffusionRejected,
    RiffusionUnavailable,
)
from tests.readings import job, reading

FREE = reading(job("1", "a", "song"), a=(3, 4))
DOWN = RiffusionUnavailable("503 Service Unavailable.")
REJECTED = RiffusionRejected("401 Unauthorized: check the API token.")
BAD = RiffusionBadResponse("The answer is no capacity answer.")


def watch(*arguments):
    return main(["capacity", "--watch", *arguments])


@pytest.mark.parametrize(("answer", "exit_code"), [(FREE, 0), (DOWN, 1), (BAD, 1), (REJECTED, 2)])
def test_the_exit_code_tells_whether_there_was_a_reading_and_whether_waiting_helps(
    service, answer, exit_code
):
    service.answers = [answer]

    assert main(["capacity"]) == exit_code


def test_an_error_is_one_line_on_stderr(service, capsys):
    service.answers = [REJECTED]
    main(["capacity", "--output", "json"])

    assert capsys.readouterr() == ("", "401 Unauthorized: check the API token.\n")


def test_one_reading_is_one_request_on_the_connection_given(service):
    service.answers = [DOWN, FREE]
    main(["capacity", "--conn-id", "mine"])

    assert (service.asked, service.pauses) == (["mine"], [])


def test_the_default_connection_is_the_hooks(service):
    service.answers = [FREE]
    main(["capacity"])

    assert service.asked == ["riffusion_default"]


def test_json_is_the_operators_xcom(service, capsys):
    service.answers = [FREE]
    main(["capacity", "--output", "json"])

    assert json.loads(capsys.readouterr().out) == FREE.to_xcom()


def test_a_single_reading_as_json_is_indented(service, capsys):
    service.answers = [FREE]
    main(["capacity", "--output", "json"])

    assert capsys.readouterr().out.startswith('{\n  "')


def test_yaml_is_the_operators_xcom(service, capsys):
    service.answers = [FREE]
    main(["capacity", "--output", "yaml"])
    shown = yaml.safe_load(capsys.readouterr().out)

    assert shown == FREE.to_xcom()
    assert list(shown) == list(FREE.to_xcom())


def test_a_pipe_gets_ids_in_full_without_colours_and_trailing_blanks(service, capsys):
    long = "x" * 1024
    service.answers = [reading(job(long, "a", long), a=(3, 4))]
    main(["capacity"])
    lines = capsys.readouterr().out.splitlines()

    assert lines[-1].split()[2:] == [long, long]
    assert lines == [line.rstrip() for line in lines]
    assert all(line.isascii() and line.isprintable() for line in lines)


@pytest.mark.parametrize("output", ["table", "json", "yaml"])
def test_what_was_odd_about_the_answer_is_told_on_stderr(service, capsys, output):
    service.answers = [FREE.model_copy(update={"warnings": ("account 'a' is listed twice",)})]
    main(["capacity", "--output", output])

    assert capsys.readouterr().err == "Note: account 'a' is listed twice\n"


def test_watching_ends_well_with_ctrl_c(service):
    service.answers = [FREE, FREE]

    assert watch() == 0
    assert service.pauses == [5, 5]


def test_watching_ends_well_with_sigterm(service, monkeypatch):
    service.answers = [FREE]
    monkeypatch.setattr(readings_module.time, "sleep", lambda seconds: os.kill(os.getpid(), signal.SIGTERM))

    assert watch() == 0


def test_watching_goes_on_while_the_service_is_unavailable(service, capsys):
    service.answers = [DOWN, FREE]

    assert watch("--output", "json") == 0
    out, err = capsys.readouterr()
    assert json.loads(out) == FREE.to_xcom()
    assert "503 Service Unavailable." in err


def test_what_goes_wrong_again_and_again_is_told_once_and_when(service, capsys):
    service.answers = [DOWN, DOWN, FREE, DOWN]
    watch("--interval", "60")
    errors = capsys.readouterr().err.splitlines()
    told = [
        re.fullmatch(r"(.*) UTC: 503 Service Unavailable. Next look at (.*) UTC\.", each) for each in errors
    ]

    assert len(errors) == 2
    then, next_look = (time.fromisoformat(each) for each in told[0].groups())
    assert (next_look.minute - then.minute) % 60 == 1


def test_what_is_odd_again_and_again_is_told_once(service, capsys):
    odd = FREE.model_copy(update={"warnings": ("account 'a' is listed twice",)})
    service.answers = [odd, odd, FREE, odd]
    watch("--output", "json")

    assert capsys.readouterr().err == "Note: account 'a' is listed twice\n" * 2


def test_watching_ends_when_rejected(service, capsys):
    service.answers = [FREE, REJECTED, FREE]

    assert watch() == 2
    assert capsys.readouterr().err == "401 Unauthorized: check the API token.\n"


def test_watching_ends_after_three_bad_answers_in_a_row(service):
    service.answers = [BAD, BAD, DOWN, BAD, BAD, FREE, BAD, BAD, BAD]

    assert watch() == 2
    assert service.answers == []


@pytest.mark.parametrize(
    ("retry_after", "pause"), [(None, 7), (3, 7), (30, 30), (1_000_000, 600), (float("inf"), 600)]
)
def test_watching_asks_no_sooner_than_the_service_wants(service, retry_after, pause):
    service.answers = [RiffusionUnavailable("429 Too Many Requests.", retry_after=retry_after)]
    watch("--interval", "7")

    assert service.pauses == [pause]


def test_each_reading_looks_the_connection_up(service):
    service.answers = [FREE, FREE]
    watch("--conn-id", "mine")

    assert service.asked == ["mine"] * 3


@pytest.mark.parametrize(
    ("output", "read"),
    [("json", lambda text: map(json.loads, text.splitlines())), ("yaml", yaml.safe_load_all)],
)
def test_a_program_can_tell_the_readings_apart(service, capsys, output, read):
    service.answers = [FREE, FREE]
    watch("--output", output)

    assert list(read(capsys.readouterr().out)) == [FREE.to_xcom()] * 2


def test_tables_in_a_pipe_follow_one_another(service, capsys):
    service.answers = [FREE, FREE]
    watch()

    assert capsys.readouterr().out.count("\n\nriffusion_default (riffusion)") == 1


def test_ctrl_c_before_the_reading_is_no_reading(service):
    assert main(["capacity"]) == 130


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["capacity", "--interval", "0.9"], "--interval: must be between 1 and 86400 seconds, not 0.9"),
        (["capacity", "--interval", "nan"], "--interval: must be between 1 and 86400 seconds, not nan"),
        (["capacity", "--interval", "soon"], "--interval: invalid number value: 'soon'"),
        (["capacity", "--interval", "5", "--watch", "--output", "xml"], "invalid choice: 'xml'"),
        ([], "COMMAND"),
    ],
)
def test_options_that_make_no_sense_are_an_error(arguments, complaint, capsys):
    with pytest.raises(SystemExit) as ended:
        main(arguments)

    assert ended.value.code == 2
    assert complaint in capsys.readouterr().err


def test_an_interval_without_watching_is_an_error_that_says_what_to_do(service, capsys):
    assert main(["capacity", "--interval", "5"]) == 2
    assert "add --watch, or drop it" in capsys.readouterr().err
    assert service.asked == []


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("postgresql://me:secret@db/airflow", "postgresql://***@db/airflow"),
        ("postgresql://me:se/cret@db/airflow", "postgresql://***@db/airflow"),
        ("'postgresql+psycopg2:/me:secret@db'", "'postgresql+psycopg2:/***@db'"),
        ("'postgresql+psycopg2:me:secret@db'", "'postgresql+psycopg2:***@db'"),
    ],
)
def test_what_nobody_foresaw_is_one_line_and_an_exit_code_of_its_own(service, capsys, address, shown):
    service.answers = [RuntimeError(f"no driver for\n{address}")]

    assert main(["capacity"]) == 3
    assert capsys.readouterr() == (
        "",
        f"airflow-riffusion capacity can't go on here: RuntimeError: no driver for {shown}\n",
    )


@pytest.mark.parametrize(
    ("failure", "exit_code"),
    [
        (AirflowException("Invalid connection string: riffusion://:user%3A1234-abcDEF@https://api."), 2),
        (ValueError("no JSON: user:1234-abcDEF"), 2),
        (ConnectionError("user:1234-abcDEF is what was asked for"), 1),
    ],
)
def test_a_secrets_backend_that_fails_is_not_quoted(service, capsys, monkeypatch, failure, exit_code):
    class Vault:
        def get_connection(self, conn_id):
            raise failure

    monkeypatch.setattr("airflow_riffusion.cli.lookup.ensure_secrets_loaded", lambda: [Vault()])
    service.answers = [RiffusionConnectionNotFound("The connection 'riffusion_default' does not exist.")]

    assert main(["capacity"]) == exit_code
    said = capsys.readouterr().err
    assert "Vault" in said
    assert "connection 'riffusion_default'" in said
    assert "abcDEF" not in said


def test_the_traceback_of_what_nobody_foresaw_is_logged_for_whoever_looks_for_it(service, caplog):
    caplog.set_level(logging.DEBUG, "airflow_riffusion.cli")
    service.answers = [RuntimeError("no driver")]
    main(["capacity"])

    (record,) = (each for each in caplog.records if each.name.startswith("airflow_riffusion.cli"))
    assert (record.levelno, str(record.exc_info[1])) == (logging.DEBUG, "no driver")


@pytest.mark.parametrize(("arguments", "exit_code"), [(["--watch"], 0), ([], 130)])
def test_an_interrupt_while_airflow_is_imported_is_no_failure(service, monkeypatch, arguments, exit_code):
    really_import = builtins.__import__

    def interrupted(name, *others):
        if name == readings_module.__name__:
            raise KeyboardInterrupt
        return really_import(name, *others)

    monkeypatch.delitem(sys.modules, readings_module.__name__)
    monkeypatch.setattr(builtins, "__import__", interrupted)

    assert main(["capacity", *arguments]) == exit_code


def test_connections_are_looked_up_as_airflows_own_commands_do(service):
    service.answers = [FREE]
    main(["capacity"])

    assert os.environ["_AIRFLOW_PROCESS_CONTEXT"] == "server"


def test_logs_and_warnings_are_as_before_afterwards(service):
    before = (logging.root.manager.disable, sys.warnoptions.copy(), warnings.filters.copy())
    service.answers = [DOWN]
    main(["capacity"])

    assert (logging.root.manager.disable, sys.warnoptions, warnings.filters) == before


def test_defining_the_commands_needs_next_to_nothing():
    code = (
        "import sys; before = set(sys.modules)\n"
        "import airflow_riffusion.cli.__main__\n"
        "new = {name.partition('.')[0] for name in set(sys.modules) - before}\n"
        "print(sorted(new - sys.stdlib_module_names))"
    )
    found = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)

    assert found.stdout == "['airflow_riffusion']\n"


def test_each_command_is_where_its_definition_says():
    for command in COMMANDS:
        assert callable(__import__(command.module, fromlist=["run"]).run)
