"""What the Airflow Provider Registry is told, in a file that only it reads."""

from __future__ import annotations

from importlib import import_module

import yaml

from airflow_riffusion.get_provider_info import get_provider_info
from tests import docs

KINDS = ("operators", "sensors", "hooks", "triggers")
REGISTRY = yaml.safe_load((docs.ROOT / ".airflow-registry.yaml").read_text())


def test_registry_names_the_package():
    assert REGISTRY["package-name"] == get_provider_info()["package-name"]


def test_registry_modules_can_be_imported():
    named = [each["module"].rpartition(".") for kind in KINDS for each in REGISTRY[kind]]

    assert [name for module, _, name in named if not hasattr(import_module(module), name)] == []


def test_registry_has_each_module_of_operators_and_sensors():
    for kind in ("operators", "sensors", "hooks"):
        known = {name for each in get_provider_info()[kind] for name in each["python-modules"]}
        assert {each["module"].rpartition(".")[0] for each in REGISTRY[kind]} == known
