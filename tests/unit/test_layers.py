"""The plan of the package: which folder may import which."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "airflow_riffusion"

# From the bottom up: a layer may import itself and those below it.
LAYERS = (
    {"core"},
    {"services"},
    {"exceptions", "compat", "clock", "get_provider_info"},
    {"metrics", "xcoms", "zero_worker"},
    {"hooks"},
    {"gate"},
    {"triggers"},
    {"sensors", "operators"},
)
# What stands beside them, and the layers that each may import.
BESIDE = {
    "emulator": {"emulator", "core"},
    "cli": {"cli", "exceptions", "compat", "clock", "core", "metrics", "hooks", "emulator"},
    "plugins": {"plugins", "exceptions", "compat", "core", "metrics", "xcoms", "hooks"},
}
# The page reads what gates of other processes have written.
EXCEPTIONS = {("plugins", "gate.peer_store")}
HEAVY = ("airflow", "requests", "fastapi", "starlette", "uvicorn", "rich")


def imports(path: Path) -> set[str]:
    """Return what a module imports, also late."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
            found |= {f"{node.module}.{name.name}" for name in node.names}
        elif isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
    return found


def folder(module: str) -> str:
    return module.removeprefix("airflow_riffusion.").partition(".")[0]


def allowed(name: str) -> set[str]:
    if name in BESIDE:
        return BESIDE[name]
    level = next(number for number, layer in enumerate(LAYERS) if name in layer)
    return set().union(*LAYERS[: level + 1])


MODULES = sorted(path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py")


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_layers_module_imports_nothing_from_above(path):
    own = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    known = {layer for each in LAYERS for layer in each} | BESIDE.keys()
    above = {
        module
        for module in imports(path)
        if module.startswith("airflow_riffusion.") and folder(module) in known - allowed(own)
    }

    exceptions = [f"airflow_riffusion.{part}" for name, part in EXCEPTIONS if name == own]
    assert not {module for module in above if not module.startswith(tuple(exceptions))}


CORE = sorted((PACKAGE / "core").glob("*.py"))


@pytest.mark.parametrize("path", CORE, ids=lambda path: path.name)
def test_layers_core_module_imports_nothing_heavy_even_late(path):
    assert not {module.partition(".")[0] for module in imports(path)} & set(HEAVY)


def test_layers_core_needs_neither_airflow_nor_requests():
    names = [f"airflow_riffusion.core.{path.stem}" for path in sorted((PACKAGE / "core").glob("[!_]*.py"))]
    code = f"import sys, {', '.join(names)}; print(*(name for name in {HEAVY!r} if name in sys.modules))"
    said = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=PACKAGE.parent
    )

    assert said.stdout.split() == []


def test_layers_dag_file_imports_nothing_that_waits_or_asks():
    """What waits, asks and counts is for workers and triggerers: a DAG file is parsed all day long."""
    code = (
        "import sys, airflow, airflow.providers.common.compat.sdk as sdk; sdk.BaseSensorOperator;"
        "before = set(sys.modules);"
        "import airflow_riffusion.sensors.capacity, airflow_riffusion.sensors.job;"
        "import airflow_riffusion.operators.capacity, airflow_riffusion.operators.submit;"
        "print(*(set(sys.modules) - before))"
    )
    said = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=PACKAGE.parent
    )

    new = said.stdout.splitlines()[-1].split()
    own = {name.removeprefix("airflow_riffusion.") for name in new if name.startswith("airflow_riffusion.")}
    assert {"sensors.capacity", "operators.submit"} <= own
    assert {folder(name) for name in own} & {"hooks", "gate", "triggers", "services"} == set()
    assert own & {"core.ledger", "core.capacity"} == set()
    assert {name.partition(".")[0] for name in new} & {"asgiref", "requests"} == set()
