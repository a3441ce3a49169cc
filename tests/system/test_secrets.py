from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from tests.system.conftest import processes_that_show


def files_that_hold(text: str, folder: Path) -> list[Path]:
    """Airflow is running meanwhile: files may vanish, and folders, which ``rglob`` does not survive."""
    found = []
    for parent, _, names in os.walk(folder):
        for name in names:
            path = Path(parent, name)
            with suppress(FileNotFoundError):
                if path.is_file() and text.encode() in path.read_bytes():
                    found.append(path)
    return found


def test_token_while_dags_run_is_shown_by_no_process(airflow_stack, docs_runs):
    assert processes_that_show(str(airflow_stack.home))  # the search does find what is there
    assert docs_runs.shown == []


def test_token_after_runs_is_in_no_log_xcom_field_or_trigger(
    airflow_stack, emulator, docs_runs, store_connection, token
):
    """Airflow's whole home is searched: every log, and the database with all that was ever stored in it."""
    store_connection("riffusion_default", emulator, password=f"{token}wrong")
    run = airflow_stack.trigger("riffusion_capacity_report")
    ended = airflow_stack.wait(run, 180)
    store_connection("riffusion_default", emulator)
    assert ended == "failed"
    assert "401 Unauthorized" in airflow_stack.log(run, "capacity")

    found = {path.name for path in files_that_hold("wait_for_slot", airflow_stack.home)}
    assert "airflow.db" in found  # the search does find what is there
    assert any(name.startswith("attempt=") for name in found)
    assert files_that_hold(token, airflow_stack.home) == []
