from __future__ import annotations

import json

import pytest

from airflow_riffusion.emulator import EmulatorServer


@pytest.fixture(scope="module")
def service(token, store_connection):
    """Two accounts, one job on one of them, behind a stored connection."""
    with EmulatorServer(accounts=2, max_jobs=2, job_seconds=3600, token=token) as service:
        service.service.submit("polka on the moon")
        store_connection("riffusion_cli", service)
        store_connection("riffusion_cli_wrong_token", service, password="user:wrong")
        yield service


def test_cli_capacity_of_a_stored_connection_prints_only_json(airflow_stack, service):
    command = ("riffusion", "capacity", "--conn-id", "riffusion_cli", "--output", "json")
    shown = airflow_stack.cli(*command, timeout=120)

    assert shown.returncode == 0, shown.stderr
    assert json.loads(shown.stdout)["available"] == 3


def test_cli_capacity_with_wrong_token_exits_with_2(airflow_stack, service):
    shown = airflow_stack.cli("riffusion", "capacity", "--conn-id", "riffusion_cli_wrong_token", timeout=120)

    assert (shown.returncode, shown.stdout) == (2, "")
    assert "check the API token in connection 'riffusion_cli_wrong_token'" in shown.stderr
    assert "Traceback" not in shown.stderr
