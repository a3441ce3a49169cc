from __future__ import annotations

import json
import logging
import os
import signal
import tempfile
from pathlib import Path

import pytest

import airflow_riffusion

TESTS = Path(__file__).parent
CONTRACT = TESTS / "contract"

# Airflow reads these while it is being imported, so a fixture would come too late.
_home = tempfile.TemporaryDirectory(prefix="airflow-riffusion-tests-", ignore_cleanup_errors=True)
os.environ["AIRFLOW_HOME"] = _home.name
os.environ["AIRFLOW__CORE__LOAD_EXAMPLES"] = "False"
os.environ["AIRFLOW__CORE__UNIT_TEST_MODE"] = "True"
for name in [name for name in os.environ if name.startswith("AIRFLOW_CONN_")]:
    del os.environ[name]


def pytest_report_header() -> str:
    """Say which airflow-riffusion is tested: the checkout's, or an installed one."""
    return f"airflow-riffusion is {Path(airflow_riffusion.__file__).parent}"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark each test by its folder, so that no test can run unmarked."""
    for item in items:
        kind = item.path.relative_to(TESTS).parts[0]
        if kind not in ("unit", "integration", "system", "benchmarks"):
            raise pytest.UsageError(
                f"{item.path} must lie below tests/unit, tests/integration, tests/system or tests/benchmarks"
            )
        item.add_marker(kind)


@pytest.fixture
def contract():
    """Return the bytes of a real payload, by the service's name."""

    def read(service: str = "riffusion") -> bytes:
        name = "available_200.json" if service == "riffusion" else f"available_200.{service}.json"
        return (CONTRACT / name).read_bytes()

    return read


@pytest.fixture
def connect(monkeypatch: pytest.MonkeyPatch):
    """Return a function that stores a connection in the environment and returns its id."""

    def store(host: str | None = None, *, conn_id: str = "riffusion_test", **fields: object) -> str:
        connection = {"conn_type": "riffusion", "password": "user:1234-abcDEF", "host": host, **fields}
        monkeypatch.setenv(f"AIRFLOW_CONN_{conn_id.upper()}", json.dumps(connection))
        return conn_id

    return store


@pytest.fixture
def restore_process(monkeypatch: pytest.MonkeyPatch):
    """Restore what the command line sets for the rest of its process."""
    monkeypatch.setenv("_AIRFLOW_PROCESS_CONTEXT", "")
    on_sigterm, disabled = signal.getsignal(signal.SIGTERM), logging.root.manager.disable
    yield
    signal.signal(signal.SIGTERM, on_sigterm)
    logging.disable(disabled)
