from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from airflow.providers.common.compat.sdk import (
    DAG,
    AirflowSensorTimeout,
    AirflowTaskTimeout,
    Asset,
    TaskDeferred,
)
from airflow.triggers.base import StartTriggerArgs

from airflow_riffusion.compat import HAS_ZERO_WORKER_MODE
from airflow_riffusion.sensors.capacity import CapacitySensor
from airflow_riffusion.triggers.capacity import CapacityTrigger
from tests.versions import needs_zero_worker_mode

pytestmark = needs_zero_worker_mode

if HAS_ZERO_WORKER_MODE:
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


def test_start_from_trigger_mapped_with_start_args_passes_them_unchanged():
    given = CapacitySensor.start_args(slots=3)
    with DAG("d"):
        mapped = CapacitySensor.partial(
            task_id="t", start_from_trigger=True, start_trigger_args=given
        ).expand(doc_md=["a"])

    travelling = mapped.start_trigger_args
    assert (travelling.timeout, travelling.trigger_kwargs["slots"]) == (given.timeout, 3)


def _not_mapped(**arguments):
    return CapacitySensor(task_id="t", start_from_trigger=True, **arguments)


def _mapped(**arguments):
    with DAG("d"):
        return CapacitySensor.partial(task_id="t", start_from_trigger=True, **arguments).expand(doc_md=["a"])


def _mapped_with_the_dags_defaults(**arguments):
    options = {"execution_timeout", "outlets", "do_xcom_push", "multiple_outputs"} & arguments.keys()
    with DAG("d", default_args={name: arguments.pop(name) for name in options}):
        return CapacitySensor.partial(task_id="t", start_from_trigger=True, **arguments).expand(doc_md=["a"])


def _mapped_with_start_args(timeout=60, end_from_trigger=False, **arguments):
    args = CapacitySensor.start_args(timeout=timeout, end_from_trigger=end_from_trigger)
    return _mapped(start_trigger_args=args, **arguments)


@pytest.mark.parametrize(
    "made", [_not_mapped, _mapped, _mapped_with_the_dags_defaults, _mapped_with_start_args]
)
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


@pytest.mark.parametrize("mapped", [False, True])
class TestStartArgsInAWorker:
    """A worker uses them when the triggerer can't read them, and in ``airflow dags test``."""

    GIVEN = {
        "riffusion_conn_id": "{{ conn }}",
        "slots": "{{ 1 + 1 }}",
        "user_ids": ["b", "{{ account }}"],
        "same_account": True,
        "hold": 60,
        "poke_interval": 7,
        "timeout": 90,
        "priority_weight": 5,
        "end_from_trigger": True,
    }

    def sensor(self, mapped, **fields):
        with DAG("d"):
            fields["start_trigger_args"] = CapacitySensor.start_args(**self.GIVEN)
            if not mapped:
                return CapacitySensor(task_id="t", start_from_trigger=True, **fields)
            partial = CapacitySensor.partial(task_id="t", start_from_trigger=True, **fields)
            return partial.expand(doc_md=["a"]).unmap({"doc_md": "a"})

    def deferral(self, resume):
        with pytest.raises(TaskDeferred) as caught:
            resume()
        return caught.value

    @pytest.mark.parametrize("event", [None, {"status": "unread", "since": 1.0, "message": "why"}])
    def test_start_args_in_a_worker_are_all_passed_to_the_trigger(self, mapped, event):
        waiting = self.sensor(mapped)
        waiting.render_template_fields({"conn": "mine", "account": "a"})

        deferred = self.deferral(
            lambda: waiting.execute_complete({}, event) if event else waiting.execute({})
        )

        arguments = deferred.trigger.serialize()[1]
        del arguments["since"], arguments["timeout"]
        assert arguments == {
            "riffusion_conn_id": "mine",
            "slots": 2,
            "user_ids": ["a", "b"],
            "same_account": True,
            "hold": 60.0,
            "poke_interval": 7.0,
            "priority": 5,
            "end_from_trigger": True,
            "do_xcom_push": True,
            "multiple_outputs": False,
        }

    def test_start_args_timeout_in_a_worker_limits_the_wait(self, mapped):
        waiting = self.sensor(mapped)
        waiting.render_template_fields({"conn": "mine", "account": "a"})

        assert 89 < self.deferral(lambda: waiting.execute({})).timeout.total_seconds() <= 90

    def test_start_args_deferred_past_their_timeout_fails_and_names_it(self, mapped):
        waiting = self.sensor(mapped, execution_timeout=timedelta(seconds=300))

        with pytest.raises(AirflowSensorTimeout, match="within the timeout of 90 s"):
            waiting.resume_execution("__fail__", {"error": "Trigger timeout"}, {})

    def test_start_args_deferred_past_execution_timeout_fails_and_names_it(self, mapped):
        waiting = self.sensor(mapped, execution_timeout=timedelta(seconds=60))

        with pytest.raises(AirflowTaskTimeout, match="within the execution_timeout of 60 s"):
            waiting.resume_execution("__fail__", {"error": "Trigger timeout"}, {})

    def test_start_args_priority_weight_leaves_the_tasks_own_as_it_is(self, mapped):
        assert self.sensor(mapped, priority_weight=3).priority_weight == 3


def test_start_args_without_timeout_get_the_execution_timeout():
    given = replace(CapacitySensor.start_args(), timeout=None)

    args = _mapped(start_trigger_args=given, execution_timeout=timedelta(seconds=30)).start_trigger_args

    assert (args.timeout, args.trigger_kwargs["timeout"]) == (timedelta(seconds=30), 30.0)


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


def test_start_from_trigger_start_args_and_other_arguments_are_an_error():
    with DAG("d"), pytest.raises(ValueError, match="slots would be lost"):
        CapacitySensor.partial(
            task_id="t", start_from_trigger=True, start_trigger_args=CapacitySensor.start_args(), slots=3
        )


@pytest.mark.parametrize(
    "expand", [{"slots": [1, 2]}, {"riffusion_conn_id": ["a", "b"]}, {"do_xcom_push": [True, False]}]
)
def test_start_from_trigger_mapped_over_an_own_argument_is_an_error(expand):
    with DAG("d"), pytest.raises(ValueError, match=f"can't map over {next(iter(expand))}"):
        CapacitySensor.partial(task_id="t", start_from_trigger=True).expand(**expand)


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
