"""How each mode is run as Airflow would run it, in no time: only clocks and pauses are not the real ones."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from airflow.exceptions import AirflowRescheduleException
from airflow.providers.common.compat.sdk import (
    AirflowFailException,
    AirflowSensorTimeout,
    BaseHook,
    BaseSensorOperator,
    TaskDeferred,
)
from airflow.triggers.base import BaseTrigger, TaskSuccessEvent

from airflow_riffusion.gate.gate import CapacityGate
from airflow_riffusion.hooks.riffusion import RiffusionHook
from airflow_riffusion.operators.capacity import CapacityOperator
from airflow_riffusion.operators.submit import RiffusionSubmitOperator
from airflow_riffusion.sensors.capacity import CapacitySensor
from airflow_riffusion.triggers.capacity import CapacityTrigger
from tests.virtual_time import VirtualTimeLoop, run

if TYPE_CHECKING:
    from tests.integration.faults import FaultyService

CONN_ID = "riffusion_test"
INTERVAL = 60.0
PATIENCE = 1000.0
"""Seconds for which a wait is watched."""
_A_DAY = 86400.0


class Clock:
    """Time that passes only while somebody sleeps; the wall clock may jump (seconds)."""

    def __init__(self) -> None:
        self.jumps: list[tuple[float, float]] = []
        self._elapsed = 0.0
        self._loop: VirtualTimeLoop | None = None
        self._loop_began = 0.0

    @property
    def elapsed(self) -> float:
        return self._elapsed if self._loop is None else self._loop.now - self._loop_began

    def follow(self, loop: VirtualTimeLoop) -> None:
        self._loop, self._loop_began = loop, loop.now

    def time(self) -> float:
        return 1_700_000_000.0 + self.elapsed + sum(by for at, by in self.jumps if at <= self.elapsed)

    def monotonic(self) -> float:
        return 5000.0 + self.elapsed

    def sleep(self, seconds: float) -> None:
        self._elapsed += seconds

    def utcnow(self) -> datetime:
        return datetime.fromtimestamp(self.time(), tz=UTC)


@dataclass
class Outcome:
    """
    :param state: what Airflow would show; ``failed`` is without a retry, ``timed out`` by its ``timeout``.
    :param message: what the task failed with.
    :param result: what it returned.
    :param held: how many slots the gate holds in the end.
    """

    state: str
    message: str = ""
    result: Any = None
    held: int = 0


@dataclass
class World:
    """
    :param faulty: the service that fails, as a connection.
    :param fine: one that is well, for a song whose readings or submissions are to be well.
    :param use: makes the connection lead to a service.
    :param xcoms: what was pushed without a worker, by key.
    :param first_look: when a sensor that was rescheduled looked first.
    """

    clock: Clock
    faulty: FaultyService
    fine: FaultyService
    use: Callable[[FaultyService], None]
    xcoms: dict[str, Any]
    monkeypatch: pytest.MonkeyPatch
    first_look: datetime | None = None

    def submit_to(self, submissions: FaultyService, readings: FaultyService) -> None:
        """Let submissions go to another service than readings."""
        send = RiffusionHook.run

        def run(hook: RiffusionHook, endpoint: str, method: str = "GET", json: Any = None) -> Any:
            self.use(submissions)
            try:
                return send(RiffusionHook(hook.riffusion_conn_id), endpoint, method, json)
            finally:
                self.use(readings)

        self.monkeypatch.setattr(RiffusionHook, "run", run)


def replace_time(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("airflow_riffusion.clock.epoch", clock.time)
    monkeypatch.setattr("airflow_riffusion.clock.monotonic", clock.monotonic)
    monkeypatch.setattr("airflow_riffusion.clock.sleep", clock.sleep)
    airflows = sys.modules[BaseSensorOperator.__module__]
    monkeypatch.setattr(airflows, "time", clock)
    monkeypatch.setattr(airflows, "timezone", clock)


def replace_airflow(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let nothing run in a thread, from which a clock that jumps would run away, and nothing ask Airflow."""

    async def at_once(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    async def get_connection(conn_id: str) -> Any:
        return BaseHook.get_connection(conn_id)

    monkeypatch.setattr(asyncio, "to_thread", at_once)
    monkeypatch.setattr("airflow_riffusion.hooks.lookup.get_async_connection", get_connection)
    sensors = sys.modules[BaseSensorOperator.__module__]
    monkeypatch.setattr(sensors, "_orig_start_date", lambda *args, **kwargs: world.first_look, raising=False)


def capacity_operator(world: World) -> Outcome:
    task = CapacityOperator(task_id="t", riffusion_conn_id=CONN_ID)
    return _end_of(lambda: task.execute(_context()))


def poke(world: World) -> Outcome:
    return _end_of(lambda: _sensor(world, deferrable=False).execute(_context()))


def reschedule(world: World, timeout: float = _A_DAY) -> Outcome:
    """Look again, each time in a new process, when the sensor wants to."""
    while True:
        sensor = _sensor(world, deferrable=False, mode="reschedule", timeout=timeout)
        try:
            return _end_of(lambda sensor=sensor: sensor.execute(_context(world.first_look)))
        except AirflowRescheduleException as put_off:
            pause = put_off.reschedule_date.timestamp() - world.clock.time()
        if world.clock.elapsed + pause > PATIENCE and timeout > PATIENCE:
            return Outcome("up_for_reschedule")
        world.first_look = world.first_look or world.clock.utcnow()
        world.clock.sleep(pause)


def deferred(world: World) -> Outcome:
    sensor = _sensor(world)
    trigger = _stored(_deferral(lambda: sensor.execute(_context())).trigger)
    return run(_watched(world, _sensor_in_triggerer(world, sensor, trigger)))


def zero_worker(world: World) -> Outcome:
    sensor = _sensor(world, start_from_trigger=True, end_from_trigger=True)
    kwargs = json.loads(json.dumps(sensor.start_trigger_args.trigger_kwargs))
    trigger = _in_airflow(CapacityTrigger(**kwargs))
    trigger.timeout_after = datetime.fromtimestamp(world.clock.time() + kwargs["timeout"], tz=UTC)
    return run(_watched(world, _sensor_in_triggerer(world, sensor, trigger)))


def song_waiting(world: World) -> Outcome:
    """The readings are faulty; a submission would be accepted."""
    return run(_watched(world, _song(world, readings=world.faulty, submissions=world.fine)))


def song_submitting(world: World) -> Outcome:
    """The readings are fine; each submission is faulty."""
    return run(_watched(world, _song(world, readings=world.fine, submissions=world.faulty)))


def _sensor(world: World, **arguments: Any) -> CapacitySensor:
    arguments.setdefault("timeout", PATIENCE)
    return CapacitySensor(task_id="t", riffusion_conn_id=CONN_ID, poke_interval=INTERVAL, **arguments)


async def _sensor_in_triggerer(world: World, sensor: CapacitySensor, trigger: Any) -> Outcome:
    world.clock.follow(asyncio.get_running_loop())
    event = await _event(trigger)
    if isinstance(event, TaskSuccessEvent):
        return Outcome("success", result=world.xcoms["return_value"])
    return _end_of(lambda: sensor.execute_complete(_context(), json.loads(json.dumps(event.payload))))


async def _song(world: World, readings: FaultyService, submissions: FaultyService) -> Outcome:
    world.clock.follow(asyncio.get_running_loop())
    world.use(readings)
    world.submit_to(submissions, readings)
    task = RiffusionSubmitOperator(
        task_id="t",
        json={"prompt": "polka"},
        riffusion_conn_id=CONN_ID,
        poke_interval=INTERVAL,
        wait_for_completion=False,
    )
    event = await _event(_stored(_deferral(lambda: task.execute(_context())).trigger))
    outcome = _end_of(lambda: task.execute_complete(_context(), json.loads(json.dumps(event.payload))))
    outcome.held = CapacityGate.of(CONN_ID)._ledger.held
    return outcome


async def _watched(world: World, waiting: Any) -> Outcome:
    try:
        return await asyncio.wait_for(waiting, PATIENCE)
    except TimeoutError:
        return Outcome("deferred")


async def _event(trigger: Any) -> Any:
    """Return a trigger's one event; whoever stopped there would cancel it."""
    (event,) = [event async for event in trigger.run()]
    return event


def _end_of(execute: Callable[[], Any]) -> Outcome:
    try:
        return Outcome("success", result=execute())
    except (AirflowRescheduleException, TaskDeferred):
        raise
    except AirflowSensorTimeout as error:
        return Outcome("timed out", str(error))
    except AirflowFailException as error:
        return Outcome("failed", str(error))
    except Exception as error:  # noqa: BLE001 - whatever it is, Airflow tries again
        return Outcome("up_for_retry", str(error))


def _deferral(execute: Callable[[], Any]) -> TaskDeferred:
    try:
        execute()
    except TaskDeferred as deferral:
        return deferral
    raise AssertionError("the task was not deferred")


def _stored(trigger: BaseTrigger) -> Any:
    """Return a trigger as the triggerer gets it: from the database."""
    return _in_airflow(type(trigger)(**json.loads(json.dumps(trigger.serialize()[1]))))


def _in_airflow(trigger: Any) -> Any:
    trigger.task_instance = _ti()
    return trigger


def _ti(**fields: Any) -> Any:
    return SimpleNamespace(
        dag_id="d", task_id="t", run_id="r", map_index=-1, try_number=1, max_tries=0, **fields
    )


def _context(first_reschedule: datetime | None = None) -> Any:
    ti = _ti(get_first_reschedule_date=lambda context: first_reschedule)
    return {"ti": ti, "task": SimpleNamespace(retries=0)}


MODES: dict[str, Callable[[World], Outcome]] = {
    "operator": capacity_operator,
    "poke": poke,
    "reschedule": reschedule,
    "deferred": deferred,
    "zero-worker": zero_worker,
    "song-waiting": song_waiting,
    "song-submitting": song_submitting,
}
