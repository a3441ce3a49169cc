from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime
from types import SimpleNamespace

import pytest
from airflow.providers.common.compat.sdk import DAG
from airflow.triggers.base import TaskSuccessEvent

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


def test_capacity_trigger_serialized_and_restored_is_the_same():
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


def test_capacity_trigger_grant_is_the_only_event(gate):
    (event,) = events_of(CapacityTrigger(slots=1, user_ids=["a"], poke_interval=3, priority=2, since=1.0))

    assert event.payload["status"] == "granted"
    assert event.payload["result"]["granted"] == {"a": 1}
    assert event.payload["result"]["waited_seconds"] > 0
    json.dumps(event.payload)
    request, poke_interval = gate.waited_for
    assert (request.user_ids, request.priority, request.since, poke_interval) == (frozenset("a"), 2, 1.0, 3.0)
    assert gate.given_back == []


def test_capacity_trigger_rejection_is_an_event(gate):
    gate.error = RiffusionRejected("401 Unauthorized")

    (event,) = events_of(CapacityTrigger())

    assert event.payload == {"status": "rejected", "message": "401 Unauthorized"}


def test_capacity_trigger_closed_before_its_event_left_gives_the_grant_back(gate):
    async def stop_at_the_event():
        running = CapacityTrigger().run()
        event = await anext(running)
        await running.aclose()
        return event.payload["result"]["grant_id"]

    assert gate.given_back == [asyncio.run(stop_at_the_event())]


@pytest.mark.parametrize("rendered", [{"slots": "two"}, {"user_ids": "['a']"}, {"riffusion_conn_id": ""}])
def test_capacity_trigger_argument_rendered_wrong_is_left_to_a_worker(gate, rendered):
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
    def test_capacity_trigger_native_template_becomes_an_object(self, gate, native, user_ids, expected):
        trigger = self.started("{{ 6 / 2 }}", user_ids, accounts=("a", 1), **native)

        request = self.waited_for(gate, trigger)
        assert (request.slots, request.user_ids) == (3, expected)

    def test_capacity_trigger_conn_id_rendered_to_a_number_is_taken_as_text(self, gate):
        self.waited_for(gate, self.started(native=True, conn=4711))

        assert gate.asked_for == "4711"

    def test_capacity_trigger_list_from_a_text_template_is_left_to_a_worker(self, gate):
        (event,) = events_of(self.started(user_ids="{{ ['a', 'b'] }}"))

        assert event.payload["status"] == "unread"

    def test_capacity_trigger_native_setting_of_the_task_overrides_the_dags(self, gate):
        (event,) = events_of(self.started(user_ids="{{ ['a'] }}", native=True, operators_own=False))

        assert event.payload["status"] == "unread"

    @pytest.mark.parametrize("native", [False, True])
    @pytest.mark.parametrize(
        "slots", ["{{ nowhere }}", "{{ nowhere.at.all }}", "{{ 1 | no_filter }}", "{{ 1"]
    )
    def test_capacity_trigger_template_it_can_not_render_is_left_to_a_worker(self, gate, native, slots):
        (event,) = events_of(self.started(slots, native=native))

        assert event.payload["status"] == "unread"
        assert gate.waited_for is None

    def test_capacity_trigger_lazy_filter_that_fails_is_left_to_a_worker(self, gate):
        (event,) = events_of(self.started(user_ids="{{ [1] | map('no_filter') }}", native=True))

        assert event.payload["status"] == "unread"

    def test_capacity_trigger_message_about_unread_arguments_is_short(self, gate):
        (event,) = events_of(CapacityTrigger(slots="x" * 5000))

        assert len(event.payload["message"]) < 300

    def test_capacity_trigger_arguments_of_a_worker_are_not_rendered_again(self, gate):
        trigger = self.started(native=True)
        deferred = CapacityTrigger(user_ids=["1e5", "{{ x }}"], since=1.0)
        deferred.task_instance = trigger.task_instance

        deferred.render_template_fields({})

        assert self.waited_for(gate, deferred).user_ids == {"1e5", "{{ x }}"}

    @pytest.mark.parametrize("native", [False, True])
    def test_capacity_trigger_templates_are_rendered_in_airflows_sandbox(self, native):
        (event,) = events_of(self.started("{{ ''.__class__.__mro__ }}", native=native))

        assert "SecurityError" in event.payload["message"]


def test_capacity_trigger_without_since_dates_the_wait_by_its_timeout(gate):
    trigger = CapacityTrigger(timeout=60.0)
    trigger.timeout_after = datetime(2026, 1, 1, 12, 1, tzinfo=UTC)

    events_of(trigger)

    assert gate.waited_for[0].since == datetime(2026, 1, 1, 12, tzinfo=UTC).timestamp()


class TestResumingAWorker:
    """Airflow's scheduler fails a task that is resumed while its worker process still runs."""

    def seconds_until_the_event(self, *, in_airflow=True, **arguments):
        trigger = CapacityTrigger(**arguments)
        trigger.task_instance = SimpleNamespace(dag_id="d", task_id="t") if in_airflow else None

        async def scenario():
            began = asyncio.get_running_loop().time()
            await anext(trigger.run())
            return asyncio.get_running_loop().time() - began

        return run(scenario())

    def test_capacity_trigger_event_leaves_when_the_worker_is_gone(self, gate):
        assert self.seconds_until_the_event(since=1.0) == pytest.approx(8, abs=0.01)

    def test_capacity_trigger_rejection_leaves_when_the_worker_is_gone(self, gate):
        gate.error = RiffusionRejected("401")

        assert self.seconds_until_the_event(since=1.0) == pytest.approx(8, abs=0.01)

    def test_capacity_trigger_shorter_heartbeat_interval_lets_the_event_leave_sooner(self, gate, monkeypatch):
        monkeypatch.setenv("AIRFLOW__WORKERS__MIN_HEARTBEAT_INTERVAL", "1")

        assert self.seconds_until_the_event(since=1.0) == pytest.approx(4, abs=0.01)

    def test_capacity_trigger_started_without_a_worker_does_not_delay_its_event(self, gate):
        assert self.seconds_until_the_event() < 0.1

    def test_capacity_trigger_in_dags_test_does_not_delay_its_event(self, gate):
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

    def test_capacity_trigger_end_from_trigger_pushes_the_xcom_and_succeeds(self, gate, pushed):
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

    def test_capacity_trigger_without_do_xcom_push_pushes_no_xcom(self, gate, pushed):
        (event,) = events_of(self.trigger(do_xcom_push=False, multiple_outputs=True))

        assert (type(event), pushed) == (TaskSuccessEvent, [])

    def test_capacity_trigger_multiple_outputs_pushes_each_key(self, gate, pushed):
        events_of(self.trigger(multiple_outputs=True))

        written = {xcom["key"]: xcom["value"] for xcom in pushed}
        whole = written.pop("return_value")
        assert written == whole
        assert whole["granted"] == {"a": 1}

    def test_capacity_trigger_xcom_that_can_not_be_pushed_gives_the_grant_back(self, gate, monkeypatch):
        def broken(**xcom):
            raise OSError("no database")

        monkeypatch.setattr("airflow.sdk.execution_time.xcom.XCom.set", broken)
        before = len(gate.given_back)

        with pytest.raises(OSError, match="no database"):
            events_of(self.trigger())
        assert len(gate.given_back) == before + 1

    def test_capacity_trigger_end_from_trigger_rejection_goes_to_a_worker(self, gate, pushed):
        gate.error = RiffusionRejected("401")

        (event,) = events_of(self.trigger(), run)

        assert event.payload == {"status": "rejected", "message": "401"}
        assert pushed == []
