"""Songs on each service that makes some: each DAG has a connection of its own, named after it."""

from __future__ import annotations

from airflow.sdk import DAG

from airflow_riffusion.operators.submit import RiffusionSubmitOperator

SERVICES = ("flowmusic", "tempolor", "acemusic", "mureka", "pixverse")


def songs(dag_id, number, **arguments):
    arguments = {"poke_interval": 2, "retries": 0, **arguments}
    with DAG(dag_id, schedule=None):
        RiffusionSubmitOperator.partial(task_id="song", riffusion_conn_id=dag_id, **arguments).expand(
            json=[{"prompt": f"song {index}"} for index in range(number)]
        )


for service in SERVICES:
    songs(f"songs_on_{service}", 2, end_from_trigger=True)
songs("songs_on_flowmusic_with_lost_answers", 10)
songs("songs_on_tempolor_in_pairs", 3, slots=2, start_from_trigger=True, end_from_trigger=True)
songs("songs_on_flowmusic_that_fail", 2)
