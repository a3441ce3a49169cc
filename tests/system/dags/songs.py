"""Whole songs, many of them at once: each DAG has a connection of its own, named after it."""

from __future__ import annotations

import os
import signal

import scale
from airflow.exceptions import TaskDeferred
from airflow.sdk import DAG

from airflow_riffusion.operators.memory import JobMemory
from airflow_riffusion.operators.submit import RiffusionSubmitOperator


class Witnessed(RiffusionSubmitOperator):
    """Leaves behind since when it waited."""

    def execute(self, context):
        try:
            super().execute(context)
        except TaskDeferred as deferral:
            context["ti"].xcom_push("since", deferral.trigger.since)
            raise


class LastFirst(Witnessed):
    """Of those that wait, the one with the highest map index is served first."""

    def execute(self, context):
        self.priority_weight = 1 + context["ti"].map_index
        return super().execute(context)


class KilledBefore(RiffusionSubmitOperator):
    """The worker of its first try is killed when it is about to hand over to the triggerer."""

    def defer(self, **arguments):
        if arguments["trigger"].in_doubt:
            super().defer(**arguments)
        os.kill(os.getpid(), signal.SIGKILL)


class KilledAfter(RiffusionSubmitOperator):
    """The worker of its first try is killed when the song is over, before it has ended the task."""

    def execute_complete(self, context, event):
        if context["ti"].try_number == 1:
            JobMemory.forget_note = lambda _: os.kill(os.getpid(), signal.SIGKILL)
        return super().execute_complete(context, event)


def songs(dag_id, number, operator=RiffusionSubmitOperator, **arguments):
    arguments = {"poke_interval": 1, "retries": 0, "retry_delay": 1, **arguments}
    with DAG(dag_id, schedule=None):
        operator.partial(task_id="song", riffusion_conn_id=dag_id, **arguments).expand(
            json=[{"prompt": f"song {index}"} for index in range(number)]
        )


OUTCOME = {"result_endpoint": "music/?id={job_id}"}

songs("songs_beside_others", scale.SONGS, poke_interval=2)
songs("songs_with_lost_answers", scale.SONGS)
songs("songs_with_a_killed_triggerer", scale.SONGS_OVER_A_KILLED_TRIGGERER, Witnessed, hold=30)
songs("songs_with_a_triggerer_killed_while_submitting", 1, **OUTCOME)
songs("songs_with_a_worker_killed_before", 1, KilledBefore, retries=1)
songs("songs_with_a_worker_killed_after", 1, KilledAfter, retries=1, **OUTCOME)
songs("songs_that_are_killed", 3, LastFirst, poke_interval=5)
songs("songs_with_late_outcomes", 1, **OUTCOME)
songs("songs_with_outcomes_by_a_retry", 1, retries=1, hold=5, **OUTCOME)
songs("songs_without_outcomes", 1, hold=5, **OUTCOME)
