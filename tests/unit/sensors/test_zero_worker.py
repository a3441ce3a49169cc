from __future__ import annotations

from datetime import timedelta

import pytest
from airflow.providers.common.compat.sdk import DAG, Asset
from airflow.triggers.base import StartTriggerArgs

from airflow_riffusion.sensors.capacity import CapacitySensor
from airflow_riffusion.triggers.capacity import CapacityTrigger
from tests.versions import needs_zero_worker_mode

pytestmark = needs_zero_worker_mode


def test_the_arguments_travel_to_the_triggerer():
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


def test_a_mapped_sensors_arguments_travel_too_with_the_dags_defaults():
    with DAG("d", default_args={"hold": 30, "poke_interval": 3}):
        mapped = CapacitySensor.partial(task_id="t", start_from_trigger=True, slots=2).expand(
            doc_md=["a", "b"]
        )

    kwargs = mapped.start_trigger_args.trigger_kwargs
    assert (kwargs["slots"], kwargs["hold"], kwargs["poke_interval"]) == (2, 30.0, 3.0)


def test_arguments_given_as_a_whole_travel_as_they_are():
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


def _given_as_a_whole(timeout=60, end_from_trigger=False, **arguments):
    args = CapacitySensor.start_args(timeout=timeout, end_from_trigger=end_from_trigger)
    return _mapped(start_trigger_args=args, **arguments)


@pytest.mark.parametrize("made", [_not_mapped, _mapped, _mapped_with_the_dags_defaults, _given_as_a_whole])
class TestWhatEveryOperatorHas:
    @pytest.mark.parametrize(("execution_timeout", "shorter"), [(90, 60), (30, 30), (None, 60)])
    def test_the_shorter_timeout_counts(self, made, execution_timeout, shorter):
        limit = timedelta(seconds=execution_timeout) if execution_timeout else None
        args = made(timeout=60, execution_timeout=limit).start_trigger_args

        assert (args.timeout, args.trigger_kwargs["timeout"]) == (timedelta(seconds=shorter), shorter)

    def test_with_outlets_the_task_ends_in_a_worker(self, made):
        args = made(end_from_trigger=True, outlets=[Asset("songs")]).start_trigger_args

        assert args.trigger_kwargs["end_from_trigger"] is False

    def test_by_default_the_xcom_is_written_as_a_whole(self, made):
        kwargs = made().start_trigger_args.trigger_kwargs

        assert (kwargs["do_xcom_push"], kwargs["multiple_outputs"]) == (True, False)

    def test_the_xcom_options_travel_too(self, made):
        args = made(end_from_trigger=True, do_xcom_push=False, multiple_outputs=True).start_trigger_args

        travelling = {name: args.trigger_kwargs[name] for name in ("do_xcom_push", "multiple_outputs")}
        assert travelling == {"do_xcom_push": False, "multiple_outputs": True}
        assert args.trigger_kwargs["end_from_trigger"] is True


def test_arguments_given_both_ways_are_an_error_when_the_dag_is_parsed():
    with DAG("d"), pytest.raises(ValueError, match="slots would be lost"):
        CapacitySensor.partial(
            task_id="t", start_from_trigger=True, start_trigger_args=CapacitySensor.start_args(), slots=3
        )


@pytest.mark.parametrize(
    "expand", [{"slots": [1, 2]}, {"riffusion_conn_id": ["a", "b"]}, {"do_xcom_push": [True, False]}]
)
def test_mapping_over_what_would_be_lost_is_an_error_when_the_dag_is_parsed(expand):
    with DAG("d"), pytest.raises(ValueError, match=f"can't map over {next(iter(expand))}"):
        CapacitySensor.partial(task_id="t", start_from_trigger=True).expand(**expand)


def test_a_mapped_sensor_that_starts_in_a_worker_is_left_alone():
    with DAG("d"):
        mapped = CapacitySensor.partial(task_id="t").expand(slots=[1, 2])

    assert not mapped.start_from_trigger


@pytest.mark.parametrize("arguments", [{"slots": "two"}, {"hold": -1}, {"user_ids": []}])
def test_a_mapped_sensors_arguments_are_checked_when_the_dag_is_parsed(arguments):
    with DAG("d"), pytest.raises(ValueError, match=next(iter(arguments))):
        CapacitySensor.partial(task_id="t", start_from_trigger=True, **arguments)


def test_another_tasks_output_is_an_error_when_the_dag_is_parsed():
    with DAG("d"):
        other = CapacitySensor(task_id="other")
        with pytest.raises(ValueError, match="use a template"):
            CapacitySensor(task_id="t", start_from_trigger=True, slots=other.output)


@pytest.mark.parametrize("argument", ["start_from_trigger", "end_from_trigger"])
def test_it_needs_a_deferrable_sensor(argument):
    with pytest.raises(ValueError, match=f"{argument} needs deferrable=True"):
        CapacitySensor(task_id="t", **{argument: True}, deferrable=False)
