"""What the capacity page reads from Airflow's tables: the real ones, in a database of the test's own."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from airflow_riffusion.compat import HAS_PAGES_OF_PLUGINS

if not HAS_PAGES_OF_PLUGINS:
    pytest.skip("needs Airflow 3.1", allow_module_level=True)

from airflow.models import Connection, TaskInstance, Trigger, Variable, import_all_models
from airflow.models.base import Base
from airflow.models.xcom import XComModel
from sqlalchemy import create_engine, delete, event, insert
from sqlalchemy.orm import Session

from airflow_riffusion.core.note import JobNote
from airflow_riffusion.core.peers import HeldSlots, PeerState
from airflow_riffusion.gate.peer_store import peer_key_prefix
from airflow_riffusion.plugins.page import database
from airflow_riffusion.plugins.page.database import DatabaseReader, conn_ids_in_environment
from airflow_riffusion.triggers.capacity import CapacityTrigger
from airflow_riffusion.triggers.job import JobTrigger
from airflow_riffusion.triggers.submission import SubmissionTrigger
from airflow_riffusion.xcoms import JOB_KEY

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

    def store(trigger, task_id="song", map_index=-1, state="deferred", created=NOON, note=None):
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
        if note is not None:
            where = {name: values[name] for name in ("dag_id", "run_id", "task_id", "map_index")}
            xcom = {**where, "dag_run_id": 1, "key": JOB_KEY, "value": json.dumps(note.to_json())}
            session.execute(insert(XComModel.__table__).values(timestamp=NOON, **xcom))
        return row

    return store


@pytest.fixture
def statements(session):
    """Return a function that reads the database for the first time, and returns its SQL statements."""
    taken: list[str] = []
    event.listen(session.get_bind(), "before_cursor_execute", lambda *values: taken.append(values[2]))

    def read() -> list[str]:
        session.expire_all()
        taken.clear()
        DatabaseReader().read(session)
        return list(taken)

    return read


def waits(conn_id="riffusion_default", minutes: float | None = 0):
    since = None if minutes is None else (NOON - timedelta(minutes=minutes)).timestamp()
    return CapacityTrigger(conn_id, since=since)


def test_database_reader_lists_only_connections_of_our_type(session):
    for conn_id, conn_type in (("one", "riffusion"), ("two", "http"), ("three", "riffusion")):
        session.add(Connection(conn_id=conn_id, conn_type=conn_type))

    assert set(DatabaseReader().read(session).conn_ids) == {"one", "three"}


def test_database_reader_counts_waiting_and_watching_tasks_by_connection(session, defer):
    def submits(reply_ref):
        return SubmissionTrigger(
            riffusion_conn_id="a",
            since=NOON.timestamp() - 3600,
            endpoint="music",
            json={},
            reply_ref=reply_ref,
        )

    for index in range(3):
        defer(waits("a", minutes=index), map_index=index)
    defer(submits("r1"), "one")
    defer(submits("r2"), "on_its_way", note=JobNote("r2"))
    defer(submits("r3"), "accepted", note=JobNote("r3", accepted=True))
    defer(JobTrigger(riffusion_conn_id="a", reply_ref="r"), "other")
    defer(waits("b"), "of_b")

    tables = DatabaseReader().read(session)

    assert tables.complete
    assert (tables.tasks["a"].waiting, tables.tasks["a"].watching) == (5, 2)
    assert (tables.tasks["b"].waiting, tables.tasks["b"].watching) == (1, 0)


def test_database_reader_sorts_waiting_tasks_by_the_longest_wait(session, defer):
    for minutes in (1, 9, 5):
        defer(waits(minutes=minutes), f"task_{minutes}")

    longest = DatabaseReader().read(session).tasks["riffusion_default"].longest

    assert [task.task_id for task in longest] == ["task_9", "task_5", "task_1"]
    assert longest[0].since == NOON - timedelta(minutes=9)
    assert (longest[0].dag_id, longest[0].run_id, longest[0].map_index) == ("songs", "manual__1", -1)


def test_database_reader_task_started_in_the_triggerer_waits_since_its_trigger(session, defer):
    defer(waits(minutes=None))

    assert DatabaseReader().read(session).tasks["riffusion_default"].longest[0].since == NOON


def test_database_reader_running_task_is_not_counted(session, defer):
    defer(waits(), state="running")

    assert DatabaseReader().read(session).tasks == {}


def test_database_reader_second_read_decrypts_nothing_again(session, defer, monkeypatch):
    defer(waits())
    reader = DatabaseReader()
    reader.read(session)
    monkeypatch.setattr(Trigger, "kwargs", property(lambda self: pytest.fail("decrypted again")))

    assert reader.read(session).tasks["riffusion_default"].waiting == 1


def test_database_reader_decrypts_the_rest_of_many_new_triggers_at_the_next_read(session, defer, monkeypatch):
    monkeypatch.setattr(database, "_MOST_DECRYPTED", 4)
    for index in range(6):
        defer(waits(), map_index=index)
    reader = DatabaseReader()

    first, second = (reader.read(session) for _ in range(2))

    assert (first.tasks["riffusion_default"].waiting, first.complete) == (4, False)
    assert (second.tasks["riffusion_default"].waiting, second.complete) == (6, True)


def test_database_reader_unreadable_triggers_are_left_out_and_logged_once(session, defer, caplog):
    defer(waits(), "good")
    for index in range(3):
        defer(waits(), "bad", map_index=index).encrypted_kwargs = "gAAAAA-of-another-key"
    reader = DatabaseReader()

    assert reader.read(session).tasks["riffusion_default"].waiting == 1
    reader.read(session)
    (record,) = (record for record in caplog.records if record.name == database.__name__)
    assert record.getMessage().startswith("The arguments of 3 triggers can't be read")
    assert record.exc_info


def test_database_reader_reads_the_new_arguments_of_a_reused_trigger_id(session, defer):
    gone = defer(waits("one", minutes=9), "gone")
    reader = DatabaseReader()
    reader.read(session)
    session.execute(delete(TaskInstance))
    session.execute(delete(Trigger))
    session.expunge_all()
    new = defer(waits("other", minutes=1), "new", created=NOON + timedelta(seconds=1))

    tables = reader.read(session)

    assert new.id == gone.id
    assert set(tables.tasks) == {"other"}
    assert tables.tasks["other"].longest[0].since == NOON - timedelta(minutes=1)


def test_database_reader_forgets_the_arguments_of_a_trigger_without_a_task(session, defer):
    reader = DatabaseReader()
    defer(waits(), "stays")
    gone = defer(waits(), "gone")
    reader.read(session)
    session.execute(delete(TaskInstance).where(TaskInstance.trigger_id == gone.id))

    reader.read(session)

    assert len(reader._arguments) == 1


def test_database_reader_count_of_too_many_triggers_is_incomplete(session, defer, monkeypatch):
    monkeypatch.setattr(database, "_MOST_TRIGGERS", 4)
    for index in range(6):
        defer(waits(), map_index=index)

    tables = DatabaseReader().read(session)

    assert (tables.tasks["riffusion_default"].waiting, tables.complete) == (4, False)
    assert not tables.tasks["riffusion_default"].complete


def test_database_reader_many_tasks_take_as_many_statements_as_one(session, defer, statements):
    defer(waits(), "first")
    one = len(statements())
    for index in range(30):
        defer(waits(), map_index=index)

    assert len(statements()) == one


def test_database_reader_loads_no_whole_task_instances(session, defer, statements):
    defer(waits())

    (statement,) = (each for each in statements() if "task_instance" in each)
    assert "task_instance.start_date" not in statement


def test_database_reader_leaves_out_connections_of_a_team(session):
    session.add(Connection(conn_id="of_no_team", conn_type="riffusion"))
    team = "team_name" if hasattr(Connection, "team_name") else "team_id"
    name = uuid4() if team == "team_id" else "a_team"
    session.add(Connection(conn_id="of_a_team", conn_type="riffusion", **{team: name}))

    assert DatabaseReader().read(session).conn_ids == ("of_no_team",)


def test_database_reader_reads_the_states_of_gates_from_their_variables(session):
    holds = (HeldSlots(reply_ref="r", slots={"a": 1}, one_job=True, lasts=60),)
    state = PeerState(sequence=1, intent=False, held=holds)
    name = peer_key_prefix("riffusion_default") + "0123"
    session.add(Variable(key=name, val=state.model_dump_json()))
    session.add(Variable(key=peer_key_prefix("other") + "4567", val="of a later version"))
    session.add(Variable(key="riffusion", val="another value"))

    assert DatabaseReader().read(session).states == {name: state}


def test_conn_ids_in_environment_lists_only_connections_of_our_type(connect, monkeypatch):
    connect(conn_id="riffusion_main")
    connect(conn_id="other", conn_type="http")
    monkeypatch.setenv("AIRFLOW_CONN_BROKEN", "{not JSON")

    assert conn_ids_in_environment() == ("riffusion_main",)
