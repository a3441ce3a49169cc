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
from airflow_riffusion.services import SERVICES
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
        note = JobNote("ref", accepted=True, job_ids=("1",), submitted_at=now - submitted_ago, **fields)
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


def read(service, *outcomes, note=None, submitted_to=None, result_endpoint=None):
    """Return the XCom of a job whose outcome was asked for."""
    note = note or JobNote("ref", accepted=True, job_ids=("a:1",), user_id="b@c")
    service.outcomes = list(outcomes)

    async def scenario():
        reader = outcome.OutcomeReader(
            CapacityGate.of("riffusion_test"),
            note,
            submitted_to=submitted_to,
            result_endpoint=result_endpoint,
            poke_interval=10,
            patience=120,
        )
        return await reader.fetch()

    return run(scenario())


def fetched(service, *outcomes, **arguments):
    """Return what the service said of the outcome."""
    return read(service, *outcomes, **arguments)["result"]


def test_fetch_asks_what_the_service_has_for_it(service):
    assert fetched(service, {"status": "completed"}) == {"status": "completed"}
    assert service.sent == [("GET", "music/?user_id=b@c&id=a:1", None)]


def test_fetch_result_endpoint_is_filled_in_and_asked_instead(service):
    fetched(service, {"status": "completed"}, result_endpoint="songs/{user_id}/{job_id}")

    assert service.sent == [("GET", "songs/b@c/a:1", None)]


def test_fetch_service_without_an_outcome_endpoint_asks_nothing(service):
    service.settings.service = SERVICES["kling"]

    assert fetched(service, {}) is None
    assert service.sent == []


def test_fetch_outcome_is_not_final_asks_again(service):
    assert fetched(service, {"status": "executing"}, {"status": "completed"}) == {"status": "completed"}


def test_fetch_outcome_stays_unfinished_gives_up_after_the_patience(service):
    with pytest.raises(RiffusionUnavailable, match="is not final yet"):
        fetched(service, {"status": "executing"})


def test_fetch_outcome_names_audio_puts_it_into_the_xcom(service):
    found = read(service, {"status": "completed", "download_url": "https://example.com/1", "title": "Polka"})

    assert found["audio"] == [{"url": "https://example.com/1", "title": "Polka", "duration_seconds": None}]


def test_fetch_two_jobs_of_one_submission_brings_both_outcomes_and_their_audio(service):
    service.settings.service = SERVICES["tempolor"]
    note = JobNote("ref", accepted=True, job_ids=("1", "2"))
    done = {"status": 30}
    one, two = ({"url": f"https://example.com/{number}"} for number in (1, 2))

    found = read(service, done, NOT_FOUND, one, done, two, note=note)

    assert found["result"] == [done, done]
    assert [each["url"] for each in found["audio"]] == ["https://example.com/1", "https://example.com/2"]


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
    assert fetched(service, {}, note=JobNote("ref", accepted=True, is_seen=True)) is None
    assert service.sent == []


def test_fetch_job_that_nobody_ever_saw_is_no_success(service):
    with pytest.raises(RiffusionUnavailable, match="named no job"):
        fetched(service, {}, note=JobNote("ref", accepted=True))


def test_fetch_job_that_runs_on_unseen_is_waited_for(service):
    running = [{"status": "pending"}] * 20

    assert fetched(service, *running, {"status": "completed"}) == {"status": "completed"}


def test_fetch_gateway_timeout_for_ever_gives_up_after_an_hour(service):
    with pytest.raises(RiffusionUnavailable, match="504"):
        fetched(service, RiffusionUnavailable("504 Gateway Timeout", status=504))
    assert len(service.sent) < 200


def test_fetch_result_endpoint_names_no_status_is_the_end(service):
    service.settings.service = SERVICES["tempolor"]

    found = read(service, {"url": "https://example.com/1"}, result_endpoint="music/download/{job_id}")

    assert [audio["url"] for audio in found["audio"]] == ["https://example.com/1"]


def test_fetch_connection_cant_be_looked_up_at_first_is_looked_up_again(service, monkeypatch):
    look_up, errors = CapacityGate.settings, [NO_ANSWER]

    async def settings(gate):
        if errors:
            raise errors.pop()
        return await look_up(gate)

    monkeypatch.setattr(CapacityGate, "settings", settings)

    assert fetched(service, {"status": "completed"}) == {"status": "completed"}


def test_fetch_result_endpoint_says_that_the_job_runs_is_asked_again(service):
    service.settings.service = SERVICES["tempolor"]

    found = read(
        service,
        {"status": 3, "status_final": False},
        {"status": 30, "url": "https://example.com/1"},
        result_endpoint="music/{job_id}",
    )

    assert [audio["url"] for audio in found["audio"]] == ["https://example.com/1"]
