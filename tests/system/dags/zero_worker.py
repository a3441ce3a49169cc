"""Sensors that start in the triggerer, end there, or both."""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import Asset, dag, task, task_group

from airflow_riffusion.operators.submit import RiffusionSubmitOperator
from airflow_riffusion.sensors.capacity import CapacitySensor

ASKED = {"riffusion_conn_id": "riffusion_zero_worker", "poke_interval": 2, "hold": 0}
BOTH = {"start_from_trigger": True, "end_from_trigger": True}


@dag(schedule=None, params={"account": "none", "slots": 0})
def zero_worker():
    templated = {"slots": "{{ params.slots }}", "user_ids": ["{{ params.account }}"]}
    CapacitySensor(task_id="both", **ASKED, **templated, **BOTH)
    CapacitySensor(task_id="starts", **ASKED, **templated, start_from_trigger=True)
    CapacitySensor(task_id="ends", **ASKED, **templated, end_from_trigger=True)
    CapacitySensor.partial(task_id="mapped", **ASKED, **templated, **BOTH).expand(doc_md=["a", "b", "c"])

    CapacitySensor.partial(task_id="mapped_slots", user_ids=templated["user_ids"], **ASKED, **BOTH).expand(
        slots=[1, "{{ params.slots }}"]
    )

    @task_group
    def group(number: int):
        CapacitySensor(task_id="in_group", **ASKED, **templated, **BOTH)

    group.expand(number=[1, 2])


@dag(
    schedule=None,
    params={"account": "none", "other": "none"},
    render_template_as_native_obj=True,
    user_defined_macros={"two": lambda: 2},
)
def zero_worker_arguments():
    """Arguments of all kinds; each account has two slots."""
    only_here = {"user_ids": "{{ [params.account] }}"}
    CapacitySensor(task_id="native", slots="{{ 4 / 2 }}", **only_here, **ASKED, **BOTH)
    CapacitySensor(task_id="macro", slots="{{ two() }}", **only_here, **ASKED, **BOTH)
    CapacitySensor(task_id="outlet", outlets=[Asset("riffusion_outlet")], **ASKED, **BOTH)
    CapacitySensor(task_id="no_xcom", do_xcom_push=False, **ASKED, **BOTH)
    CapacitySensor(task_id="many_xcoms", multiple_outputs=True, **ASKED, **BOTH)

    @task
    def tag(number: int) -> str:
        return f"tag {number}"

    RiffusionSubmitOperator(
        task_id="song",
        json={
            "prompt": "polka",
            "tags": tag.expand(number=[1, 2]),
            "user_id": "{{ params.other }}",
            "replyRef": 42,
        },
        riffusion_conn_id="riffusion_zero_worker",
        poke_interval=2,
        wait_for_completion=False,
    )


@dag(schedule=None, params={"mood": "none"})
def zero_worker_songs():
    """Songs that no worker starts or ends: one, some of a literal list, and some of another task's."""
    made = {"riffusion_conn_id": "riffusion_zero_worker_songs", "poke_interval": 2, **BOTH}
    outcome = {"result_endpoint": "music/?id={job_id}"}
    RiffusionSubmitOperator(task_id="one", json={"prompt": "{{ params.mood }} polka"}, **made, **outcome)
    RiffusionSubmitOperator.partial(task_id="literal", **made).expand(
        json=[{"prompt": "{{ params.mood }} waltz"}, {"prompt": "waltz"}]
    )

    @task
    def songs() -> list[dict[str, str]]:
        return [{"prompt": "tango"}, {"prompt": "{{ params.mood }} tango"}]

    RiffusionSubmitOperator.partial(task_id="of_a_task", **made).expand(json=songs())


@dag(schedule=None)
def zero_worker_that_fails():
    retried = {"retries": 1, "retry_delay": 1, "poke_interval": 2}
    full = {"riffusion_conn_id": "riffusion_zero_worker_full", "execution_timeout": timedelta(seconds=3)}
    CapacitySensor(task_id="execution_timeout", **full, **retried)
    CapacitySensor(task_id="execution_timeout_zero_worker", **full, **retried, **BOTH)
    RiffusionSubmitOperator.partial(task_id="song_of_text", **retried).expand(json=["polka"])
    for soft_fail in (False, True):
        ending = "skips" if soft_fail else "fails"
        common = {"soft_fail": soft_fail, "retries": 2, "retry_delay": 1, "poke_interval": 2, **BOTH}
        CapacitySensor(
            task_id=f"timeout_{ending}", riffusion_conn_id="riffusion_zero_worker_full", timeout=3, **common
        )
        CapacitySensor(
            task_id=f"wrong_token_{ending}", riffusion_conn_id="riffusion_zero_worker_rejected", **common
        )
        CapacitySensor(task_id=f"unreadable_{ending}", slots="{{ 'two' }}", **common)
        CapacitySensor(task_id=f"undefined_{ending}", slots="{{ nowhere }}", **{**common, "retries": 0})


zero_worker()
zero_worker_arguments()
zero_worker_songs()
zero_worker_that_fails()
