"""What the capacity page shows: songs that wait for a slot."""

from __future__ import annotations

from airflow.sdk import dag

from airflow_riffusion.operators.submit import RiffusionSubmitOperator


@dag(schedule=None)
def capacity_page():
    song = RiffusionSubmitOperator.partial(
        task_id="song", riffusion_conn_id="studio", poke_interval=1, hold=600, retries=0
    )
    song.expand(json=[{"prompt": f"song {number}"} for number in range(6)])


capacity_page()
