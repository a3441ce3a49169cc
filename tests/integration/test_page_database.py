"""What the capacity page reads from Airflow's tables: the real ones, in a database of the test's own."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from airflow_riffusion.compat import HAS_PAGES_OF_PLUGINS

if not HAS_PAGES_OF_PLUGINS:
    pytest.skip("needs Airflow 3.1", allow_module_level=True)

from airflow.models import Connection, TaskInstance, Trigger, Variable, import_all_models
from airflow.models.base import Base
from sqlalchemy import create_engine, delete, event, insert
from sqlalchemy.orm import Session

from airflow_riffusion.core.peers import HeldSlots, PeerState
from airflow_riffusion.gate.peer_store import peer_key_prefix
from airflow_riffusion.plugins.page import database
from airflow_riffusion.plugins.page.database import Onlooker, conn_ids_in_environment
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

    def store(trigger, task_id="song", map_index=-1, state="deferred", created=NOON):
        row = Trigger(*trigger.serialize(), created_date=created)
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


@pytest.fixture
def statements(session):
    """Return a function that looks at the database for the first time, and returns the SQL that it took."""
    taken: list[str] = []
    event.listen(session.get_bind(), "before_cursor_execute", lambda *values: taken.append(values[2]))

    def look() -> list[str]:
        session.expire_all()
        taken.clear()
        Onlooker().look(session)
        return list(taken)

    return look


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
    defer(JobTrigger(riffusion_conn_id="a", reply_ref="r"), "other")
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
    observer = Onlooker()
    observer.look(session)
    monkeypatch.setattr(Trigger, "kwargs", property(lambda self: pytest.fail("decrypted again")))

    assert observer.look(session).tasks["riffusion_default"].waiting == 1


def test_of_thousands_some_are_looked_at_now_and_the_rest_next_time(session, defer, monkeypatch):
    monkeypatch.setattr(database, "_MOST_DECRYPTED", 4)
    for index in range(6):
        defer(waits(), map_index=index)
    observer = Onlooker()

    first, second = (observer.look(session) for _ in range(2))

    assert (first.tasks["riffusion_default"].waiting, first.complete) == (4, False)
    assert (second.tasks["riffusion_default"].waiting, second.complete) == (6, True)


def test_triggers_that_can_not_be_decrypted_are_left_out_and_logged_once_together(session, defer, caplog):
    defer(waits(), "good")
    for index in range(3):
        defer(waits(), "bad", map_index=index).encrypted_kwargs = "gAAAAA-of-another-key"
    observer = Onlooker()

    assert observer.look(session).tasks["riffusion_default"].waiting == 1
    observer.look(session)
    (record,) = (record for record in caplog.records if record.name == database.__name__)
    assert record.getMessage().startswith("The arguments of 3 triggers can't be read")
    assert record.exc_info


def test_a_trigger_that_has_the_id_of_one_that_is_gone_has_arguments_of_its_own(session, defer):
    gone = defer(waits("one", minutes=9), "gone")
    observer = Onlooker()
    observer.look(session)
    session.execute(delete(TaskInstance))
    session.execute(delete(Trigger))
    session.expunge_all()
    new = defer(waits("other", minutes=1), "new", created=NOON + timedelta(seconds=1))

    tables = observer.look(session)

    assert new.id == gone.id
    assert set(tables.tasks) == {"other"}
    assert tables.tasks["other"].longest[0].since == NOON - timedelta(minutes=1)


def test_triggers_that_are_gone_are_forgotten(session, defer):
    observer = Onlooker()
    defer(waits(), "stays")
    gone = defer(waits(), "gone")
    observer.look(session)
    session.execute(delete(TaskInstance).where(TaskInstance.trigger_id == gone.id))

    observer.look(session)

    assert len(observer._arguments) == 1


def test_of_more_than_can_be_counted_it_says_that_there_are_more(session, defer, monkeypatch):
    monkeypatch.setattr(database, "_MOST_TRIGGERS", 4)
    for index in range(6):
        defer(waits(), map_index=index)

    tables = Onlooker().look(session)

    assert (tables.tasks["riffusion_default"].waiting, tables.complete) == (4, False)
    assert not tables.tasks["riffusion_default"].complete


def test_many_tasks_take_no_more_statements_than_one(session, defer, statements):
    defer(waits(), "first")
    one = len(statements())
    for index in range(30):
        defer(waits(), map_index=index)

    assert len(statements()) == one


def test_triggers_do_not_bring_their_task_instances_along(session, defer, statements):
    defer(waits())

    (statement,) = (each for each in statements() if "task_instance" in each)
    assert "task_instance.start_date" not in statement


def test_a_team_s_connections_are_left_out(session):
    session.add(Connection(conn_id="everybody_s", conn_type="riffusion"))
    team = "team_name" if hasattr(Connection, "team_name") else "team_id"
    theirs = uuid4() if team == "team_id" else "theirs"
    session.add(Connection(conn_id="theirs", conn_type="riffusion", **{team: theirs}))

    assert Onlooker().look(session).conn_ids == ("everybody_s",)


def test_what_the_gates_hold_is_read_from_their_variables(session):
    holds = (HeldSlots(reply_ref="r", slots={"a": 1}, one_job=True, lasts=60),)
    state = PeerState(sequence=1, flag=False, holds=holds)
    name = peer_key_prefix("riffusion_default") + "0123"
    session.add(Variable(key=name, val=state.model_dump_json()))
    session.add(Variable(key=peer_key_prefix("other") + "4567", val="of a later version"))
    session.add(Variable(key="riffusion", val="somebody's own"))

    assert Onlooker().look(session).states == {name: state}


def test_connections_in_the_environment_are_listed_if_they_are_of_our_type(connect, monkeypatch):
    connect(conn_id="riffusion_main")
    connect(conn_id="other", conn_type="http")
    monkeypatch.setenv("AIRFLOW_CONN_BROKEN", "{not JSON")

    assert conn_ids_in_environment() == ("riffusion_main",)
