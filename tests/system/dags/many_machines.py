"""
Albums of 40 songs, half of them by a sensor and a task that submits.

The DAG has a connection of its own, named after it. A run's configuration says which ``album`` it is.
"""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import DAG, task, task_group

from airflow_riffusion.operators.submit import RiffusionSubmitOperator
from airflow_riffusion.sensors.capacity import CapacitySensor

SONGS = 20  # of each kind

DAG_ID = "albums"


def albums():
    asked = {"riffusion_conn_id": DAG_ID, "poke_interval": 2}
    # By its own rule Airflow would let all sensors begin before any task submits, and the holds run out.
    with DAG(DAG_ID, schedule=None, default_args={"weight_rule": "upstream"}):

        @task_group
        def song(number):
            slot = CapacitySensor(task_id="wait_for_slot", **asked)

            # A refused submission comes again when about half of the account's jobs have ended.
            @task(retries=30, retry_delay=timedelta(seconds=5))
            def submit(number, slot, dag_run):
                from airflow_riffusion.hooks.riffusion import RiffusionHook

                prompt = f"album {dag_run.conf['album']}, song {number}, by a sensor"
                return RiffusionHook(DAG_ID).submit(
                    {"prompt": prompt}, user_id=slot["user_id"], reply_ref=slot["grant_id"]
                )

            submit(number, slot.output)

        song.expand(number=list(range(SONGS)))
        RiffusionSubmitOperator.partial(task_id="whole_song", retries=0, **asked).expand(
            json=[
                {"prompt": f"album {{{{ dag_run.conf['album'] }}}}, song {number}, by an operator"}
                for number in range(SONGS)
            ]
        )


albums()
