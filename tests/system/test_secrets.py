from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import psutil


def files_that_hold(text: str, folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and text.encode() in path.read_bytes()]


def processes_that_show(text: str) -> list[str]:
    shown = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            shown += [line for line in (*process.cmdline(), *process.environ().values()) if text in line]
    return shown


def test_the_token_is_in_no_log_no_xcom_no_rendered_field_no_trigger_and_no_process_list(
    airflow_stack, emulator, store_connection, token
):
    """Airflow's whole home is searched: every log, and the database with all that was ever stored in it."""
    for dag_id in ("riffusion_capacity_report", "riffusion_capacity_gate", "riffusion_songs"):
        run = airflow_stack.trigger(dag_id)
        shown = processes_that_show(token)
        assert airflow_stack.wait(run, 180) == "success"
        assert shown == []
    assert processes_that_show(str(airflow_stack.home))  # the search does find what is there
    store_connection("riffusion_default", emulator, password=f"{token}wrong")
    run = airflow_stack.trigger("riffusion_capacity_report")
    ended = airflow_stack.wait(run, 180)
    store_connection("riffusion_default", emulator)
    assert ended == "failed"
    assert "401 Unauthorized" in airflow_stack.log(run, "capacity")

    found = {path.name for path in files_that_hold("riffusion_capacity_gate", airflow_stack.home)}
    assert "airflow.db" in found  # the search does find what is there
    assert any(name.startswith("attempt=") for name in found)
    assert files_that_hold(token, airflow_stack.home) == []
