"""The example DAG riffusion_album, on a connection of its own to Flow Music."""

from __future__ import annotations

from pathlib import Path

from airflow.sdk import dag  # noqa: F401 - Airflow reads no file without it

example = (Path(__file__).parent / "riffusion_album.py").read_text()
example = example.replace("riffusion_album()", "flowmusic_album()")
example = example.replace('task_id="song"', 'task_id="song", riffusion_conn_id="flowmusic_album"')
exec(compile(example, __file__, "exec"))
