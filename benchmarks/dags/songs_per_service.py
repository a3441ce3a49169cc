"""Many songs at once on each service, without a worker; and one, to warm up."""

from __future__ import annotations

import os
from datetime import timedelta

from airflow.sdk import DAG, get_parsing_context

from airflow_riffusion.operators.submit import RiffusionSubmitOperator

COUNT = int(os.environ.get("BENCHMARK_SONGS_PER_SERVICE", "0"))

for service in os.environ.get("BENCHMARK_SERVICES", "").split():
    for dag_id, count in ((f"songs_on_{service}", COUNT), (f"songs_on_{service}_warm_up", 1)):
        if get_parsing_context().dag_id in (None, dag_id):
            with DAG(
                dag_id,
                schedule=None,
                max_active_tasks=count,
                default_args={"retries": 10, "retry_delay": timedelta(seconds=1), "weight_rule": "upstream"},
            ):
                RiffusionSubmitOperator.partial(
                    task_id="song",
                    riffusion_conn_id=service,
                    start_from_trigger=True,
                    end_from_trigger=True,
                ).expand(json=[{"prompt": f"song {number}"} for number in range(count)])
