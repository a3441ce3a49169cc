"""What the capacity page reads from Airflow's tables: the real ones, in a database of the test's own."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from airflow_riffusion.versions import HAS_PAGES_OF_PLUGINS

if not HAS_PAGES_OF_PLUGINS:
    pytest.skip("needs Airflow 3.1", allow_module_level=True)

from airflow.models import Connection, TaskInstance, Trigger, Variable, import_all_models
from airflow.models.base import Base
from sqlalchemy import create_engine, insert
from sqlalchemy.orm import Session

from airflow_riffusion.plugins.page import database
from airflow_riffusion.plugins.page.database import Onlooker, conn_ids_in_environment
from airflow_riffusion.siblings import HeldSlots, Notice
from airflow_riffusion.triggers.board import notice_prefix
from airflow_riffusion.triggers.capacity import CapacityTrigger
from airflow_riffusion.triggers.job import JobTrigger
from airflow_riffusion.triggers.submission import GiveBackTrigger, SubmissionTrigger

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


@pytest.fixture
def session():
    engine = create_engine("sqlite://")
    import_all_models()
    Base.metadata.create_all(engine)
    with Session(engine) as session:
        yield session
    engine.dispose()


@pytest.fixture
def defer(session):
    """Return a function that stores a task that waits for a trigger."""

    def store(trigger, task_id="song", map_index=-1, state="deferred"):
        row = Trigger(*trigger.serialize(), created_date=NOON)
        session.add(row)
        session.flush()
        values = {
            "dag_id": "songs",
            "run_id": "manual__1",
            "task_id": task_id,
            "map_index": map_index,
            "state": state,
            "pool": "default_pool",
            "trigger_id": row.id,
        }
        session.execute(insert(TaskInstance.__table__).values(values))
        return row

    return store


def waits(conn_id="riffusion_default", minutes: float | None = 0):
    since = None if minutes is None else (NOON - timedelta(minutes=minutes)).timestamp()
    return CapacityTrigger(conn_id, since=since)


def test_connections_of_our_type_are_listed_and_no_others(session):
    for conn_id, conn_type in (("one", "riffusion"), ("two", "http"), ("three", "riffusion")):
        session.add(Connection(conn_id=conn_id, conn_type=conn_type))

    assert set(Onlooker().look(session).conn_ids) == {"one", "three"}


def test_tasks_are_counted_by_connection_and_by_what_they_wait_for(session, defer):
    song = {"reply_ref": "r", "grant_id": None, "in_doubt": False}
    for index in range(3):
        defer(waits("a", minutes=index), map_index=index)
    defer(SubmissionTrigger(song=song, riffusion_conn_id="a", since=NOON.timestamp() - 3600), "one")
    defer(JobTrigger(riffusion_conn_id="a", reply_ref="r", submitted_at=0.0), "other")
    defer(waits("b"), "of_b")
    defer(GiveBackTrigger(riffusion_conn_id="a", grant_id="g", message="m"), "gives_back")

    tables = Onlooker().look(session)

    assert tables.complete
    assert (tables.tasks["a"].waiting, tables.tasks["a"].watching) == (4, 1)
    assert (tables.tasks["b"].waiting, tables.tasks["b"].watching) == (1, 0)


def test_who_has_waited_longest_comes_first(session, defer):
    for minutes in (1, 9, 5):
        defer(waits(minutes=minutes), f"task_{minutes}")

    longest = Onlooker().look(session).tasks["riffusion_default"].longest

    assert [task.task_id for task in longest] == ["task_9", "task_5", "task_1"]
    assert longest[0].since == NOON - timedelta(minutes=9)
    assert (longest[0].dag_id, longest[0].run_id, longest[0].map_index) == ("songs", "manual__1", -1)


def test_a_task_that_started_in_the_triggerer_waits_since_its_trigger_was_made(session, defer):
    defer(waits(minutes=None))

    assert Onlooker().look(session).tasks["riffusion_default"].longest[0].since == NOON


def test_a_task_that_no_longer_waits_is_not_counted(session, defer):
    defer(waits(), state="running")

    assert Onlooker().look(session).tasks == {}


def test_what_was_decrypted_once_is_not_decrypted_again(session, defer, monkeypatch):
    defer(waits())
    onlooker = Onlooker()
    onlooker.look(session)
    monkeypatch.setattr(Trigger, "kwargs", property(lambda self: pytest.fail("decrypted again")))

    assert onlooker.look(session).tasks["riffusion_default"].waiting == 1


def test_of_thousands_some_are_looked_at_now_and_the_rest_next_time(session, defer, monkeypatch):
    monkeypatch.setattr(database, "_MOST_DECRYPTED", 4)
    for index in range(6):
        defer(waits(), map_index=index)
    onlooker = Onlooker()

    first, second = (onlooker.look(session) for _ in range(2))

    assert (first.tasks["riffusion_default"].waiting, first.complete) == (4, False)
    assert (second.tasks["riffusion_default"].waiting, second.complete) == (6, True)


def test_a_trigger_that_can_not_be_decrypted_is_left_out(session, defer, caplog):
    defer(waits(), "good")
    defer(waits(), "bad").encrypted_kwargs = "gAAAAA-of-another-key"
    onlooker = Onlooker()

    assert onlooker.look(session).tasks["riffusion_default"].waiting == 1
    onlooker.look(session)
    assert caplog.text.count("the capacity page omits it") == 1


def test_what_the_gates_hold_is_read_from_their_variables(session):
    holds = (HeldSlots(reply_ref="r", slots={"a": 1}, one_job=True, lasts=60),)
    notice = Notice(beat=1, flag=False, references=True, holds=holds)
    name = notice_prefix("riffusion_default") + "0123"
    session.add(Variable(key=name, val=notice.model_dump_json()))
    session.add(Variable(key=notice_prefix("other") + "4567", val="of a later version"))
    session.add(Variable(key="riffusion", val="somebody's own"))

    assert Onlooker().look(session).notices == {name: notice}


def test_connections_in_the_environment_are_listed_if_they_are_of_our_type(connect, monkeypatch):
    connect(conn_id="riffusion_main")
    connect(conn_id="other", conn_type="http")
    monkeypatch.setenv("AIRFLOW_CONN_BROKEN", "{not JSON")

    assert conn_ids_in_environment() == ("riffusion_main",)
