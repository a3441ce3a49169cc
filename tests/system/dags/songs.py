"""Whole songs, many of them at once: each DAG has a connection of its own, named after it."""

from __future__ import annotations

import os
import signal

import scale
from airflow.sdk import DAG

from airflow_riffusion.operators.submit import RiffusionSubmitOperator


class Witnessed(RiffusionSubmitOperator):
    """Leaves behind since when it waited, and when the reading was taken that granted it a slot."""

    def submit(self, context, event):
        grant = {"since": event["song"]["since"], "observed_at": event["result"]["observed_at"]}
        context["ti"].xcom_push("grant", grant)
        return super().submit(context, event)


class LastFirst(Witnessed):
    """Of those that wait, the one with the highest map index is served first."""

    def execute(self, context):
        self.priority_weight = 1 + context["ti"].map_index
        return super().execute(context)


class Killed(RiffusionSubmitOperator):
    """Its first try is killed when the job is submitted: before Airflow knows of the job, or right after."""

    def __init__(self, *, knowing, **arguments):
        super().__init__(**arguments)
        self.knowing = knowing
        self._first_try = False

    def submit(self, context, event):
        self._first_try = context["ti"].try_number == 1
        return super().submit(context, event)

    def _submit(self, *arguments):
        song = super()._submit(*arguments)
        if self._first_try and not self.knowing:
            os.kill(os.getpid(), signal.SIGKILL)
        return song

    def _wait_for_end(self, song, **arguments):
        if self._first_try:
            os.kill(os.getpid(), signal.SIGKILL)
        super()._wait_for_end(song, **arguments)


def songs(dag_id, number, operator=RiffusionSubmitOperator, **arguments):
    arguments = {"poke_interval": 1, "retries": 0, "retry_delay": 1, **arguments}
    with DAG(dag_id, schedule=None):
        operator.partial(task_id="song", riffusion_conn_id=dag_id, **arguments).expand(
            json=[{"prompt": f"song {index}"} for index in range(number)]
        )


songs("songs_beside_others", scale.SONGS, poke_interval=2)
songs("songs_with_lost_answers", scale.SONGS)
songs("songs_with_a_killed_worker", 1, Killed, knowing=False, retries=1)
songs("songs_that_ended_before_the_retry", 1, Killed, knowing=True, retries=1, retry_delay=20, hold=30)
songs("songs_with_a_killed_triggerer", scale.SONGS_OVER_A_KILLED_TRIGGERER, Witnessed)
songs("songs_that_are_killed", 3, LastFirst, poke_interval=5)
