from __future__ import annotations

import asyncio
import threading
from dataclasses import replace

import pytest

from airflow_riffusion.compat import HAS_PAGES_OF_PLUGINS

if not HAS_PAGES_OF_PLUGINS:
    pytest.skip("needs Airflow 3.1", allow_module_level=True)

from airflow_riffusion.exceptions import RiffusionRejected, RiffusionUnavailable
from airflow_riffusion.hooks.settings import ConnectionSettings
from airflow_riffusion.plugins.page import cards as cards_module
from airflow_riffusion.plugins.page import watched as watched_module
from airflow_riffusion.plugins.page.cards import Cards
from airflow_riffusion.plugins.page.database import Tables
from airflow_riffusion.plugins.page.reading import Reading
from airflow_riffusion.plugins.page.view import Tasks
from tests.readings import NOON, reading

CONN_ID = "riffusion_test"
FREE = reading(a=(3, 4))
PATIENCE = 30.0


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


class Service:
    """One service for all connections: what it answers from now on, and who asked when."""

    def __init__(self, clock: Clock):
        self.clock = clock
        self.answer: object = FREE
        self.takes = 0.0
        self.requests: list[float] = []
        self.lookups: list[float] = []
        self.stored: object = ConnectionSettings(CONN_ID, "https://a.example", "one", "riffusion", 30.0)

    def hook(self, conn_id: str) -> FakeHook:
        return FakeHook(self)


class FakeHook:
    def __init__(self, service: Service):
        self._service = service
        self._found: ConnectionSettings | None = None

    @property
    def settings(self) -> ConnectionSettings:
        if self._found is None:
            self._service.lookups.append(self._service.clock.now)
            if isinstance(self._service.stored, Exception):
                raise self._service.stored
            self._found = self._service.stored
        return self._found

    def forget_connection(self) -> None:
        self._found = None

    def get_complete_capacity(self):
        assert self.settings
        self._service.requests.append(self._service.clock.now)
        self._service.clock.now += self._service.takes
        if isinstance(self._service.answer, BaseException):
            raise self._service.answer
        return self._service.answer


@pytest.fixture(autouse=True)
def patience(monkeypatch):
    """A thread of a busy machine may take its time."""
    for module in (cards_module, watched_module):
        monkeypatch.setattr(module, "PATIENCE", PATIENCE)


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def service(clock, monkeypatch):
    service = Service(clock)
    monkeypatch.setattr(watched_module, "RiffusionHook", service.hook)
    return service


@pytest.fixture
def cards(service, clock):
    return Cards(Tables, clock)


@pytest.fixture
def look(cards, clock):
    """Return a function that looks at a connection at a time, and returns its card."""

    def at(now: float, conn_id: str = CONN_ID, tables: Tables | None = None) -> dict:
        clock.now = now
        tables = tables or Tables(conn_ids=(CONN_ID,))
        (shown,) = asyncio.run(cards.cards([conn_id], tables, ()))
        return shown

    return at


def refused(retry_after: float | None = None) -> RiffusionUnavailable:
    return RiffusionUnavailable("429 Too Many Requests", retry_after=retry_after)


def test_five_seconds_lie_between_an_answer_and_the_next_request(look, service):
    service.takes = 3.0
    for now in (0.0, 4.0, 7.9, 8.0):
        look(now)

    assert service.requests == [0.0, 8.0]


def test_a_service_that_asks_for_a_longer_pause_gets_it(look, service):
    service.answer = refused(retry_after=30.0)
    for now in (0.0, 29.9, 30.0):
        look(now)

    assert service.requests == [0.0, 30.0]


def test_no_pause_is_longer_than_ten_minutes(look, service):
    service.answer = refused(retry_after=86_400.0)
    for now in (0.0, 599.9, 600.0):
        look(now)

    assert service.requests == [0.0, 600.0]


def test_no_pause_after_an_error_is_shorter_than_after_a_reading(look, service):
    service.answer = refused(retry_after=0.5)
    for now in (0.0, 4.9, 5.0):
        look(now)

    assert service.requests == [0.0, 5.0]


def test_a_card_with_an_error_says_when_it_is_tried_again(look, service):
    service.answer = refused(retry_after=300.0)

    assert [look(now)["next_try_seconds"] for now in (0.0, 100.0, 290.0)] == [300.0, 200.0, 10.0]


def test_a_card_with_an_error_that_is_being_tried_again_does_not_say_when(look, service, monkeypatch):
    service.answer = refused(retry_after=600.0)
    look(0.0)
    service.stored = replace(service.stored, token="two")
    asked, may_answer = threading.Event(), threading.Event()

    def answer_late(hook: FakeHook):
        asked.set()
        return may_answer.wait(PATIENCE) and FREE

    monkeypatch.setattr(FakeHook, "get_complete_capacity", answer_late)
    monkeypatch.setattr(watched_module, "PATIENCE", 0.0)

    shown = look(60.0)
    assert asked.wait(PATIENCE)
    may_answer.set()

    assert (shown["error"], shown["asking_seconds"]) == ("429 Too Many Requests", 0.0)
    assert shown["next_try_seconds"] is None


def test_in_a_long_pause_the_connection_is_looked_up_once_a_minute(look, service):
    service.answer = refused(retry_after=600.0)
    for now in (0.0, 30.0, 59.9, 60.0, 61.0, 119.9, 120.0):
        look(now)

    assert service.lookups == [0.0, 60.0, 120.0]
    assert service.requests == [0.0]


def test_in_a_long_pause_the_error_stays(look, service):
    service.answer = refused(retry_after=600.0)
    look(0.0)

    shown = look(60.0)

    assert (shown["error"], shown["next_try_seconds"]) == ("429 Too Many Requests", 540.0)


def test_a_connection_that_was_changed_ends_the_pause(look, service):
    service.answer = refused(retry_after=600.0)
    look(0.0)
    service.answer, service.stored = FREE, replace(service.stored, token="two")

    assert look(60.0)["error"] is None
    assert service.requests == [0.0, 60.0]


def test_a_lookup_that_fails_does_not_end_the_pause(look, service):
    service.answer = refused(retry_after=600.0)
    look(0.0)
    settings, service.stored = service.stored, RiffusionUnavailable("The vault is sealed.")
    assert look(60.0)["error"] == "The vault is sealed."
    service.stored = settings

    assert look(65.0)["error"] == "429 Too Many Requests"
    assert service.requests == [0.0]


def test_a_connection_is_looked_up_anew_after_a_minute(look, service):
    for now in (0.0, 30.0, 59.9, 65.0, 70.0):
        look(now)

    assert service.lookups == [0.0, 65.0]


def test_a_connection_is_looked_up_anew_after_an_error(look, service):
    service.answer = RiffusionRejected("401 Unauthorized")
    look(0.0)
    service.answer = FREE
    for now in (5.0, 10.0):
        look(now)

    assert service.lookups == [0.0, 5.0]


def test_an_error_says_of_when_the_last_good_reading_is(look, service):
    look(0.0)
    service.answer = refused()

    for now in (5.0, 10.0):
        shown = look(now)
        assert (shown["error"], shown["slots"]) == ("429 Too Many Requests", None)
        assert shown["read_at"] == NOON.isoformat()


def test_an_unexpected_error_is_said_on_the_card_and_logged(look, service, caplog):
    service.answer = ZeroDivisionError("in the parser")

    assert look(0.0)["error"] == "No reading could be taken: see the API server's log."
    assert "in the parser" in caplog.text


def test_a_reading_is_made_ready_once_and_not_in_the_thread_that_serves_the_page(look, monkeypatch):
    made_in: list[threading.Thread] = []

    class Watched(Reading):
        @classmethod
        def of(cls, capacity):
            made_in.append(threading.current_thread())
            return Reading.of(capacity)

    monkeypatch.setattr(watched_module, "Reading", Watched)
    for now in (0.0, 1.0, 2.0):
        look(now)

    (thread,) = made_in
    assert thread is not threading.current_thread()


def test_a_connection_that_is_gone_is_forgotten_when_it_may_be_asked_again(look, cards):
    look(0.0)
    other = Tables(conn_ids=("other",))
    look(4.9, "other", other)
    assert set(cards._watched) == {CONN_ID, "other"}

    look(5.0, "other", other)
    assert set(cards._watched) == {"other"}


def test_who_looks_with_older_tables_ends_no_pause(look, service):
    service.answer = refused(retry_after=600.0)
    look(0.0)
    look(100.0, "other", Tables(conn_ids=("other",)))
    look(101.0)

    assert service.requests == [0.0, 100.0]


def test_what_is_being_asked_is_not_asked_a_second_time_by_who_has_older_tables(
    look, cards, service, monkeypatch
):
    monkeypatch.setattr(watched_module, "PATIENCE", 0.0)
    may_answer = threading.Event()
    monkeypatch.setattr(FakeHook, "get_complete_capacity", lambda self: may_answer.wait(PATIENCE) and FREE)
    look(0.0)
    first = cards._watched[CONN_ID]
    look(100.0, "other", Tables(conn_ids=("other",)))
    may_answer.set()

    assert cards._watched[CONN_ID] is first


def test_connections_in_the_environment_are_listed_once_with_those_that_are_stored(cards, connect):
    for conn_id in ("riffusion_main", "of_environment"):
        connect(conn_id=conn_id)

    assert cards.conn_ids(Tables(conn_ids=("Riffusion_Main", "stored"))) == [
        "Riffusion_Main",
        "of_environment",
        "stored",
    ]


def test_where_there_are_teams_a_connection_that_only_tasks_know_is_left_out(cards, monkeypatch):
    tables = Tables(conn_ids=("stored",), tasks={"whose": Tasks(waiting=1)})
    monkeypatch.setenv("AIRFLOW__CORE__MULTI_TEAM", "True")

    assert cards.conn_ids(tables) == ["stored"]


def test_the_database_is_asked_at_most_once_in_five_seconds(clock):
    looks: list[float] = []
    cards = Cards(lambda: looks.append(clock.now) or Tables(), clock)
    for clock.now in (0.0, 1.0, 4.9, 5.0, 9.9, 10.0):
        asyncio.run(cards.look())

    assert looks == [0.0, 5.0, 10.0]


def test_a_database_that_does_not_answer_is_said_with_what_it_said_last(clock, monkeypatch):
    may_answer = threading.Event()
    may_answer.set()
    cards = Cards(lambda: may_answer.wait(PATIENCE) and Tables(conn_ids=(CONN_ID,)), clock)

    async def look() -> list[Tables]:
        await cards.look()
        may_answer.clear()
        monkeypatch.setattr(cards_module, "PATIENCE", 0.0)
        shown = []
        for clock.now in (5.0, 15.0, 35.0):
            shown.append(await cards.look())
        may_answer.set()
        return shown

    shown = asyncio.run(look())

    assert [tables.error for tables in shown] == [
        None,
        None,
        "Airflow's database has not answered for 30 s.",
    ]
    assert [tables.conn_ids for tables in shown] == [(CONN_ID,)] * 3


def test_a_database_that_never_answered_is_said(clock, monkeypatch):
    monkeypatch.setattr(cards_module, "PATIENCE", 0.0)
    may_answer = threading.Event()
    cards = Cards(lambda: may_answer.wait(PATIENCE) and Tables(), clock)

    async def look() -> list[str | None]:
        errors = []
        for clock.now in (0.0, 11.0):
            errors.append((await cards.look()).error)
        may_answer.set()
        return errors

    assert asyncio.run(look()) == [
        "Airflow's database has not answered yet.",
        "Airflow's database has not answered for 11 s.",
    ]


def test_a_database_that_can_no_longer_be_read_is_said_with_what_it_said_last(clock):
    answers = iter([Tables(conn_ids=(CONN_ID,))])
    cards = Cards(lambda: next(answers), clock)
    shown = []
    for clock.now in (0.0, 5.0):
        shown.append(asyncio.run(cards.look()))

    assert shown[1].error == "Airflow's database can't be read: see the API server's log."
    assert shown[1].conn_ids == (CONN_ID,)


@pytest.mark.parametrize("answers", ["never", "with an error"])
def test_what_no_database_has_told_is_not_known(look, service, clock, monkeypatch, answers):
    """Neither that nobody waits, nor that nothing is held."""
    may_answer = threading.Event()
    if answers == "never":
        monkeypatch.setattr(cards_module, "PATIENCE", 0.0)

    def ask() -> Tables:
        if answers == "never":
            may_answer.wait(PATIENCE)
        raise ConnectionError("no database")

    tables = asyncio.run(Cards(ask, clock).look())
    may_answer.set()
    shown = look(0.0, tables=tables)

    assert tables.error is not None
    assert shown["tasks"]["complete"] is False
    assert shown["slots"]["held"] is None
