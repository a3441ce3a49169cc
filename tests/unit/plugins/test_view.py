from __future__ import annotations

import asyncio
import threading
from dataclasses import replace

import pytest

from airflow_riffusion.compat import HAS_PAGES_OF_PLUGINS

if not HAS_PAGES_OF_PLUGINS:
    pytest.skip("needs Airflow 3.1", allow_module_level=True)

from airflow_riffusion.exceptions import RiffusionRejected, RiffusionUnavailable
from airflow_riffusion.plugins.page import view as view_module
from airflow_riffusion.plugins.page.database import Tables
from airflow_riffusion.plugins.page.threads import Threads
from airflow_riffusion.plugins.page.view import ConnectionView
from tests.readings import NOON
from tests.unit.plugins.conftest import CONN_ID, FREE, TIMEOUT


@pytest.fixture
def view(service, clock):
    return ConnectionView(CONN_ID, clock, Threads(1), TIMEOUT)


@pytest.fixture
def look(view, clock):
    """Return a function that looks at the connection at a time, and returns its document."""

    def at(now: float) -> dict:
        clock.now = now
        return asyncio.run(view.document(Tables(conn_ids=(CONN_ID,)), ()))

    return at


def refused(retry_after: float | None = None) -> RiffusionUnavailable:
    return RiffusionUnavailable("429 Too Many Requests", retry_after=retry_after)


def test_view_after_a_reading_waits_5_s_for_the_next(look, service):
    service.takes = 3.0
    for now in (0.0, 4.0, 7.9, 8.0):
        look(now)

    assert service.requests == [0.0, 8.0]


@pytest.mark.parametrize(("retry_after", "pause"), [(0.5, 5.0), (30.0, 30.0), (86_400.0, 600.0)])
def test_view_with_retry_after_pauses_between_5_s_and_10_minutes(look, service, retry_after, pause):
    service.answer = refused(retry_after)
    for now in (0.0, pause - 0.1, pause):
        look(now)

    assert service.requests == [0.0, pause]


def test_view_during_a_pause_counts_down_to_the_next_try(look, service):
    service.answer = refused(retry_after=300.0)

    assert [look(now)["next_try_seconds"] for now in (0.0, 100.0, 290.0)] == [300.0, 200.0, 10.0]


def test_view_during_a_request_has_no_next_try(look, view, service):
    service.answer = refused(retry_after=600.0)
    look(0.0)
    service.stored = replace(service.stored, token="two")
    service.asked.clear()
    service.may_answer.clear()
    view.timeout = 0.0

    shown = look(60.0)
    assert service.asked.wait(TIMEOUT)

    assert (shown["error"], shown["asking_seconds"]) == ("429 Too Many Requests", 0.0)
    assert shown["next_try_seconds"] is None


def test_view_during_a_long_pause_looks_the_connection_up_every_minute(look, service):
    service.answer = refused(retry_after=600.0)
    for now in (0.0, 30.0, 59.9, 60.0, 61.0, 119.9, 120.0):
        look(now)

    assert service.lookups == [0.0, 60.0, 120.0]
    assert service.requests == [0.0]


def test_view_during_a_long_pause_keeps_the_error(look, service):
    service.answer = refused(retry_after=600.0)
    look(0.0)

    shown = look(60.0)

    assert (shown["error"], shown["next_try_seconds"]) == ("429 Too Many Requests", 540.0)


def test_view_changed_connection_ends_the_pause(look, service):
    service.answer = refused(retry_after=600.0)
    look(0.0)
    service.answer, service.stored = FREE, replace(service.stored, token="two")

    assert look(60.0)["error"] is None
    assert service.requests == [0.0, 60.0]


def test_view_failed_lookup_does_not_end_the_pause(look, service):
    service.answer = refused(retry_after=600.0)
    look(0.0)
    settings, service.stored = service.stored, RiffusionUnavailable("The vault is sealed.")
    assert look(60.0)["error"] == "The vault is sealed."
    service.stored = settings

    assert look(65.0)["error"] == "429 Too Many Requests"
    assert service.requests == [0.0]


def test_view_with_good_readings_looks_the_connection_up_every_minute(look, service):
    for now in (0.0, 30.0, 59.9, 65.0, 70.0):
        look(now)

    assert service.lookups == [0.0, 65.0]


def test_view_after_a_failed_reading_looks_the_connection_up_again(look, service):
    service.answer = RiffusionRejected("401 Unauthorized")
    look(0.0)
    service.answer = FREE
    for now in (5.0, 10.0):
        look(now)

    assert service.lookups == [0.0, 5.0]


def test_view_after_failed_readings_shows_the_time_of_the_last_good_one(look, service):
    look(0.0)
    service.answer = refused()

    for now in (5.0, 10.0):
        shown = look(now)
        assert (shown["error"], shown["slots"]) == ("429 Too Many Requests", None)
        assert shown["read_at"] == NOON.isoformat()


def test_view_unexpected_error_is_shown_and_logged(look, service, caplog):
    service.answer = ZeroDivisionError("in the parser")

    assert look(0.0)["error"] == "No reading could be taken: see the API server's log."
    assert "in the parser" in caplog.text


def test_view_document_is_made_in_a_thread_of_its_own(look, monkeypatch):
    made_in: list[threading.Thread] = []
    monkeypatch.setattr(
        view_module, "connection_document", lambda *_, **__: made_in.append(threading.current_thread())
    )

    look(0.0)

    assert made_in[0] is not threading.current_thread()
