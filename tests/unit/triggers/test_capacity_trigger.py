from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime
from types import SimpleNamespace

import pytest
from airflow.providers.common.compat.sdk import DAG
from airflow.triggers.base import TaskSuccessEvent
from jinja2.exceptions import SecurityError

from airflow_riffusion.compat import HAS_ZERO_WORKER_MODE
from airflow_riffusion.core.request import Grant
from airflow_riffusion.exceptions import RiffusionRejected
from airflow_riffusion.gate import gate as gate_module
from airflow_riffusion.sensors.capacity import CapacitySensor
from airflow_riffusion.triggers.capacity import CapacityTrigger
from tests.readings import reading
from tests.versions import needs_zero_worker_mode
from tests.virtual_time import run

if HAS_ZERO_WORKER_MODE:
    from airflow.serialization.serialized_objects import DagSerialization


@pytest.fixture
def gate(monkeypatch):
    """Stand in for the gate: it grants one slot at once, or raises what the test says."""

    class FakeGate:
        waited_for = None
        asked_for = None
        given_back = []
        error = None

        @classmethod
        def of(cls, conn_id):
            cls.asked_for = conn_id
            return cls

        @classmethod
        async def wait(cls, waiter_id, request, poke_interval):
            cls.waited_for = (request, poke_interval)
            if cls.error:
                raise cls.error
            return Grant(waiter_id, request, {"a": 1}, reading(a=1))

        @classmethod
        def give_back(cls, grant_id):
            cls.given_back.append(grant_id)

    monkeypatch.setattr(gate_module, "CapacityGate", FakeGate)
    return FakeGate


def events_of(trigger, run=asyncio.run):
    async def collect():
        return [event async for event in trigger.run()]

    return run(collect())


def test_it_survives_being_stored():
    trigger = CapacityTrigger(
        riffusion_conn_id="mine",
        slots=3,
        user_ids=["a"],
        same_account=True,
        hold=1.5,
        poke_interval=2.5,
        priority=7,
        since=123.5,
        timeout=60.0,
        end_from_trigger=True,
        do_xcom_push=False,
        multiple_outputs=True,
    )
    path, kwargs = trigger.serialize()

    assert path == f"{CapacityTrigger.__module__}.{CapacityTrigger.__qualname__}"
    assert CapacityTrigger(**json.loads(json.dumps(kwargs))).serialize() == (path, kwargs)
    assert CapacityTrigger.__init__.__code__.co_varnames[1 : 1 + len(kwargs)] == tuple(kwargs)


def test_a_grant_is_its_only_event(gate):
    (event,) = events_of(CapacityTrigger(slots=1, user_ids=["a"], poke_interval=3, priority=2, since=1.0))

    assert event.payload["status"] == "granted"
    assert event.payload["result"]["granted"] == {"a": 1}
    assert event.payload["result"]["waited_seconds"] > 0
    json.dumps(event.payload)
    request, poke_interval = gate.waited_for
    assert (request.user_ids, request.priority, request.since, poke_interval) == (frozenset("a"), 2, 1.0, 3.0)
    assert gate.given_back == []


def test_a_rejection_is_an_event_so_that_the_sensor_decides_what_it_means(gate):
    gate.error = RiffusionRejected("401 Unauthorized")

    (event,) = events_of(CapacityTrigger())

    assert event.payload == {"status": "rejected", "message": "401 Unauthorized"}


def test_a_grant_whose_event_did_not_leave_is_given_back(gate):
    async def stop_at_the_event():
        running = CapacityTrigger().run()
        event = await anext(running)
        await running.aclose()
        return event.payload["result"]["grant_id"]

    assert gate.given_back == [asyncio.run(stop_at_the_event())]


@pytest.mark.parametrize("rendered", [{"slots": "two"}, {"user_ids": "['a']"}, {"riffusion_conn_id": ""}])
def test_arguments_that_a_template_rendered_wrong_are_left_to_a_worker(gate, rendered):
    trigger = CapacityTrigger(**rendered, timeout=60.0)
    trigger.timeout_after = datetime(2026, 1, 1, 12, 1, tzinfo=UTC)

    (event,) = events_of(trigger)

    began = datetime(2026, 1, 1, 12, tzinfo=UTC).timestamp()
    assert (event.payload["status"], event.payload["since"]) == ("unread", began)
    assert f"{next(iter(rendered))} must be" in event.payload["message"]
    assert gate.waited_for is None


@needs_zero_worker_mode
class TestRenderingTheArguments:
    """Airflow renders them in the triggerer if the task starts there."""

    def started(self, slots="{{ 1 }}", user_ids=None, *, native=False, operators_own=None, **context):
        with DAG("d", render_template_as_native_obj=native) as dag:
            sensor = CapacitySensor(
                task_id="t",
                slots=slots,
                user_ids=user_ids,
                riffusion_conn_id="{{ conn or 'mine' }}",
                start_from_trigger=True,
                render_template_as_native_obj=operators_own,
            )
        task = DagSerialization.from_dict(DagSerialization.to_dict(dag)).get_task("t")
        trigger = CapacityTrigger(**sensor.start_trigger_args.trigger_kwargs)
        trigger.task_instance = SimpleNamespace(task_id="t", task=task, dag_id="d")
        trigger.render_template_fields({"conn": "", **context})
        return trigger

    def waited_for(self, gate, trigger):
        (event,) = events_of(trigger)
        assert event.payload["status"] == "granted"
        return gate.waited_for[0]

    @pytest.mark.parametrize("native", [{"native": True}, {"operators_own": True}])
    @pytest.mark.parametrize(
        ("user_ids", "expected"),
        [
            ("{{ ['a', 'b'] }}", {"a", "b"}),
            ("{{ accounts }}", {"a", "1"}),
            ("{{ '1, 2' }}", {"1", "2"}),
            (["{{ 1 }}"], {"1"}),
            ("{{ ['A'] | map('lower') }}", {"a"}),
            ("{{ {0: 'a'}.values() }}", {"a"}),
            ("{{ none }}", None),
        ],
    )
    def test_native_templates_become_objects_as_in_a_worker(self, gate, native, user_ids, expected):
        trigger = self.started("{{ 6 / 2 }}", user_ids, accounts=("a", 1), **native)

        request = self.waited_for(gate, trigger)
        assert (request.slots, request.user_ids) == (3, expected)

    def test_a_connection_that_looks_like_a_number_is_found_by_its_text(self, gate):
        self.waited_for(gate, self.started(native=True, conn=4711))

        assert gate.asked_for == "4711"

    def test_without_native_templates_a_list_is_text_here_too(self, gate):
        (event,) = events_of(self.started(user_ids="{{ ['a', 'b'] }}"))

        assert event.payload["status"] == "unread"

    def test_the_operators_own_setting_comes_before_the_dags(self, gate):
        (event,) = events_of(self.started(user_ids="{{ ['a'] }}", native=True, operators_own=False))

        assert event.payload["status"] == "unread"

    @pytest.mark.parametrize("native", [False, True])
    @pytest.mark.parametrize(
        "slots", ["{{ nowhere }}", "{{ nowhere.at.all }}", "{{ 1 | no_filter }}", "{{ 1"]
    )
    def test_what_cant_be_rendered_here_is_left_to_a_worker(self, gate, native, slots):
        (event,) = events_of(self.started(slots, native=native))

        assert event.payload["status"] == "unread"
        assert gate.waited_for is None

    def test_a_filter_that_fails_when_its_values_are_read_is_left_to_a_worker(self, gate):
        (event,) = events_of(self.started(user_ids="{{ [1] | map('no_filter') }}", native=True))

        assert event.payload["status"] == "unread"

    def test_trigger_message_of_unread_arguments_is_short(self, gate):
        (event,) = events_of(CapacityTrigger(slots="x" * 5000))

        assert len(event.payload["message"]) < 300

    def test_what_a_worker_has_rendered_is_not_rendered_again(self, gate):
        trigger = self.started(native=True)
        deferred = CapacityTrigger(user_ids=["1e5", "{{ x }}"], since=1.0)
        deferred.task_instance = trigger.task_instance

        deferred.render_template_fields({})

        assert deferred.user_ids == ["1e5", "{{ x }}"]

    @pytest.mark.parametrize("native", [False, True])
    def test_templates_are_rendered_in_airflows_sandbox(self, native):
        trigger = self.started("{{ ''.__class__.__mro__ }}", native=native)

        assert isinstance(trigger._not_rendered, SecurityError)


def test_a_wait_that_began_in_the_triggerer_is_dated_by_its_timeout_so_that_a_restart_keeps_the_order(gate):
    trigger = CapacityTrigger(timeout=60.0)
    trigger.timeout_after = datetime(2026, 1, 1, 12, 1, tzinfo=UTC)

    events_of(trigger)

    assert gate.waited_for[0].since == datetime(2026, 1, 1, 12, tzinfo=UTC).timestamp()


class TestResumingAWorker:
    """A task that is resumed while its worker is still going is failed by Airflow's scheduler."""

    def seconds_until_the_event(self, *, in_airflow=True, **arguments):
        trigger = CapacityTrigger(**arguments)
        trigger.task_instance = SimpleNamespace(dag_id="d", task_id="t") if in_airflow else None

        async def scenario():
            began = asyncio.get_running_loop().time()
            await anext(trigger.run())
            return asyncio.get_running_loop().time() - began

        return run(scenario())

    def test_the_event_leaves_when_the_worker_that_deferred_is_gone(self, gate):
        assert self.seconds_until_the_event(since=1.0) == pytest.approx(8, abs=0.01)

    def test_a_rejection_waits_likewise(self, gate):
        gate.error = RiffusionRejected("401")

        assert self.seconds_until_the_event(since=1.0) == pytest.approx(8, abs=0.01)

    def test_it_takes_as_long_as_airflow_is_configured_to(self, gate, monkeypatch):
        monkeypatch.setenv("AIRFLOW__WORKERS__MIN_HEARTBEAT_INTERVAL", "1")

        assert self.seconds_until_the_event(since=1.0) == pytest.approx(4, abs=0.01)

    def test_a_task_that_no_worker_started_waits_for_none(self, gate):
        assert self.seconds_until_the_event() < 0.1

    def test_neither_does_dags_test(self, gate):
        assert self.seconds_until_the_event(since=1.0, in_airflow=False) < 0.1


@needs_zero_worker_mode
class TestEndingTheTask:
    @pytest.fixture
    def pushed(self, monkeypatch):
        pushed = []
        monkeypatch.setattr("airflow.sdk.execution_time.xcom.XCom.set", lambda **xcom: pushed.append(xcom))
        return pushed

    def trigger(self, **arguments):
        trigger = CapacityTrigger(end_from_trigger=True, since=1.0, **arguments)
        trigger.task_instance = SimpleNamespace(dag_id="d", task_id="t", run_id="r", map_index=3)
        return trigger

    def test_the_xcom_is_pushed_before_the_task_ends(self, gate, pushed):
        (event,) = events_of(self.trigger())

        (xcom,) = pushed
        assert isinstance(event, TaskSuccessEvent)
        assert {key: xcom[key] for key in ("key", "dag_id", "task_id", "run_id", "map_index")} == {
            "key": "return_value",
            "dag_id": "d",
            "task_id": "t",
            "run_id": "r",
            "map_index": 3,
        }
        assert xcom["value"]["granted"] == {"a": 1}

    def test_without_do_xcom_push_none_is_written(self, gate, pushed):
        (event,) = events_of(self.trigger(do_xcom_push=False, multiple_outputs=True))

        assert (type(event), pushed) == (TaskSuccessEvent, [])

    def test_with_multiple_outputs_each_key_is_an_xcom_of_its_own(self, gate, pushed):
        events_of(self.trigger(multiple_outputs=True))

        written = {xcom["key"]: xcom["value"] for xcom in pushed}
        whole = written.pop("return_value")
        assert written == whole
        assert whole["granted"] == {"a": 1}

    def test_an_xcom_that_cant_be_written_gives_the_grant_back(self, gate, monkeypatch):
        def broken(**xcom):
            raise OSError("no database")

        monkeypatch.setattr("airflow.sdk.execution_time.xcom.XCom.set", broken)
        before = len(gate.given_back)

        with pytest.raises(OSError, match="no database"):
            events_of(self.trigger())
        assert len(gate.given_back) == before + 1

    def test_a_rejection_goes_to_a_worker_for_retries_and_soft_fail(self, gate, pushed):
        gate.error = RiffusionRejected("401")

        (event,) = events_of(self.trigger(), run)

        assert event.payload == {"status": "rejected", "message": "401"}
        assert pushed == []
