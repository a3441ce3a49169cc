"""What is sent to Airflow's Stats; a real socket is for the integration tests."""

from __future__ import annotations

import asyncio
import logging

import pytest
import requests
import requests_mock

from airflow_riffusion import metrics
from airflow_riffusion.core.accounts import KnownAccounts
from airflow_riffusion.exceptions import (
    RiffusionBadResponse,
    RiffusionError,
    RiffusionRejected,
    RiffusionUnavailable,
)
from airflow_riffusion.gate.gate import CapacityGate
from airflow_riffusion.hooks.riffusion import RiffusionHook
from tests.gates import FULL, cancel, wait, watch
from tests.readings import job, parsed, reading
from tests.virtual_time import run

read_hostname = metrics._hostname.__wrapped__


class FakeStats:
    """Remembers what it is given."""

    def __init__(self):
        self.sent = []
        self.error = None

    def _take(self, kind, name, value, tags):
        if self.error:
            raise self.error
        self.sent.append((kind, name, value, tags))

    def gauge(self, name, value, *, tags=None):
        self._take("gauge", name, value, tags)

    def incr(self, name, value, *, tags=None):
        self._take("incr", name, value, tags)

    def timing(self, name, value, *, tags=None):
        self._take("timing", name, value, tags)

    def of(self, name):
        return [(value, tags) for _, sent, value, tags in self.sent if sent == name]


@pytest.fixture
def stats(monkeypatch):
    stats = FakeStats()
    monkeypatch.setattr(metrics, "_stats", lambda: stats)
    monkeypatch.setattr(metrics, "_hostname", lambda: "here")
    monkeypatch.setattr(metrics, "_gauges_sent", {})
    return stats


def test_reading_metric_is_sent_with_tags_and_with_a_long_name(stats):
    metrics.reading("conn", reading(a=(1, 4)))

    assert stats.sent == [
        ("gauge", f"riffusion.slots.{name}{end}", value, tags)
        for name, value in (("available", 1), ("executing", 3), ("max", 4))
        for end, tags in (("", {"conn_id": "conn", "account": "a"}), (".conn.a", None))
    ]


def test_reading_with_long_names_off_sends_short_names_only(stats, monkeypatch):
    monkeypatch.setattr(metrics, "_has_long_names", lambda: False)

    metrics.reading("conn", reading(a=1))

    assert {name.count(".") for _, name, _, _ in stats.sent} == {2}


@pytest.mark.parametrize(
    ("account", "name"),
    [
        ("5f72c91e-7c5e-4c7b-9d7e-0c41d2ab7e90", "5f72c91e-7c5e-4c7b-9d7e-0c41d2ab7e90"),
        ("user_1", "user_1"),
        ("first.last@example.co.uk", "first_last__example_co_uk"),
        ("first_last@example.co.uk", "first_last__example_co_uk_0d2f369e"),
        ("me+songs@example.com,a=b", "me_songs__example_com_a_b_54332f35"),
    ],
)
def test_reading_with_any_account_id_sends_it_as_one_readable_part(stats, account, name):
    metrics.reading("riffusion_default", reading(**{account: 1}))

    assert stats.of(f"riffusion.slots.available.riffusion_default.{name}")
    ((_, tags),) = stats.of("riffusion.slots.available")
    assert tags == {"conn_id": "riffusion_default", "account": name}


@pytest.mark.parametrize(
    "ids",
    [
        ("a.b@x.com", "a_b@x.com", "a+b@x.com", "a@b.x.com", "a_b__x_com", "a_b_x_com"),
        ("my.conn", "my_conn", "my/conn", "my__conn", "my@conn"),
        ("a" * 80, "a" * 81, "a" * 82),
        ("a" * 75 + "@x.com", "a" * 75 + "@x.org"),
    ],
)
def test_reading_with_ids_that_differ_in_little_sends_distinct_names(stats, ids):
    for text in ids:
        metrics.reading(text, reading(**{text: 1}))

    tags = [tags for _, tags in stats.of("riffusion.slots.available")]
    assert len({each["account"] for each in tags}) == len(ids)
    assert len({each["conn_id"] for each in tags}) == len(ids)


def test_gate_on_a_host_with_a_full_name_sends_it_with_underscores(stats, monkeypatch):
    monkeypatch.setattr(metrics, "_hostname", read_hostname)
    monkeypatch.setattr(metrics.socket, "gethostname", lambda: "ip-10-0-0-1.example.com")

    metrics.gate("conn", waiting=1, held=0)

    assert stats.of("riffusion.gate.waiting.conn.ip-10-0-0-1_example_com")


def test_reading_with_long_ids_sends_names_of_at_most_250_characters(stats):
    metrics.reading("c" * 250, reading(**{"a" * 500: 1}))

    assert max(len(name) for _, name, _, _ in stats.sent) <= 250


def test_reading_with_unknown_max_sends_no_max(stats):
    payload = {"available": [{"user_id": "a", "available": 1}]}
    metrics.reading("conn", parsed(payload))

    assert stats.of("riffusion.slots.available")
    assert not stats.of("riffusion.slots.max")


def test_reading_account_that_is_gone_sends_zero_once(stats):
    for accounts in ({"a": 1, "b": 2}, {"a": 1}, {"a": 1}):
        metrics.reading("conn", reading(**accounts))

    sent = [(tags["account"], value) for value, tags in stats.of("riffusion.slots.available")]
    assert sent == [("a", 1), ("b", 2), ("a", 1), ("b", 0), ("a", 1)]


def test_reading_known_account_not_listed_is_sent_as_full(stats):
    known = KnownAccounts()
    for accounts in ({"a": (1, 4)}, {}):
        metrics.reading("conn", known.complete(reading(**accounts)))

    sent = {name: stats.of(f"riffusion.slots.{name}") for name in ("available", "executing", "max")}
    assert {name: [value for value, _ in values] for name, values in sent.items()} == {
        "available": [1, 0],
        "executing": [3, 4],
        "max": [4, 4],
    }


def test_reading_of_another_connection_zeroes_no_account(stats):
    metrics.reading("conn", reading(a=1))
    metrics.reading("other", reading(b=1))

    assert [value for value, _ in stats.of("riffusion.slots.available")] == [1, 1]


@pytest.fixture
def answer(connect):
    conn_id = connect("https://api.example.com")
    with requests_mock.Mocker() as service:

        def answer(**answer):
            service.get("https://api.example.com/v1/riffusion/scheduler/available", **answer)
            try:
                RiffusionHook(conn_id).get_capacity()
            except RiffusionError as error:
                return error
            return None

        yield answer


def test_request_without_connection_sends_nothing(stats):
    with pytest.raises(RiffusionRejected):
        RiffusionHook("there_is_none").get_capacity()

    assert stats.sent == []


def test_request_that_succeeds_sends_its_time_and_the_reading(stats, answer, contract):
    assert answer(content=contract()) is None

    ((took, tags),) = stats.of("riffusion.request")
    assert took.total_seconds() >= 0
    assert tags == {"conn_id": "riffusion_test"}
    assert stats.of("riffusion.slots.available")
    assert not stats.of("riffusion.request.error")


@pytest.mark.parametrize(
    ("given", "kind", "status"),
    [
        ({"status_code": 503}, "unavailable", "503"),
        ({"status_code": 401}, "rejected", "401"),
        ({"text": "<html>"}, "bad_response", "none"),
        ({"exc": requests.ConnectionError}, "unavailable", "none"),
    ],
)
def test_request_that_fails_is_counted_by_kind_and_status(stats, answer, given, kind, status):
    assert answer(**given) is not None

    tags = {"conn_id": "riffusion_test", "kind": kind, "status": status}
    assert stats.of("riffusion.request.error") == [(1, tags)]
    assert len(stats.of("riffusion.request")) == 1


def test_gate_grant_is_counted_with_its_wait(stats, hook):
    hook.answer = reading(a=1)

    async def scenario():
        grant = await wait("w", since=hook.answer.observed_at.timestamp() - 7)
        assert grant.waited_seconds == 7

    run(scenario())
    assert stats.of("riffusion.grants") == [(1, {"conn_id": "riffusion_test"})]
    ((waited, _),) = stats.of("riffusion.gate.wait")
    assert waited.total_seconds() == 7


def test_gate_cancelled_wait_is_not_counted_as_a_grant(stats, hook):
    async def scenario():
        waiter = wait("w")
        await asyncio.sleep(15)
        await cancel(waiter)

    run(scenario())
    assert not stats.of("riffusion.grants")


def test_gate_each_reading_sends_waiting_and_held(stats, hook):
    hook.next_answers = [FULL]
    hook.answer = reading(a=1)

    async def scenario():
        waiters = [wait(f"w{number}", since=number) for number in range(3)]
        await asyncio.sleep(15)
        await cancel(*waiters)

    run(scenario())
    tags = {"conn_id": "riffusion_test", "hostname": "here"}
    assert stats.of("riffusion.gate.waiting")[:2] == [(3, tags), (2, tags)]
    assert stats.of("riffusion.gate.held")[:2] == [(0, tags), (1, tags)]


def test_gate_at_its_end_sends_zero_waiting_and_held(stats, hook):
    hook.answer = reading(a=1)

    async def scenario():
        await wait("granted, and never seen in use", hold=30)
        await cancel(wait("given up"))
        await asyncio.sleep(100)

    run(scenario())
    assert stats.of("riffusion.gate.waiting")[-1][0] == 0
    assert stats.of("riffusion.gate.held")[-1][0] == 0


def test_gate_waits_cancelled_together_send_waiting_once(stats, hook):
    async def scenario():
        waiters = [wait(f"w{number}") for number in range(100)]
        await asyncio.sleep(5)
        await cancel(*waiters)

    run(scenario())
    assert [value for value, _ in stats.of("riffusion.gate.waiting")] == [100, 0]


def test_gate_waits_cancelled_in_an_outage_send_zero_waiting(stats, hook):
    hook.answer = RiffusionUnavailable("503", status=503)

    async def scenario():
        watching = watch("a job", job_ids=("1",))
        waiters = [wait(f"w{number}") for number in range(50)]
        await asyncio.sleep(3600)
        before = stats.of("riffusion.gate.waiting")[-1][0]
        await cancel(*waiters)
        await asyncio.sleep(3600)
        await cancel(watching)
        return before

    assert run(scenario()) == 50
    assert stats.of("riffusion.gate.waiting")[-1][0] == 0


def test_gate_after_a_rejection_sends_held_slots_until_they_expire(stats, hook, peer_store):
    hook.next_answers = [reading(a=2)]
    hook.answer = RiffusionRejected("401")

    async def scenario():
        await asyncio.gather(*(wait(f"granted for {hold} s", hold=hold) for hold in (30, 120)))
        await asyncio.gather(wait("a"), wait("b"), return_exceptions=True)
        await asyncio.sleep(60)
        waiting, held = (stats.of(f"riffusion.gate.{name}")[-1][0] for name in ("waiting", "held"))
        await asyncio.sleep(61)
        return waiting, held, stats.of("riffusion.gate.held")[-1][0]

    assert run(scenario()) == (0, 2, 0)


def test_gate_waits_ended_by_a_rejection_send_waiting_once(stats, hook):
    hook.next_answers = [FULL]
    hook.answer = RiffusionRejected("401")

    async def scenario():
        await asyncio.gather(*(wait(f"w{number}") for number in range(100)), return_exceptions=True)

    run(scenario())
    assert [value for value, _ in stats.of("riffusion.gate.waiting")] == [100, 0]


def test_gate_failing_stats_end_no_wait_and_are_logged_once(stats, hook, caplog):
    caplog.set_level(logging.WARNING)
    metrics._logged.clear()
    stats.error = OSError("no statsd")
    hook.answer = reading(a=2)

    async def scenario():
        return await asyncio.gather(wait("a"), wait("b"))

    assert len(run(scenario())) == 2
    stats.error = OSError("no statsd, for another reason")
    metrics.reading("conn", reading(a=1))
    lines = [record.getMessage() for record in caplog.records]
    assert lines == ["A metric can't be sent: OSError('no statsd')"]


def test_gate_without_airflows_metrics_grants_all_the_same(hook):
    hook.answer = reading(job("1", "a"), a=1)

    async def scenario():
        grant = await wait("w")
        CapacityGate.of("riffusion_test").give_back(grant.grant_id)

    run(scenario())


@pytest.mark.parametrize("error", [RiffusionRejected("no"), RiffusionBadResponse("odd")])
def test_request_error_passes_through_unchanged(stats, error):
    with pytest.raises(type(error)) as caught, metrics.request("conn"):
        raise error
    assert caught.value is error
