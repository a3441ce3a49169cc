from __future__ import annotations

import inspect
import json
import os
import re
import shlex
from datetime import timedelta

import pytest

from airflow_riffusion import metrics
from airflow_riffusion.cli.definition import COMMANDS
from airflow_riffusion.core.note import JobNote
from airflow_riffusion.core.request import Grant, SlotRequest
from airflow_riffusion.emulator import EmulatorServer
from airflow_riffusion.hooks.riffusion import RiffusionHook
from airflow_riffusion.operators.submit import RiffusionSubmitOperator
from airflow_riffusion.sensors.capacity import CapacitySensor
from tests import readme
from tests.readings import job, reading
from tests.versions import needs_airflow_3, needs_zero_worker_mode


@pytest.fixture
def emulator(connect):
    with EmulatorServer(accounts=2, max_jobs=2) as emulator:
        connect(emulator.url, conn_id="riffusion_default")
        emulator.service.submit("polka on the moon")
        yield emulator


@pytest.mark.parametrize("script", readme.scripts(), ids=["hook", "emulator"])
def test_readme_script_runs(script, emulator, capsys):
    exec(compile(script, "README.md", "exec"), {})  # the README is ours


@needs_airflow_3
@pytest.mark.parametrize(
    "dag",
    [*readme.dags()[:-1], pytest.param(readme.dags()[-1], marks=needs_zero_worker_mode)],
    ids=["songs", "gate", "report", "event", "zero-worker"],
)
def test_readme_dag_can_be_parsed(dag):
    exec(compile(dag, "README.md", "exec"), {})


def test_readme_xcom_has_the_real_fields():
    songs, shown = (json.loads(block) for block in readme.blocks("json"))
    xcom = Grant("g", SlotRequest(), {"a": 1}, reading(job("1", "a"), a=(3, 4))).to_xcom()

    assert list(songs) == list(JobNote("ref").to_xcom(None))

    assert list(shown) == list(xcom)
    assert list(shown["accounts"][0]) == list(xcom["accounts"][0])
    assert list(shown["jobs"][0]) == list(xcom["jobs"][0])


def defaults(operator):
    parameters = inspect.signature(operator).parameters.values()
    return {each.name: each.default for each in parameters if each.kind is inspect.Parameter.KEYWORD_ONLY}


def test_readme_sensor_table_has_all_parameters_and_defaults():
    own, shown = defaults(CapacitySensor), readme.table("### The sensor's parameters")

    assert (shown.pop("timeout"), own.pop("timeout")) == ("Airflow's", None)
    assert {name: eval(default.strip("`")) for name, default in shown.items()} == own


def test_readme_operator_table_has_all_parameters_and_defaults():
    own, shown = defaults(RiffusionSubmitOperator), readme.table("### The operator's parameters")

    assert (shown.pop("timeout"), own.pop("timeout")) == ("a week", timedelta(days=7))
    assert (shown.pop("json"), own.pop("json")) == ("", inspect.Parameter.empty)
    assert {name: eval(default.strip("`")) for name, default in shown.items()} == own


@needs_airflow_3
def test_readme_event_trigger_table_has_all_parameters_and_defaults():
    from airflow_riffusion.triggers.event import CapacityEventTrigger

    parameters = inspect.signature(CapacityEventTrigger).parameters.values()
    shown = readme.table("### Start a DAG when slots come free")

    assert {name: eval(default.strip("`")) for name, default in shown.items()} == {
        each.name: each.default for each in parameters
    }


def test_readme_command_table_has_all_options_and_defaults():
    (capacity,) = (command for command in COMMANDS if command.name == "capacity")
    defaults = {max(flags, key=len): option.get("default") for flags, option in capacity.options.items()}
    shown = readme.table("## On the command line")

    assert list(shown) == list(defaults)
    assert {name: default.strip("`") for name, default in shown.items()} == {
        name: "" if default is None else f"{default:g}" if isinstance(default, float) else default
        for name, default in defaults.items()
    }


def test_readme_exit_code_table_is_complete():
    shown = [int(code) for code in re.findall(r"^\| (\d+) \|", readme.README, re.MULTILINE)]

    assert shown == [0, 1, 2]


def test_readme_metrics_table_is_complete():
    sent = re.findall(r'"(riffusion\.[a-z.]+)"', inspect.getsource(metrics))

    assert sorted(readme.table("## Metrics")) == sorted(sent)


def test_readme_connection_variable_is_read(monkeypatch):
    (assignment,) = re.findall(r"^    export (AIRFLOW_CONN_.*)$", readme.README, re.MULTILINE)
    (word,) = shlex.split(assignment)
    monkeypatch.setitem(os.environ, *word.split("=", 1))

    assert RiffusionHook().settings.token == "user:1234-abcDEF"


def test_readme_linked_files_exist():
    links = re.findall(r"\]\((?!https?:|#)([^)]+)\)", readme.README)

    assert links
    assert [link for link in links if not (readme.ROOT / link).exists()] == []
