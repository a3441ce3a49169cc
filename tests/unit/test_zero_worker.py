from __future__ import annotations

from datetime import timedelta

import pytest
from airflow.providers.common.compat.sdk import (
    DAG,
    Asset,
    TaskDeferred,
)
from airflow.triggers.base import StartTriggerArgs

from airflow_riffusion.compat import HAS_ZERO_WORKER_MODE
from airflow_riffusion.operators.submit import RiffusionSubmitOperator
from airflow_riffusion.sensors.capacity import CapacitySensor
from airflow_riffusion.triggers.capacity import CapacityTrigger
from tests.versions import needs_zero_worker_mode

pytestmark = needs_zero_worker_mode

if HAS_ZERO_WORKER_MODE:
    from airflow.sdk import task
    from airflow.serialization.serialized_objects import BaseSerialization, DagSerialization


def test_start_from_trigger_passes_all_arguments_to_the_trigger():
    starting = CapacitySensor(
        task_id="t",
        start_from_trigger=True,
        end_from_trigger=True,
        riffusion_conn_id="{{ params.conn }}",
        slots="{{ params.slots }}",
        user_ids=["b", "a"],
        same_account=True,
        hold=timedelta(minutes=1),
        poke_interval=7,
        timeout=timedelta(hours=1),
        priority_weight=5,
    )

    assert starting.start_trigger_args == StartTriggerArgs(
        trigger_cls="airflow_riffusion.triggers.capacity.CapacityTrigger",
        next_method="execute_complete",
        timeout=timedelta(hours=1),
        trigger_kwargs={
            "riffusion_conn_id": "{{ params.conn }}",
            "slots": "{{ params.slots }}",
            "user_ids": ["a", "b"],
            "same_account": True,
            "hold": 60.0,
            "poke_interval": 7.0,
            "priority": 5,
            "timeout": 3600.0,
            "end_from_trigger": True,
            "do_xcom_push": True,
            "multiple_outputs": False,
        },
    )
    CapacityTrigger(**starting.start_trigger_args.trigger_kwargs)


def test_start_from_trigger_mapped_passes_arguments_and_the_dags_defaults():
    with DAG("d", default_args={"hold": 30, "poke_interval": 3}):
        mapped = CapacitySensor.partial(task_id="t", start_from_trigger=True, slots=2).expand(
            doc_md=["a", "b"]
        )

    kwargs = mapped.start_trigger_args.trigger_kwargs
    assert (kwargs["slots"], kwargs["hold"], kwargs["poke_interval"]) == (2, 30.0, 3.0)


def _not_mapped(**arguments):
    return CapacitySensor(task_id="t", start_from_trigger=True, **arguments)


def _mapped(**arguments):
    with DAG("d"):
        return CapacitySensor.partial(task_id="t", start_from_trigger=True, **arguments).expand(doc_md=["a"])


def _mapped_with_the_dags_defaults(**arguments):
    options = {"execution_timeout", "outlets", "do_xcom_push", "multiple_outputs"} & arguments.keys()
    with DAG("d", default_args={name: arguments.pop(name) for name in options}):
        return CapacitySensor.partial(task_id="t", start_from_trigger=True, **arguments).expand(doc_md=["a"])


@pytest.mark.parametrize("made", [_not_mapped, _mapped, _mapped_with_the_dags_defaults])
class TestTaskOptions:
    @pytest.mark.parametrize(("execution_timeout", "shorter"), [(90, 60), (30, 30), (None, 60)])
    def test_start_from_trigger_shorter_of_both_timeouts_counts(self, made, execution_timeout, shorter):
        limit = timedelta(seconds=execution_timeout) if execution_timeout else None
        args = made(timeout=60, execution_timeout=limit).start_trigger_args

        assert (args.timeout, args.trigger_kwargs["timeout"]) == (timedelta(seconds=shorter), shorter)

    def test_start_from_trigger_with_outlets_ends_in_a_worker(self, made):
        args = made(end_from_trigger=True, outlets=[Asset("songs")]).start_trigger_args

        assert args.trigger_kwargs["end_from_trigger"] is False

    def test_start_from_trigger_by_default_pushes_one_xcom(self, made):
        kwargs = made().start_trigger_args.trigger_kwargs

        assert (kwargs["do_xcom_push"], kwargs["multiple_outputs"]) == (True, False)

    def test_start_from_trigger_passes_xcom_options_to_the_trigger(self, made):
        args = made(end_from_trigger=True, do_xcom_push=False, multiple_outputs=True).start_trigger_args

        travelling = {name: args.trigger_kwargs[name] for name in ("do_xcom_push", "multiple_outputs")}
        assert travelling == {"do_xcom_push": False, "multiple_outputs": True}
        assert args.trigger_kwargs["end_from_trigger"] is True


class TestOptionsChangedBeforeTheDagIsStored:
    def stored(self, change, **fields):
        with DAG("d") as dag:
            change(CapacitySensor(task_id="t", start_from_trigger=True, end_from_trigger=True, **fields))
        args = DagSerialization.from_dict(DagSerialization.to_dict(dag)).get_task("t").start_trigger_args
        return args.timeout, BaseSerialization.deserialize(args.trigger_kwargs)

    def test_start_from_trigger_outlets_added_later_end_the_task_in_a_worker(self):
        _, kwargs = self.stored(lambda sensor: sensor.add_outlets([Asset("songs")]))

        assert kwargs["end_from_trigger"] is False

    def test_start_from_trigger_execution_timeout_set_by_a_policy_counts(self):
        def policy(sensor):
            sensor.execution_timeout = timedelta(seconds=30)

        timeout, kwargs = self.stored(policy, timeout=60)

        assert (timeout, kwargs["timeout"]) == (timedelta(seconds=30), 30.0)


def test_start_in_a_worker_stores_no_start_trigger_args():
    with DAG("d") as dag:
        CapacitySensor(task_id="one")
        CapacitySensor.partial(task_id="many").expand(slots=[1, 2])

    stored = DagSerialization.from_dict(DagSerialization.to_dict(dag))
    assert [stored.get_task(name).start_trigger_args for name in ("one", "many")] == [None, None]


def test_start_in_a_worker_mapped_over_slots_is_allowed():
    with DAG("d"):
        mapped = CapacitySensor.partial(task_id="t").expand(slots=[1, 2])

    assert not mapped.start_from_trigger


@pytest.mark.parametrize("arguments", [{"slots": "two"}, {"hold": -1}, {"user_ids": []}])
def test_start_from_trigger_mapped_with_wrong_argument_is_an_error(arguments):
    with DAG("d"), pytest.raises(ValueError, match=next(iter(arguments))):
        CapacitySensor.partial(task_id="t", start_from_trigger=True, **arguments)


def test_start_from_trigger_with_another_tasks_output_is_an_error():
    with DAG("d"):
        other = CapacitySensor(task_id="other")
        for task_id, output in (("a", {"slots": other.output}), ("b", {"user_ids": [other.output]})):
            with pytest.raises(ValueError, match="use a template"):
                CapacitySensor(task_id=task_id, start_from_trigger=True, **output)


@pytest.mark.parametrize("argument", ["start_from_trigger", "end_from_trigger"])
def test_zero_worker_mode_of_a_sensor_not_deferrable_is_an_error(argument):
    with pytest.raises(ValueError, match=f"{argument} needs deferrable=True"):
        CapacitySensor(task_id="t", **{argument: True}, deferrable=False)


class TestMapped:
    """What a mapped operator that starts in the triggerer can be mapped over."""

    def submits(self, **arguments):
        return RiffusionSubmitOperator.partial(task_id="song", start_from_trigger=True, **arguments)

    def test_mapped_argument_is_left_open_for_the_trigger(self):
        with DAG("d"):
            mapped = self.submits(slots=2).expand(json=[{"prompt": "a"}])

        kwargs = mapped.start_trigger_args.trigger_kwargs
        assert (mapped.start_trigger_args.trigger_cls, kwargs["json"], kwargs["slots"]) == (
            "airflow_riffusion.triggers.submission.SubmissionTrigger",
            None,
            2,
        )

    def test_mapped_over_another_tasks_output_is_allowed(self):
        with DAG("d"):

            @task
            def songs():
                return []

            mapped = self.submits().expand(json=songs())

        assert mapped.start_from_trigger

    @pytest.mark.parametrize(
        ("expand", "message"),
        [
            ({"json": ["polka"]}, "json must be a dict"),
            ({"json": [{"prompt": "a"}], "slots": [0]}, "slots must be a positive whole number"),
            ({"json": {"a": 1}}, "can map json over a literal list"),
            ({"json": [{}], "timeout": [1]}, "can't map over timeout"),
            ({"json": [{}], "do_xcom_push": [True]}, "can't map over do_xcom_push"),
            ({"json": [{}], "priority_weight": [2]}, "can't map over priority_weight"),
        ],
    )
    def test_mapped_over_what_a_trigger_cant_get_is_an_error(self, expand, message):
        with DAG("d"), pytest.raises(ValueError, match=message):
            self.submits().expand(**expand)

    def test_mapped_over_the_outputs_of_a_mapped_task_is_an_error(self):
        with DAG("d"):

            @task
            def song(number):
                return {}

            with pytest.raises(ValueError, match="outputs of mapped task song"):
                self.submits().expand(json=song.expand(number=[1, 2]))

    def test_mapped_over_a_mapped_output_is_an_error(self):
        with DAG("d"):

            @task
            def prompts():
                return []

            with pytest.raises(ValueError, match="literal list or a task's output"):
                self.submits().expand(json=prompts().map(lambda prompt: {"prompt": prompt}))

    def test_mapped_with_expand_kwargs_over_an_output_is_an_error(self):
        with DAG("d"):

            @task
            def songs():
                return []

            with pytest.raises(ValueError, match="literal dicts only"):
                self.submits().expand_kwargs(songs())

    def test_mapped_in_a_worker_is_not_restricted(self):
        with DAG("d"):

            @task
            def prompts():
                return []

            mapped = RiffusionSubmitOperator.partial(task_id="song").expand(
                json=prompts().map(lambda prompt: {"prompt": prompt})
            )

        assert not mapped.start_from_trigger

    @pytest.mark.parametrize("event", [None, {"status": "unread", "since": 1.0, "message": "why"}])
    def test_mapped_task_in_a_worker_defers_with_all_of_its_arguments(self, event):
        with DAG("d"):
            mapped = CapacitySensor.partial(
                task_id="t", start_from_trigger=True, end_from_trigger=True, hold=60, timeout=90
            ).expand(slots=[1, 2])
        waiting = mapped.unmap({"slots": 2})

        with pytest.raises(TaskDeferred) as caught:
            waiting.execute_complete({}, event) if event else waiting.execute({})

        trigger = caught.value.trigger
        assert (trigger.slots, trigger.hold, trigger.end_from_trigger) == (2, 60.0, True)
        assert caught.value.timeout.total_seconds() <= 90
