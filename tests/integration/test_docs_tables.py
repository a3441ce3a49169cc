"""Every table of names and defaults in README.md and in the site's pages is the code's."""

from __future__ import annotations

import ast
import inspect
import json
import re
import runpy
from datetime import timedelta
from http import HTTPStatus
from typing import get_args

import pytest

from airflow_riffusion import exceptions, metrics
from airflow_riffusion.cli.definition import COMMANDS
from airflow_riffusion.core.note import JobNote
from airflow_riffusion.core.request import Grant, SlotRequest
from airflow_riffusion.emulator import EmulatorServer
from airflow_riffusion.emulator.faults import Fault
from airflow_riffusion.emulator.program import OPTIONS
from airflow_riffusion.emulator.records import Endpoint, Stats
from airflow_riffusion.emulator.service import OTHER_ENDPOINT
from airflow_riffusion.get_provider_info import get_provider_info
from airflow_riffusion.operators.capacity import CapacityOperator
from airflow_riffusion.operators.submit import RiffusionSubmitOperator
from airflow_riffusion.sensors.capacity import CapacitySensor
from airflow_riffusion.sensors.job import JobSensor
from airflow_riffusion.services import GONE, SERVICES
from tests import docs
from tests.readings import job, reading
from tests.versions import needs_airflow_3


def parameters(what, *, keyword_only=True):
    return {
        each.name: each.default
        for each in inspect.signature(what).parameters.values()
        if each.kind is inspect.Parameter.KEYWORD_ONLY or (not keyword_only and each.name != "self")
    }


def defaults(table):
    """Return the defaults that a table shows, by name; an empty cell is a parameter that has none."""
    return {
        name.codes[0]: eval(default.value, {"timedelta": timedelta})
        if default.text
        else inspect.Parameter.empty
        for name, default, *_ in table
    }


@pytest.mark.parametrize(
    ("page", "heading", "what"),
    [
        ("docs/songs.md", "Parameters of RiffusionSubmitOperator", RiffusionSubmitOperator),
        ("docs/songs.md", "Wait for a job that was submitted elsewhere", JobSensor),
        ("docs/gate.md", "Parameters of CapacitySensor", CapacitySensor),
        ("docs/gate.md", "Look at the slots without waiting", CapacityOperator),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_docs_parameter_table_has_all_parameters_and_defaults(page, heading, what):
    shown = docs.PAGES[page].table(heading, "parameter")

    assert defaults(shown) == parameters(what)
    templated = {name.value for name, _, meaning in shown if meaning.text.endswith("(templated)")}
    assert templated == set(what.template_fields)


@needs_airflow_3
def test_docs_event_trigger_table_has_all_parameters_and_defaults():
    from airflow_riffusion.triggers.event import CapacityEventTrigger

    shown = docs.PAGES["docs/events.md"].table("Parameters of CapacityEventTrigger", "parameter")

    assert defaults(shown) == parameters(CapacityEventTrigger, keyword_only=False)


def only_json(page):
    (block,) = (block for block in docs.PAGES[page].blocks if block.language == "json")
    return json.loads(block.text)


def names_of(table):
    """Return the names in the first column; a row may have several."""
    return [name for first, *_ in table for name in first.codes]


def test_docs_song_xcom_has_the_real_fields():
    shown = only_json("docs/songs.md")

    assert list(shown) == list(JobNote("ref").to_xcom(None))
    assert names_of(docs.PAGES["docs/songs.md"].table("Its XCom", "key")) == list(shown)


def test_docs_sensor_xcom_has_the_real_fields():
    shown = only_json("docs/gate.md")
    xcom = Grant("g", SlotRequest(), {"a": 1}, reading(job("1", "a"), a=(3, 4))).to_xcom()

    assert list(shown) == list(xcom)
    assert list(shown["accounts"][0]) == list(xcom["accounts"][0])
    assert list(shown["jobs"][0]) == list(xcom["jobs"][0])
    assert sorted(names_of(docs.PAGES["docs/gate.md"].table("Its XCom", "key"))) == sorted(shown)


@needs_airflow_3
def test_docs_album_params_are_those_of_the_example():
    example = runpy.run_path(str(docs.ROOT / "example_dags" / "riffusion_album.py"))["riffusion_album"]()

    assert names_of(docs.PAGES["docs/audio.md"].table("Saving audio", "param")) == list(example.params)


# The connection and its services


@pytest.mark.parametrize(
    ("page", "heading"), [("README.md", "Which services work"), ("docs/services.md", "Services")]
)
def test_docs_service_table_has_all_services(page, heading):
    assert names_of(docs.PAGES[page].table(heading, "service")) == list(SERVICES)


@pytest.mark.parametrize("page", ["README.md", "docs/services.md"])
def test_docs_service_table_says_what_each_makes(page):
    heading = {"README.md": "Which services work", "docs/services.md": "Services"}[page]
    shown = {
        service.codes[0]: makes.text for service, makes, *_ in docs.PAGES[page].table(heading, "service")
    }

    assert shown == {name: service.makes for name, service in SERVICES.items()}


def test_docs_service_table_names_each():
    rows = docs.PAGES["docs/services.md"].table("Services", "service")

    assert [
        service.text for service, _, state, *_ in rows if SERVICES[service.codes[0]].title not in state.text
    ] == []


def test_docs_service_table_has_each_ones_account_endpoints_and_references():
    rows = docs.PAGES["docs/services.md"].table("Services", "service")
    shown = {
        service.codes[0]: (account.codes, readings.codes, songs.codes, references.text)
        for service, _, _, account, readings, songs, references in rows
    }

    assert shown == {
        name: (
            [service.account_field],
            [service.capacity_endpoint, *(["accounts"] if service.lists_busy_accounts_only else [])],
            [service.submit_endpoint] if service.submit_endpoint else [],
            "yes" if service.names_references else "no",
        )
        for name, service in SERVICES.items()
    }


def test_docs_table_of_what_is_known_has_all_services():
    shown = names_of(docs.PAGES["docs/services.md"].table("What is known of each", "service"))

    assert shown == list(SERVICES)


def test_docs_services_that_are_gone_are_listed_with_the_reason():
    page = " ".join(docs.PAGES["docs/services.md"].text.split())

    assert [name for name, reason in GONE.items() if f"`{name}`: {reason}" not in page] == []


def test_docs_table_of_audio_files_has_all_services():
    shown = names_of(docs.PAGES["docs/audio.md"].table("How many files a song has", "service"))

    assert sorted(shown) == sorted(SERVICES)


def test_docs_connection_table_has_all_fields_of_the_form():
    (form,) = get_provider_info()["connection-types"]
    labels = {label: name for name, label in form["ui-field-behaviour"]["relabeling"].items()} | {
        "Port": "port"
    }
    expected = {label: f"`{name}`" for label, name in labels.items()}
    expected |= {field["label"]: f"extra `{name}`" for name, field in form["conn-fields"].items()}
    table = docs.PAGES["docs/services.md"].table("The connection", "field")
    shown = {label.text.strip("*"): (name.text, default.value) for label, name, default, _ in table}

    assert {label: name for label, (name, _) in shown.items()} == expected
    for field in form["conn-fields"].values():
        default = field["schema"]["default"]
        assert shown[field["label"]][1] == ("" if default is None else str(default).replace("False", "false"))


# Command line and emulator


def option_defaults(options):
    return {
        max(flags, key=len): ""
        if option.get("default") is None
        else f"{option['default']}".removesuffix(".0")
        for flags, option in options.items()
    }


def test_docs_command_table_has_all_options_and_defaults():
    (capacity,) = (command for command in COMMANDS if command.name == "capacity")
    shown = docs.PAGES["docs/command-line.md"].table("Show the slots", "option")

    assert {name.codes[0]: default.value for name, default, _ in shown} == option_defaults(capacity.options)


def test_docs_exit_code_table_is_complete():
    (capacity,) = (command for command in COMMANDS if command.name == "capacity")
    shown = [code.text for code, _ in docs.PAGES["docs/command-line.md"].table("Show the slots", "exit code")]

    assert shown == re.findall(r" ([0-9]) [a-z]", capacity.description) == ["0", "1", "2"]


def test_docs_emulator_table_has_all_options_and_defaults():
    shown = docs.PAGES["docs/emulator.md"].table("Emulator", "option")

    assert {name.codes[0]: default.value for name, default, _ in shown} == option_defaults(OPTIONS)


def test_docs_fault_table_has_all_fields_and_defaults():
    shown = docs.PAGES["docs/emulator.md"].table("Let it fail", "field")

    assert defaults(shown) == {name: field.default for name, field in Fault.model_fields.items()}
    (endpoints,) = (meaning.codes for name, _, meaning in shown if name.value == "endpoint")
    assert sorted(endpoints) == sorted(get_args(Endpoint))


def test_docs_endpoint_table_has_all_endpoints():
    shown = names_of(docs.PAGES["docs/emulator.md"].table("Endpoints", "endpoint"))

    assert shown == [*get_args(Endpoint), OTHER_ENDPOINT]


def test_docs_table_of_emulator_parameters_has_only_real_ones():
    shown = names_of(docs.PAGES["docs/emulator.md"].table("In a test", "parameter"))

    assert set(shown) <= set(parameters(EmulatorServer))


def test_docs_stats_table_has_all_fields():
    shown = names_of(docs.PAGES["docs/emulator.md"].table("Look at what it saw", "in the stats"))

    assert sorted(shown) == sorted(Stats.__annotations__)


# Metrics and errors


def test_docs_metrics_table_has_each_type_and_its_tags(monkeypatch):
    types, sent = {"gauge": "gauge", "timing": "timer", "incr": "counter"}, {}
    monkeypatch.setattr(metrics, "_gauges_sent", {})
    monkeypatch.setattr(
        metrics, "_send", lambda kind, name, _, tags: sent.update({name: (types[kind], [*tags])})
    )
    metrics.reading("c", reading(a=(1, 2)))
    metrics.gate("c", waiting=1, held=1)
    metrics.granted("c", Grant("g", SlotRequest(), {"a": 1}, reading(a=(1, 2))))
    with pytest.raises(exceptions.RiffusionUnavailable), metrics.request("c"):
        raise exceptions.RiffusionUnavailable("no")
    shown = docs.PAGES["docs/metrics.md"].table("Metrics", "metric")

    assert {name.value: (kind.text, tags.codes) for name, kind, tags, _ in shown} == sent
    assert sorted(sent) == sorted(re.findall(r'"(riffusion\.[a-z.]+)"', inspect.getsource(metrics)))


def test_docs_error_table_has_all_errors():
    errors = [name for name in vars(exceptions) if name.startswith("Riffusion")]

    assert names_of(docs.PAGES["docs/api.md"].table("Errors", "error")) == errors


def message_texts():
    """Return all texts in the package, with a placeholder for each value, and those of HTTP's statuses."""
    texts = [f"{status.value} {status.phrase}" for status in HTTPStatus]
    for file in (docs.ROOT / "airflow_riffusion").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.JoinedStr):
                parts = (part.value if isinstance(part, ast.Constant) else "?" for part in node.values)
                texts.append("".join(parts))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                texts.append(node.value)
    return "\n".join(texts)


def is_said(text, texts):
    """Return whether the code says a message, or both of its halves; numbers and variables are values."""
    words = [r"\S+" if re.search(r"\d|[A-Z]{4}", word) else re.escape(word) for word in text.split()]
    halves = [(" ".join(words[:cut]), " ".join(words[cut:])) for cut in range(len(words))]
    return any(re.search(begin, texts) and re.search(end, texts) for begin, end in halves)


@pytest.mark.parametrize("heading", ["An error", "No error, but nothing happens"])
def test_docs_troubleshooting_quotes_messages_of_the_code(heading):
    page, texts = docs.PAGES["docs/troubleshooting.md"], message_texts()
    shown = names_of(page.table(heading, "you see"))
    said = [message for message in shown if "invalid choice" not in message]  # argparse's own
    pieces = [piece.strip(" '.") for message in said for piece in re.split("[…:,]", message)]

    assert len(pieces) > 20
    assert [piece for piece in pieces if piece and not is_said(piece, texts)] == []


def test_docs_hook_methods_that_pages_name_are_on_the_api_page():
    named = {
        method
        for page in docs.PAGES.values()
        for method in re.findall(r"RiffusionHook(?:\([^)]*\))?\.(\w+)", page.text)
        if method != "__init__"
    }
    listed = re.search(r"\.RiffusionHook\n +:members: (.+)", docs.PAGES["docs/api.md"].text)

    assert {"cancel_job", "submit"} <= named <= set(listed[1].split(", "))
