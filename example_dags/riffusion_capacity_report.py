"""
Read the capacity once, and go on only if there is some.

Every key of the reading is an XCom of its own, so ``capacity.output["available"]`` is a number.

Needs the connection ``riffusion_default``.
"""

from __future__ import annotations

from airflow.sdk import dag, task

from airflow_riffusion.operators.capacity import CapacityOperator


@dag(schedule=None, tags=["riffusion", "example"])
def riffusion_capacity_report():
    capacity = CapacityOperator(task_id="capacity")

    @task.branch
    def any_free(available: int) -> str:
        return "make_songs" if available else "all_busy"

    @task
    def make_songs(account: str) -> str:
        return f"most slots are free on {account}"

    @task
    def all_busy(jobs: list[dict]) -> list[str]:
        return [f"{job['job_id']} runs since {job['started']}" for job in jobs]

    any_free(capacity.output["available"]) >> [
        make_songs(capacity.output["best_user_id"]),
        all_busy(capacity.output["jobs"]),
    ]


riffusion_capacity_report()
