"""The trigger that starts DAGs, in virtual time: ``asyncio.sleep`` in here takes none."""

from __future__ import annotations

import asyncio
import json
import logging
import subprocess
import sys
from datetime import timedelta

import pytest

from airflow_riffusion.core.request import SlotRequest
from airflow_riffusion.exceptions import RiffusionConnectionNotFound, RiffusionRejected, RiffusionUnavailable
from airflow_riffusion.gate.gate import CapacityGate
from airflow_riffusion.triggers.event import CapacityEventTrigger
from tests.gates import FULL, cancel, our_tasks, wait
from tests.readings import configured, job, reading
from tests.versions import needs_airflow_2, needs_airflow_3
from tests.virtual_time import run

FREE = reading(a=(2, 2))


class FakeStore:
    """Stands in for the state store that Airflow 3.3 gives a trigger."""

    def __init__(self):
        self.values = {}
        self.writes = []
        self.error = None
        self.failures = float("inf")
        self.hangs = False

    async def aget(self, key):
        await self._answer()
        return self.values.get(key)

    async def aset(self, key, value):
        await self._answer()
        self.values[key] = value
        self.writes.append(value.partition(" ")[0])

    async def _answer(self):
        if self.hangs:
            await asyncio.sleep(1e9)
        if self.error and self.failures:
            self.failures -= 1
            raise self.error


def trigger(store=None, trigger_id=1, **arguments):
    made = CapacityEventTrigger(**{"riffusion_conn_id": "riffusion_test", "poke_interval": 10, **arguments})
    made.asset_state_store = store
    made.trigger_id = trigger_id
    return made


def start(trigger, payloads):
    """Run a trigger as a triggerer does."""

    async def running():
        async for event in trigger.run():
            payloads.append(event.payload)

    return asyncio.create_task(running())


async def live(trigger, seconds):
    """Run a trigger for so long, and return its payloads."""
    payloads = []
    running = start(trigger, payloads)
    await asyncio.sleep(seconds)
    await cancel(running)
    return payloads


@needs_airflow_2
def test_event_trigger_on_airflow_2_is_an_error():
    with pytest.raises(
        ValueError, match="CapacityEventTrigger needs the AssetWatcher of Airflow 3, this is 2"
    ):
        CapacityEventTrigger()


@needs_airflow_3
class TestArguments:
    def test_event_trigger_in_an_asset_watcher_is_serialized_by_its_arguments(self):
        from airflow.sdk import Asset, AssetWatcher

        made = CapacityEventTrigger("mine", slots=3, user_ids={"b", "a"}, poke_interval=timedelta(seconds=7))
        (watcher,) = Asset("two_free_slots", watchers=[AssetWatcher(name="w", trigger=made)]).watchers
        path, kwargs = watcher.trigger.serialize()

        assert path == f"{CapacityEventTrigger.__module__}.{CapacityEventTrigger.__qualname__}"
        assert kwargs == {
            "riffusion_conn_id": "mine",
            "slots": 3,
            "user_ids": ["a", "b"],
            "poke_interval": 7.0,
        }
        assert CapacityEventTrigger(**json.loads(json.dumps(kwargs))).serialize() == (path, kwargs)

    @pytest.mark.parametrize(
        "wrong",
        [
            {"slots": 0},
            {"slots": "two"},
            {"user_ids": "a"},
            {"user_ids": []},
            {"poke_interval": 0},
            {"riffusion_conn_id": ""},
        ],
    )
    def test_event_trigger_wrong_argument_is_an_error(self, wrong):
        with pytest.raises(ValueError, match=f"^{next(iter(wrong))} must"):
            CapacityEventTrigger(**wrong)

    def test_event_trigger_import_loads_no_hook_http_library_or_emulator(self):
        code = (
            "import sys, airflow.sdk; before = set(sys.modules); import airflow_riffusion.triggers.event;"
            "new = set(sys.modules) - before;"
            "print([name for name in new if name.split('.')[0] in ('requests', 'urllib3', 'fastapi')"
            " or '.hooks' in name or '.emulator' in name])"
        )
        found = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
        assert found.stdout.splitlines()[-1] == "[]"


@needs_airflow_3
class TestEvents:
    def test_event_trigger_two_rises_fire_two_events(self, hook):
        hook.next_answers = [FULL] * 5 + [FREE] * 5 + [FULL] * 5 + [FREE] * 5
        hook.answer = FULL

        assert len(run(live(trigger(slots=2), 300))) == 2

    def test_event_trigger_payload_is_the_reading_and_the_slots_left(self, hook):
        hook.answer = FREE

        (payload,) = run(live(trigger(), 60))

        assert payload == {**FREE.to_xcom(), "unclaimed": 2}
        assert json.loads(json.dumps(payload)) == payload

    def test_event_trigger_after_an_event_asks_the_gate_for_readings_only(self, hook, monkeypatch):
        asked = []
        availability = CapacityGate.availability

        async def remembered(gate, poke_interval, request, **options):
            asked.append(request)
            return await availability(gate, poke_interval, request, **options)

        monkeypatch.setattr(CapacityGate, "availability", remembered)
        hook.next_answers = [FULL, FREE]
        hook.answer = FREE

        run(live(trigger(), 35))
        assert asked[:2] == [SlotRequest.checked()] * 2
        assert asked[2:4] == [None] * 2

    def test_event_trigger_user_ids_limit_what_counts_and_the_payload(self, hook):
        hook.next_answers = [reading(a=(2, 2), b=(0, 2))] * 3
        hook.answer = reading(a=(2, 2), b=(1, 2))

        (payload,) = run(live(trigger(user_ids=["b"]), 100))

        assert payload == {**hook.answer.for_users({"b"}).to_xcom(), "unclaimed": 1}

    def test_event_trigger_slots_given_back_after_refused_jobs_are_no_rise(self, hook):
        """They take the slots, and give them back: that is no rise, or the DAG would start for ever."""
        hook.answer = FREE

        async def scenario():
            payloads, made = [], 0
            watching = start(trigger(slots=2, poke_interval=5), payloads)
            for _ in range(60):
                await asyncio.sleep(15)
                if made < len(payloads):
                    made += 1
                    grants = await asyncio.gather(wait("first"), wait("second"))
                    await asyncio.sleep(8)
                    for grant in grants:
                        CapacityGate.of("riffusion_test").give_back(grant.grant_id)
            await cancel(watching)
            return len(payloads)

        assert run(scenario()) == 1

    def test_event_trigger_slot_for_a_waiting_task_is_no_rise(self, hook):
        async def scenario():
            payloads = []
            watching, waiting = start(trigger(), payloads), wait("w")
            await asyncio.sleep(15)
            hook.answer = reading(a=(1, 2))
            await waiting
            await asyncio.sleep(60)
            hook.answer = reading(job("1", "a", "w"), a=(0, 2))
            await asyncio.sleep(60)
            none = list(payloads)
            hook.answer = reading(a=(1, 2))
            await asyncio.sleep(15)
            await cancel(watching)
            return none, len(payloads)

        assert run(scenario()) == ([], 1)

    def test_event_trigger_shares_one_request_per_interval_with_waiting_tasks(self, hook):
        async def scenario():
            tasks = start(trigger(), []), start(trigger(slots=2), []), *(wait(f"w{n}") for n in range(10))
            await asyncio.sleep(100)
            await cancel(*tasks)
            await asyncio.sleep(0.001)
            return our_tasks()

        assert run(scenario()) == []
        assert len(hook.asked_at) == 10


@needs_airflow_3
class TestRestart:
    def test_event_trigger_restarted_does_not_repeat_an_event(self, hook):
        store = FakeStore()
        hook.answer = FREE

        assert len(run(live(trigger(store), 60))) == 1
        assert run(live(trigger(store), 60)) == []

    def test_event_trigger_restarted_fires_at_the_next_rise(self, hook):
        store = FakeStore()
        hook.next_answers = [FREE] * 3 + [FULL] * 3
        hook.answer = FREE

        assert len(run(live(trigger(store), 55))) == 1
        assert len(run(live(trigger(store), 55))) == 1

    def test_event_trigger_event_is_stored_before_it_leaves(self, hook):
        store = FakeStore()
        hook.answer = FREE

        async def scenario():
            await anext(trigger(store).run())
            return list(store.writes)

        assert run(scenario()) == ["fired"]

    def test_event_trigger_unchanged_state_is_not_stored_again(self, hook):
        store = FakeStore()
        hook.next_answers = [FULL] * 5 + [FREE] * 5 + [FULL] * 5

        run(live(trigger(store), 300))
        assert store.writes == ["armed", "fired", "armed"]

    def test_event_trigger_watchers_of_one_asset_have_separate_states(self, hook):
        store = FakeStore()
        hook.answer = FREE

        async def scenario():
            watchers = {}, {"slots": 2}, {"user_ids": ["a"]}, {"riffusion_conn_id": "other"}
            return [await live(trigger(store, **watcher), 30) for watcher in watchers]

        assert [len(payloads) for payloads in run(scenario())] == [1] * 4

    def test_event_trigger_of_an_unpaused_dag_starts_anew(self, hook):
        """Airflow has made a new trigger, and how many slots were free meanwhile is unknown."""
        store = FakeStore()
        hook.answer = FREE

        run(live(trigger(store, trigger_id=1), 30))
        assert len(run(live(trigger(store, trigger_id=2), 30))) == 1

    def test_event_trigger_lost_answer_to_a_write_does_not_stop_the_next_write(self, hook):
        class Lossy(FakeStore):
            async def aset(self, key, value):
                await super().aset(key, value)
                if len(self.writes) == 2:
                    raise TimeoutError("no answer")

        store = Lossy()
        hook.next_answers = [FULL, FREE]
        run(live(trigger(store), 300))

        assert store.writes == ["armed", "fired", "armed"]

    def test_event_trigger_store_that_fails_at_first_is_asked_again(self, hook):
        store = FakeStore()
        hook.answer = FREE
        run(live(trigger(store), 30))
        store.error, store.failures = ConnectionError("not yet"), 2

        assert run(live(trigger(store), 60)) == []

    def test_event_trigger_hanging_store_stops_no_event(self, hook):
        store = FakeStore()
        store.hangs = True
        hook.answer = lambda: FREE if asyncio.get_running_loop().time() % 200 < 100 else FULL

        assert len(run(live(trigger(store), 2000))) == 10

    def test_event_trigger_failing_store_is_asked_about_once_a_minute(self, hook):
        store = FakeStore()
        store.error = ConnectionError("not now")
        store.failures = 1000
        hook.answer = FULL

        run(live(trigger(store), 300))
        assert 1000 - store.failures <= 8  # Three to begin with.

    def test_event_trigger_without_a_store_fires_again_after_a_restart(self, hook):
        hook.answer = FREE

        assert len(run(live(trigger(), 60))) == 1
        assert len(run(live(trigger(), 60))) == 1

    def test_event_trigger_failing_store_stops_no_event_and_is_logged_once(self, hook, caplog):
        caplog.set_level(logging.INFO)
        store = FakeStore()
        store.error = ValueError("several assets")
        hook.answer = FREE

        async def scenario():
            payloads = []
            watching = start(trigger(store), payloads)
            await asyncio.sleep(60)
            store.error = None
            await asyncio.sleep(70)
            await cancel(watching)
            return len(payloads)

        assert run(scenario()) == 1
        assert store.writes == ["fired"]
        lines = [record.message for record in caplog.records if "with the asset" in record.message]
        assert lines == [
            "Can't remember with the asset whether an event was fired for 1 slot on connection "
            "'riffusion_test' (ValueError('several assets')): a triggerer that is restarted meanwhile may "
            "fire it again.",
            "Events for 1 slot on connection 'riffusion_test' are remembered with the asset again.",
        ]


@needs_airflow_3
class TestFailures:
    def errors(self, caplog):
        return [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR]

    def test_event_trigger_unavailable_service_does_not_end_it(self, hook):
        hook.next_answers = [FULL, *[RiffusionUnavailable("503", status=503)] * 20]
        hook.answer = FREE

        assert len(run(live(trigger(), 24 * 3600))) == 1

    @pytest.mark.parametrize("error", [RiffusionRejected, RiffusionConnectionNotFound])
    def test_event_trigger_rejection_is_logged_once_and_retried_every_minute(self, hook, caplog, error):
        hook.answer = error("no such thing: fix it.")

        assert run(live(trigger(), 600)) == []
        assert self.errors(caplog) == ["no such thing: fix it. No event is fired until that is fixed."]
        assert 9 <= len(hook.asked_at) <= 10

    def test_event_trigger_fixed_connection_fires_again(self, hook, caplog):
        caplog.set_level(logging.INFO)
        hook.tokens = ["old", "old", "new"]
        hook.next_answers = [RiffusionRejected("401")]
        hook.answer = FREE

        assert len(run(live(trigger(), 120))) == 1
        assert hook.lookups >= 2
        assert "Connection 'riffusion_test': events are fired again." in caplog.text

    def test_event_trigger_impossible_demand_is_logged_once_and_waited_for(self, hook, caplog):
        hook.next_answers = [FREE] * 20
        hook.configured = configured(a=2)

        async def scenario():
            payloads = []
            watching = start(trigger(slots=5), payloads)
            await asyncio.sleep(150)
            hook.next_answers, hook.answer = [], reading(a=(2, 2), b=(3, 3))
            await asyncio.sleep(30)
            await cancel(watching)
            return len(payloads)

        assert run(scenario()) == 1
        assert self.errors(caplog) == [
            "Connection 'riffusion_test': 5 slots waited for, but the accounts have 2 in all. "
            "Check slots and user_ids, or the accounts' maxJobs. No event is fired until that is fixed."
        ]

    def test_event_trigger_accounts_that_are_full_and_not_listed_are_no_error(self, hook, caplog):
        hook.next_answers = [reading()] * 20
        hook.answer = reading(a=(2, 2))
        hook.configured = configured(a=2)

        assert len(run(live(trigger(slots=2), 300))) == 1
        assert self.errors(caplog) == []

    def test_event_trigger_is_not_counted_among_rejected_tasks(self, hook, caplog):
        hook.answer = RiffusionRejected("401")

        async def scenario():
            watching, waiting = start(trigger(), []), wait("w")
            await asyncio.gather(waiting, return_exceptions=True)
            await cancel(watching)

        run(scenario())
        assert "all tasks at this gate (1)" in caplog.text
