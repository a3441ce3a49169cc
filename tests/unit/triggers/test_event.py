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
    """Stands in for what Airflow 3.3 remembers with an asset."""

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
def test_airflow_2_says_that_it_has_no_such_thing():
    with pytest.raises(
        ValueError, match="CapacityEventTrigger needs the AssetWatcher of Airflow 3, this is 2"
    ):
        CapacityEventTrigger()


@needs_airflow_3
class TestArguments:
    def test_an_asset_watcher_takes_it_and_stores_it(self):
        from airflow.sdk import Asset, AssetWatcher

        made = CapacityEventTrigger("mine", slots=3, user_ids={"b", "a"}, poke_interval=timedelta(seconds=7))
        (watcher,) = Asset("room", watchers=[AssetWatcher(name="w", trigger=made)]).watchers
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
    def test_a_wrong_one_is_an_error_when_the_dag_is_parsed(self, wrong):
        with pytest.raises(ValueError, match=f"^{next(iter(wrong))} must"):
            CapacityEventTrigger(**wrong)

    def test_the_dag_file_imports_neither_the_http_library_nor_the_emulator(self):
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
    def test_one_for_each_rise_and_none_while_full(self, hook):
        hook.next_answers = [FULL] * 5 + [FREE] * 5 + [FULL] * 5 + [FREE] * 5
        hook.answer = FULL

        assert len(run(live(trigger(slots=2), 300))) == 2

    def test_its_payload_is_the_reading_and_the_room(self, hook):
        hook.answer = FREE

        (payload,) = run(live(trigger(), 60))

        assert payload == {**FREE.to_xcom(), "room": 2}
        assert json.loads(json.dumps(payload)) == payload

    def test_others_are_looked_at_closely_only_when_there_may_be_one(self, hook, monkeypatch):
        asked = []
        room = CapacityGate.room

        async def remembered(gate, poke_interval, request, **options):
            asked.append(request)
            return await room(gate, poke_interval, request, **options)

        monkeypatch.setattr(CapacityGate, "room", remembered)
        hook.next_answers = [FULL, FREE]
        hook.answer = FREE

        run(live(trigger(), 35))
        assert asked[:2] == [SlotRequest.checked()] * 2
        assert asked[2:4] == [None] * 2

    def test_only_the_accounts_asked_for_count_and_are_told(self, hook):
        hook.next_answers = [reading(a=(2, 2), b=(0, 2))] * 3
        hook.answer = reading(a=(2, 2), b=(1, 2))

        (payload,) = run(live(trigger(user_ids=["b"]), 100))

        assert payload == {**hook.answer.for_users({"b"}).to_xcom(), "room": 1}

    def test_one_for_a_run_whose_songs_are_all_refused(self, hook):
        """They take up the room, and give it back: that is no rise, or the DAG would start for ever."""
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

    def test_none_for_a_slot_that_a_waiting_task_gets(self, hook):
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

    def test_it_shares_the_readings_of_those_who_wait(self, hook):
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
    def test_an_event_is_not_repeated(self, hook):
        store = FakeStore()
        hook.answer = FREE

        assert len(run(live(trigger(store), 60))) == 1
        assert run(live(trigger(store), 60)) == []

    def test_the_next_rise_is_an_event(self, hook):
        store = FakeStore()
        hook.next_answers = [FREE] * 3 + [FULL] * 3
        hook.answer = FREE

        assert len(run(live(trigger(store), 55))) == 1
        assert len(run(live(trigger(store), 55))) == 1

    def test_it_is_remembered_before_the_event_leaves(self, hook):
        store = FakeStore()
        hook.answer = FREE

        async def scenario():
            await anext(trigger(store).run())
            return list(store.writes)

        assert run(scenario()) == ["fired"]

    def test_what_has_not_changed_is_not_written_again(self, hook):
        store = FakeStore()
        hook.next_answers = [FULL] * 5 + [FREE] * 5 + [FULL] * 5

        run(live(trigger(store), 300))
        assert store.writes == ["armed", "fired", "armed"]

    def test_several_watchers_of_an_asset_remember_for_themselves(self, hook):
        store = FakeStore()
        hook.answer = FREE

        async def scenario():
            watchers = {}, {"slots": 2}, {"user_ids": ["a"]}, {"riffusion_conn_id": "other"}
            return [await live(trigger(store, **watcher), 30) for watcher in watchers]

        assert [len(payloads) for payloads in run(scenario())] == [1] * 4

    def test_whose_dag_was_unpaused_begins_anew(self, hook):
        """Airflow has made a new trigger; nobody knows what was free meanwhile."""
        store = FakeStore()
        hook.answer = FREE

        run(live(trigger(store, trigger_id=1), 30))
        assert len(run(live(trigger(store, trigger_id=2), 30))) == 1

    def test_a_write_whose_answer_is_lost_is_made_good_for(self, hook):
        class Lossy(FakeStore):
            async def aset(self, key, value):
                await super().aset(key, value)
                if len(self.writes) == 2:
                    raise TimeoutError("no answer")

        store = Lossy()
        hook.next_answers = [FULL, FREE]
        run(live(trigger(store), 300))

        assert store.writes == ["armed", "fired", "armed"]

    def test_a_store_that_is_late_is_asked_again(self, hook):
        store = FakeStore()
        hook.answer = FREE
        run(live(trigger(store), 30))
        store.error, store.failures = ConnectionError("not yet"), 2

        assert run(live(trigger(store), 60)) == []

    def test_a_store_that_hangs_stops_no_event(self, hook):
        store = FakeStore()
        store.hangs = True
        hook.answer = lambda: FREE if asyncio.get_running_loop().time() % 200 < 100 else FULL

        assert len(run(live(trigger(store), 2000))) == 10

    def test_a_store_that_fails_is_left_alone_for_a_minute(self, hook):
        store = FakeStore()
        store.error = ConnectionError("not now")
        store.failures = 1000
        hook.answer = FULL

        run(live(trigger(store), 300))
        assert 1000 - store.failures <= 8  # Three to begin with.

    def test_without_a_store_room_is_an_event_again(self, hook):
        hook.answer = FREE

        assert len(run(live(trigger(), 60))) == 1
        assert len(run(live(trigger(), 60))) == 1

    def test_a_store_that_fails_stops_no_event_and_is_named_once(self, hook, caplog):
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
        lines = [record.getMessage() for record in caplog.records if "remembered" in record.getMessage()]
        assert lines == [
            "Whether there was an event of 1 slot on connection 'riffusion_test' can't be remembered with "
            "the asset (ValueError('several assets')): "
            "a triggerer that is restarted meanwhile may repeat it.",
            "Events of 1 slot on connection 'riffusion_test' are remembered again.",
        ]


@needs_airflow_3
class TestTrouble:
    def errors(self, caplog):
        return [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR]

    def test_an_unavailable_service_is_waited_for(self, hook):
        hook.next_answers = [FULL, *[RiffusionUnavailable("503", status=503)] * 20]
        hook.answer = FREE

        assert len(run(live(trigger(), 24 * 3600))) == 1

    @pytest.mark.parametrize("error", [RiffusionRejected, RiffusionConnectionNotFound])
    def test_a_rejection_is_logged_once_and_asked_about_every_minute(self, hook, caplog, error):
        hook.answer = error("no such thing: mend it.")

        assert run(live(trigger(), 600)) == []
        assert self.errors(caplog) == ["no such thing: mend it. No event is fired until that is mended."]
        assert 9 <= len(hook.asked_at) <= 10

    def test_what_was_mended_is_noticed(self, hook, caplog):
        caplog.set_level(logging.INFO)
        hook.tokens = ["old", "old", "new"]
        hook.next_answers = [RiffusionRejected("401")]
        hook.answer = FREE

        assert len(run(live(trigger(), 120))) == 1
        assert hook.lookups >= 2
        assert "Connection 'riffusion_test': events are fired again." in caplog.text

    def test_what_can_never_be_is_logged_once_and_looked_out_for(self, hook, caplog):
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
            "Check slots and user_ids, or the accounts' maxJobs. No event is fired until that is mended."
        ]

    def test_event_trigger_accounts_that_are_full_and_not_listed_are_no_error(self, hook, caplog):
        hook.next_answers = [reading()] * 20
        hook.answer = reading(a=(2, 2))
        hook.configured = configured(a=2)

        assert len(run(live(trigger(slots=2), 300))) == 1
        assert self.errors(caplog) == []

    def test_a_rejection_of_waiting_tasks_is_not_counted_as_its_own(self, hook, caplog):
        hook.answer = RiffusionRejected("401")

        async def scenario():
            watching, waiting = start(trigger(), []), wait("w")
            await asyncio.gather(waiting, return_exceptions=True)
            await cancel(watching)

        run(scenario())
        assert "all tasks at this gate (1)" in caplog.text
