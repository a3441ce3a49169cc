from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from importlib.metadata import entry_points
from importlib.resources import files
from types import ModuleType

import jsonschema
import pytest
import wtforms

from airflow_riffusion.get_provider_info import get_provider_info
from airflow_riffusion.hooks.riffusion import RiffusionHook
from airflow_riffusion.hooks.settings import DEFAULT_TIMEOUT, EXTRAS, LONGEST_TIMEOUT, SERVICES

CONNECTION_TYPE = get_provider_info()["connection-types"][0]
FIELDS = CONNECTION_TYPE["conn-fields"]


def test_provider_info_entry_point_returns_the_metadata():
    (entry,) = entry_points(group="apache_airflow_provider", name="provider_info").select(
        module="airflow_riffusion.get_provider_info"
    )
    assert entry.load()()["package-name"] == entry.dist.name == "airflow-riffusion"


def test_provider_info_matches_airflows_schema():
    schema = json.loads(files("airflow").joinpath("provider_info.schema.json").read_text())
    jsonschema.validate(get_provider_info(), schema)


def test_provider_info_each_module_can_be_imported():
    info = get_provider_info()
    modules = [
        module
        for kind in ("hooks", "operators", "sensors", "triggers")
        for entry in info[kind]
        for module in entry["python-modules"]
    ]
    assert len(modules) >= 8
    subprocess.run([sys.executable, "-c", f"import {', '.join(modules)}"], check=True)


def test_provider_info_import_loads_nothing_else():
    code = (
        "import __future__, sys; before = set(sys.modules);"
        "import airflow_riffusion.get_provider_info as info; info.get_provider_info();"
        "print(sorted(set(sys.modules) - before))"
    )
    found = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert found.stdout.strip() == "['airflow_riffusion', 'airflow_riffusion.get_provider_info']"


def test_provider_info_connection_type_names_the_hook():
    module, _, name = CONNECTION_TYPE["hook-class-name"].rpartition(".")
    assert (module, name) == (RiffusionHook.__module__, RiffusionHook.__name__)
    assert CONNECTION_TYPE["connection-type"] == RiffusionHook.conn_type
    assert CONNECTION_TYPE["hook-name"] == RiffusionHook.hook_name


def test_provider_info_form_fields_match_the_settings():
    assert tuple(FIELDS) == EXTRAS
    assert FIELDS["service"]["schema"]["enum"] == list(SERVICES)
    assert FIELDS["timeout"]["schema"]["default"] == DEFAULT_TIMEOUT
    assert FIELDS["timeout"]["schema"]["maximum"] == LONGEST_TIMEOUT


def test_hook_form_behaviour_matches_the_provider_info():
    behaviour = CONNECTION_TYPE["ui-field-behaviour"]

    assert RiffusionHook.get_ui_field_behaviour() == {
        "hidden_fields": behaviour["hidden-fields"],
        "relabeling": behaviour["relabeling"],
        "placeholders": behaviour["placeholders"],
    }


@pytest.fixture
def fieldwidgets(monkeypatch):
    """Stand in for flask-appbuilder, which Airflow 3.2 and newer neither need nor bring along."""
    if importlib.util.find_spec("flask_appbuilder") is None:
        stand_in = ModuleType("flask_appbuilder.fieldwidgets")
        stand_in.BS3TextFieldWidget = wtforms.widgets.TextInput
        monkeypatch.setitem(sys.modules, "flask_appbuilder", ModuleType("flask_appbuilder"))
        monkeypatch.setitem(sys.modules, "flask_appbuilder.fieldwidgets", stand_in)


@pytest.mark.usefixtures("fieldwidgets")
def test_hook_form_widgets_match_the_provider_info():
    form = type("Form", (wtforms.Form,), RiffusionHook.get_connection_form_widgets())()
    kinds = {"StringField": "string", "IntegerField": "integer", "BooleanField": "boolean"}

    def schema(field: wtforms.Field) -> dict:
        found = {"type": [kinds[type(field).__name__], "null"], "default": field.default}
        for validator in field.validators:
            if isinstance(validator, wtforms.validators.AnyOf):
                found["enum"] = validator.values
            if isinstance(validator, wtforms.validators.NumberRange):
                found |= {"minimum": validator.min, "maximum": validator.max}
        return found

    assert {
        name: {"label": field.label.text, "description": field.description, "schema": schema(field)}
        for name, field in form._fields.items()
    } == FIELDS
