from __future__ import annotations

import importlib
import json
import subprocess
import sys
from importlib.metadata import entry_points

import pytest

from airflow_riffusion import compat
from airflow_riffusion.plugins import capacity_page
from airflow_riffusion.plugins.capacity_page import CapacityPagePlugin
from tests.versions import needs_pages_of_plugins


@pytest.fixture
def plugin_before_3_1(monkeypatch):
    monkeypatch.setattr(compat, "HAS_PAGES_OF_PLUGINS", False)
    yield importlib.reload(capacity_page).CapacityPagePlugin
    monkeypatch.undo()
    importlib.reload(capacity_page)


def test_capacity_page_entry_point_loads_the_plugin():
    (entry,) = entry_points(group="airflow.plugins", name="riffusion_capacity")

    assert entry.load().__name__ == CapacityPagePlugin.__name__


def test_capacity_page_plugin_is_loaded_by_airflow_without_a_warning():
    code = (
        "import logging; logging.basicConfig(level=logging.WARNING);"
        "from airflow import plugins_manager as manager; manager.ensure_plugins_loaded();"
        "found = getattr(manager, '_get_plugins', None);"
        "plugins = found()[0] if found else manager.plugins;"
        "print([plugin.name for plugin in plugins].count('riffusion_capacity'))"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)

    assert done.stdout.splitlines()[-1] == "1"
    assert "riffusion" not in done.stderr


def test_capacity_page_plugin_imports_nothing_of_the_page():
    code = (
        "import json, sys; from airflow import plugins_manager;"
        "from airflow.providers.common.compat.sdk import AirflowPlugin; before = set(sys.modules);"
        "import airflow_riffusion.plugins.capacity_page;"
        "print(json.dumps(sorted(set(sys.modules) - before - {'airflow_riffusion'})))"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)

    imported = [name for name in json.loads(done.stdout.splitlines()[-1]) if "packaging" not in name]
    assert imported == [
        "airflow_riffusion.compat",
        "airflow_riffusion.plugins",
        "airflow_riffusion.plugins.capacity_page",
    ]


def test_capacity_page_plugin_before_airflow_3_1_is_empty(plugin_before_3_1):
    assert plugin_before_3_1.fastapi_apps == []
    assert plugin_before_3_1.external_views == []


@needs_pages_of_plugins
def test_capacity_page_from_airflow_3_1_on_is_in_the_browse_menu():
    (view,) = CapacityPagePlugin.external_views
    (app,) = CapacityPagePlugin.fastapi_apps

    assert (view["name"], view["category"]) == ("Riffusion capacity", "browse")
    assert f"/{view['href']}" == f"{app['url_prefix']}/"
