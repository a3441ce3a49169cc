"""The end of a job and its outcome, at a gate in virtual time."""

from __future__ import annotations

import asyncio

import pytest

from airflow_riffusion import clock
from airflow_riffusion.core.note import JobNote
from airflow_riffusion.exceptions import (
    RiffusionBadResponse,
    RiffusionJobFailed,
    RiffusionRejected,
    RiffusionUnavailable,
)
from airflow_riffusion.gate import outcome
from airflow_riffusion.gate.gate import CapacityGate
from tests.readings import job, reading
from tests.virtual_time import run

FREE = reading(a=(1, 1))
RUNNING = reading(job("1", "a", "ref"), a=(0, 1))
NOT_FOUND = RiffusionRejected("404 Not Found", status=404)
NOT_JSON = RiffusionBadResponse("not JSON")
SERVER_ERROR = RiffusionUnavailable("500 Internal Server Error", status=500)
NO_ANSWER = RiffusionUnavailable("no complete answer within 30 s")


@pytest.fixture(autouse=True)
def virtual_clock(monkeypatch):
    """Let the wall clock be that of the event loop."""
    monkeypatch.setattr(clock, "epoch", lambda: asyncio.get_running_loop().time())


@pytest.fixture
def service(hook):
    """Return the hook of a service whose jobs are over."""
    hook.answer = FREE
    return hook


def watched(*, hold=120.0, submitted_ago=0.0, **fields):
    """Return the note of a job whose end was awaited, and how long that took."""

    async def scenario():
        now = asyncio.get_running_loop().time()
        note = JobNote("ref", accepted=True, job_id="1", submitted_at=now - submitted_ago, **fields)
        note = await outcome.watch(CapacityGate.of("riffusion_test"), note, 10, hold)
        return note, asyncio.get_running_loop().time() - now

    return run(scenario())


def test_watch_two_readings_miss_the_job_tells_how_long_it_ran(service):
    service.next_answers = [RUNNING, FREE, RUNNING]

    note, took = watched(submitted_ago=100)

    assert 41 <= took <= 47
    assert note.ran_seconds == pytest.approx(100 + took, abs=0.01)


def test_watch_no_reading_shows_the_job_ends_after_the_hold(service):
    note, took = watched(hold=60)

    assert 60 <= took <= 72
    assert note.ran_seconds is None


def test_watch_submitted_before_a_restart_waits_for_the_rest_of_the_hold_only(service):
    assert watched(hold=60, submitted_ago=3600)[1] <= 13


def test_watch_clock_of_another_machine_is_ahead_waits_for_one_hold_only(service):
    assert 60 <= watched(hold=60, submitted_ago=-3600)[1] <= 72


def test_watch_job_was_seen_before_is_over_after_two_readings(service):
    note, took = watched(is_seen=True, hold=3600)

    assert took <= 13
    assert note.ran_seconds is not None


def test_watch_end_was_seen_by_an_earlier_try_takes_no_reading(service):
    note, _ = watched(ran_seconds=9.0)

    assert (note.ran_seconds, service.asked_at) == (9.0, [])


def fetched(service, *outcomes, note=None):
    note = note or JobNote("ref", accepted=True, job_id="a:1", user_id="b@c")
    service.outcomes = list(outcomes)

    async def scenario():
        gate = CapacityGate.of("riffusion_test")
        return await outcome.fetch(gate, note, "music/?user_id={user_id}&id={job_id}", 10, 120)

    return run(scenario())


def test_fetch_fills_in_job_and_account(service):
    assert fetched(service, {"status": "completed"}) == {"status": "completed"}
    assert service.sent == [("GET", "music/?user_id=b%40c&id=a%3A1", None)]


@pytest.mark.parametrize("error", [NOT_FOUND, NOT_JSON, SERVER_ERROR])
def test_fetch_outcome_comes_late_asks_again(service, error):
    assert fetched(service, error, error, {"id": "1"}) == {"id": "1"}


@pytest.mark.parametrize("error", [NOT_FOUND, NOT_JSON, SERVER_ERROR])
def test_fetch_outcome_never_comes_gives_up_after_the_patience(service, error):
    with pytest.raises(type(error)):
        fetched(service, error)
    assert 3 <= len(service.sent) <= 13


def test_fetch_service_says_no_gives_up_at_once(service):
    with pytest.raises(RiffusionRejected):
        fetched(service, RiffusionRejected("401 Unauthorized", status=401))
    assert len(service.sent) == 1


def test_fetch_service_is_unavailable_asks_again_however_long_it_takes(service):
    assert fetched(service, *[NO_ANSWER] * 20, {"id": "1"}) == {"id": "1"}


def test_fetch_outcome_is_a_failure_fails_with_its_reason(service):
    with pytest.raises(RiffusionJobFailed, match="Job a:1 failed: too loud"):
        fetched(service, {"status": "failed", "error": {"message": "too loud"}})


def test_fetch_outcome_holds_callback_secrets_drops_them(service):
    assert fetched(service, {"replyUrl": "https://me:pw@x.io/a?token=1"}) == {"replyUrl": "https://x.io/a"}


def test_fetch_job_id_is_unknown_asks_nothing(service):
    assert fetched(service, {}, note=JobNote("ref", accepted=True)) is None
    assert service.sent == []
