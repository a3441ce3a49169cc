from __future__ import annotations

import asyncio
import threading

import pytest

from airflow_riffusion.compat import HAS_PAGES_OF_PLUGINS

if not HAS_PAGES_OF_PLUGINS:
    pytest.skip("needs Airflow 3.1", allow_module_level=True)

from airflow_riffusion.exceptions import RiffusionUnavailable
from airflow_riffusion.plugins.page.database import Tables
from airflow_riffusion.plugins.page.document import Tasks
from airflow_riffusion.plugins.page.views import ConnectionViews
from tests.unit.plugins.conftest import CONN_ID, TIMEOUT

STORED = Tables(conn_ids=(CONN_ID,))
OTHER = Tables(conn_ids=("other",))


@pytest.fixture
def views(service, clock):
    return ConnectionViews(Tables, clock, TIMEOUT)


@pytest.fixture
def look(views, clock):
    """Return a function that looks at a connection at a time, and returns its document."""

    def at(now: float, conn_id: str = CONN_ID, tables: Tables = STORED) -> dict:
        clock.now = now
        (document,) = asyncio.run(views.documents([conn_id], tables, ()))
        return document

    return at


@pytest.fixture
def database():
    """Return a database that blocks while the event is not set."""
    may_answer = threading.Event()
    yield may_answer
    may_answer.set()


def read_at(views: ConnectionViews, clock, *times: float) -> list[Tables]:
    async def read() -> list[Tables]:
        shown = []
        for clock.now in times:
            shown.append(await views.tables())
        return shown

    return asyncio.run(read())


def test_views_deleted_connection_is_forgotten_after_its_pause(look, views):
    look(0.0)
    look(4.9, "other", OTHER)
    assert set(views._views) == {CONN_ID, "other"}

    look(5.0, "other", OTHER)
    assert set(views._views) == {"other"}


def test_views_connection_missing_in_older_tables_keeps_its_pause(look, service):
    service.answer = RiffusionUnavailable("429 Too Many Requests", retry_after=600.0)
    look(0.0)
    look(100.0, "other", OTHER)
    look(101.0)

    assert service.requests == [0.0, 100.0]


def test_views_connection_missing_in_older_tables_keeps_its_request(look, views, service):
    views.timeout = 0.0
    service.may_answer.clear()
    look(0.0)
    first = views._views[CONN_ID]
    look(100.0, "other", OTHER)

    assert views._views[CONN_ID] is first


def test_views_conn_ids_merges_stored_ones_with_the_environment(views, connect):
    for conn_id in ("riffusion_main", "of_environment"):
        connect(conn_id=conn_id)

    assert views.conn_ids(Tables(conn_ids=("Riffusion_Main", "stored"))) == [
        "Riffusion_Main",
        "of_environment",
        "stored",
    ]


def test_views_conn_ids_with_teams_leaves_out_connections_known_only_by_tasks(views, monkeypatch):
    tables = Tables(conn_ids=("stored",), tasks={"unknown": Tasks(waiting=1)})
    monkeypatch.setenv("AIRFLOW__CORE__MULTI_TEAM", "True")

    assert views.conn_ids(tables) == ["stored"]


def test_views_tables_are_read_at_most_every_5_s(clock):
    reads: list[float] = []
    views = ConnectionViews(lambda: reads.append(clock.now) or Tables(), clock)
    read_at(views, clock, 0.0, 1.0, 4.9, 5.0, 9.9, 10.0)

    assert reads == [0.0, 5.0, 10.0]


def test_views_tables_of_a_hanging_database_are_the_last_ones_with_an_error(clock, database):
    database.set()
    views = ConnectionViews(lambda: database.wait(TIMEOUT) and STORED, clock, TIMEOUT)

    async def read() -> list[Tables]:
        await views.tables()
        database.clear()
        views.timeout = 0.0
        shown = []
        for clock.now in (5.0, 15.0, 35.0):
            shown.append(await views.tables())
        database.set()
        return shown

    shown = asyncio.run(read())

    hangs = "Airflow's database has not answered for 30 s."
    assert [tables.error for tables in shown] == [None, None, hangs]
    assert [tables.conn_ids for tables in shown] == [(CONN_ID,)] * 3


def test_views_tables_of_a_database_that_never_answered_have_an_error(clock, database):
    views = ConnectionViews(lambda: database.wait(TIMEOUT) and Tables(), clock, timeout=0.0)

    assert [tables.error for tables in read_at(views, clock, 0.0, 11.0)] == [
        "Airflow's database has not answered yet.",
        "Airflow's database has not answered for 11 s.",
    ]


def test_views_tables_of_a_failing_database_are_the_last_ones_with_an_error(clock):
    answers = iter([STORED])
    views = ConnectionViews(lambda: next(answers), clock, TIMEOUT)

    _, shown = read_at(views, clock, 0.0, 5.0)

    assert shown.error == "Airflow's database can't be read: see the API server's log."
    assert shown.conn_ids == (CONN_ID,)


@pytest.mark.parametrize("timeout", [0.0, TIMEOUT], ids=["hangs", "fails"])
def test_views_tasks_and_holds_of_a_never_read_database_are_unknown(look, clock, database, timeout):
    def read() -> Tables:
        if not timeout:
            database.wait(TIMEOUT)
        raise ConnectionError("no database")

    (tables,) = read_at(ConnectionViews(read, clock, timeout), clock, 0.0)
    shown = look(0.0, tables=tables)

    assert tables.error is not None
    assert shown["tasks"]["complete"] is False
    assert shown["slots"]["held"] is None
