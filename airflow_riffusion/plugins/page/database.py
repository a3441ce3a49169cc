"""Reads Airflow's own database: the connections, the waiting tasks, and the states of the gates."""

from __future__ import annotations

import heapq
import json
import logging
import os
from collections import defaultdict
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from airflow.configuration import conf
from airflow.models import Connection, TaskInstance, Trigger, Variable
from airflow.models.xcom import XComModel
from airflow.secrets.environment_variables import EnvironmentVariablesBackend
from airflow.utils.session import create_session
from airflow.utils.state import TaskInstanceState
from pydantic import ValidationError
from sqlalchemy import and_, select
from sqlalchemy.orm import lazyload

from airflow_riffusion.core.note import JobNote
from airflow_riffusion.core.peers import PeerState
from airflow_riffusion.gate.peer_store import PEER_KEY_PREFIX
from airflow_riffusion.plugins.page.document import Tasks, WaitingTask
from airflow_riffusion.xcoms import JOB_KEY

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sqlalchemy.orm import Session

log = logging.getLogger(__name__)

CONN_TYPE = "riffusion"

_TEAM = ("team_name", "team_id")  # the latter before Airflow 3.2

_JOB_TRIGGER = "airflow_riffusion.triggers.job.JobTrigger"
_CLASSPATHS = (
    "airflow_riffusion.triggers.capacity.CapacityTrigger",
    "airflow_riffusion.triggers.submission.SubmissionTrigger",
    _JOB_TRIGGER,
)
_MOST_TRIGGERS = 20_000
_MOST_DECRYPTED = 2_000  # in one read, which takes a fraction of a second; the next one takes the rest
_CHUNK = 500
_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Tables:
    """What the page needs from Airflow's database."""

    # The stored connections of our type, without those of a team: only its own tasks can look them up.
    conn_ids: tuple[str, ...] = ()
    # By connection, stored or not.
    tasks: Mapping[str, Tasks] = field(default_factory=dict)
    # The gates' states, by the key of their Variable; None if unknown.
    states: Mapping[str, PeerState] | None = field(default_factory=dict)
    # Whether all tasks were counted.
    complete: bool = True
    # Why the database can't be read.
    error: str | None = None


UNREAD = Tables(states=None, complete=False)
"""What is known before the first read."""


class _Arguments(NamedTuple):
    """The arguments of a trigger that matter here."""

    conn_id: str
    since: datetime | None


class _Id(NamedTuple):
    """What identifies a trigger: SQLite gives the id of a deleted one to the next."""

    id: int
    created_date: datetime


class DatabaseReader:
    """Reads Airflow's tables. It caches decrypted arguments, since triggers never change."""

    def __init__(self) -> None:
        self._arguments: dict[_Id, _Arguments | None] = {}

    def read_airflow(self) -> Tables:
        """Read this Airflow's database."""
        with create_session() as session:
            return self.read(session)

    def read(self, session: Session) -> Tables:
        """Read a session's database."""
        of_no_team = [getattr(Connection, name).is_(None) for name in _TEAM if hasattr(Connection, name)]
        stored = select(Connection.conn_id).where(Connection.conn_type == CONN_TYPE, *of_no_team)
        tasks, complete = self._tasks(session)
        return Tables(
            conn_ids=tuple(session.scalars(stored)),
            tasks=tasks,
            states=_peer_states(session),
            complete=complete,
        )

    def _tasks(self, session: Session) -> tuple[dict[str, Tasks], bool]:
        rows = _rows(session)
        ids = [_Id(row.id, row.created_date) for row in rows]
        self._decrypt(session, ids)
        complete = len(rows) < _MOST_TRIGGERS
        watching: dict[str, int] = defaultdict(int)
        waiting: dict[str, list[WaitingTask]] = defaultdict(list)
        for row, trigger_id in zip(rows, ids, strict=True):
            if trigger_id not in self._arguments:
                complete = False
            elif (arguments := self._arguments[trigger_id]) is None:
                continue
            elif row.classpath == _JOB_TRIGGER or _is_accepted(row.note):
                watching[arguments.conn_id] += 1
            else:
                since = arguments.since or row.created_date
                task = WaitingTask(row.dag_id, row.run_id, row.task_id, row.map_index, since)
                waiting[arguments.conn_id].append(task)
        found = {
            conn_id: Tasks(
                waiting=len(waiting[conn_id]),
                longest=tuple(heapq.nsmallest(_SHOWN, waiting[conn_id], key=lambda task: task.since)),
                watching=watching[conn_id],
                complete=complete,
            )
            for conn_id in {*waiting, *watching}
        }
        return found, complete

    def _decrypt(self, session: Session, ids: Sequence[_Id]) -> None:
        """Decrypt the arguments of new triggers, and forget those of deleted ones."""
        before = self._arguments
        self._arguments = {trigger_id: before[trigger_id] for trigger_id in ids if trigger_id in before}
        new = [trigger_id.id for trigger_id in ids if trigger_id not in before][:_MOST_DECRYPTED]
        unreadable: list[Exception] = []
        for start in range(0, len(new), _CHUNK):
            chosen = Trigger.id.in_(new[start : start + _CHUNK])
            # Without this, SQLAlchemy loads each trigger's whole task instance, too.
            for trigger in session.scalars(select(Trigger).where(chosen).options(lazyload("*"))):
                try:
                    arguments = _arguments(trigger)
                except Exception as error:  # noqa: BLE001 - whatever a serialized value may raise
                    arguments = None
                    unreadable.append(error)
                self._arguments[_Id(trigger.id, trigger.created_date)] = arguments
            session.expunge_all()
        if unreadable:
            log.error(
                "The arguments of %d triggers can't be read; the capacity page omits them. The first error:",
                len(unreadable),
                exc_info=unreadable[0],
            )


def has_teams() -> bool:
    """Return whether this Airflow is divided among teams."""
    return conf.getboolean("core", "multi_team", fallback=False)


def conn_ids_in_environment() -> tuple[str, ...]:
    """List the connections of our type that this process has as environment variables."""
    backend, found = EnvironmentVariablesBackend(), []
    prefix = "AIRFLOW_CONN_"
    for name in sorted(os.environ):
        if name.startswith(prefix):
            conn_id = name.removeprefix(prefix).lower()
            with suppress(Exception):  # A malformed connection is for its own provider to report.
                if getattr(backend.get_connection(conn_id), "conn_type", None) == CONN_TYPE:
                    found.append(conn_id)
    return tuple(found)


def _rows(session: Session) -> Sequence[Any]:
    return session.execute(
        select(
            Trigger.id,
            Trigger.classpath,
            Trigger.created_date,
            TaskInstance.dag_id,
            TaskInstance.run_id,
            TaskInstance.task_id,
            TaskInstance.map_index,
            XComModel.value.label("note"),
        )
        .join(TaskInstance, TaskInstance.trigger_id == Trigger.id)
        .outerjoin(
            XComModel,
            and_(
                XComModel.key == JOB_KEY,
                XComModel.dag_id == TaskInstance.dag_id,
                XComModel.run_id == TaskInstance.run_id,
                XComModel.task_id == TaskInstance.task_id,
                XComModel.map_index == TaskInstance.map_index,
            ),
        )
        .where(Trigger.classpath.in_(_CLASSPATHS), TaskInstance.state == TaskInstanceState.DEFERRED)
        .order_by(Trigger.id)
        .limit(_MOST_TRIGGERS)
    ).all()


def _is_accepted(value: Any) -> bool:
    """Return whether a task's note says that its job is accepted; unknown with an XCom backend elsewhere."""
    with suppress(ValueError):
        note = JobNote.parse(json.loads(value) if isinstance(value, str) else value)
        return note is not None and note.accepted
    return False


def _arguments(trigger: Trigger) -> _Arguments:
    arguments = trigger.kwargs
    since = arguments.get("since")
    return _Arguments(
        conn_id=str(arguments["riffusion_conn_id"]),
        since=datetime.fromtimestamp(since, UTC) if since is not None else None,
    )


def _peer_states(session: Session) -> dict[str, PeerState]:
    found = {}
    stored = select(Variable).where(Variable.key.startswith(PEER_KEY_PREFIX, autoescape=True))
    for variable in session.scalars(stored):
        # A state of another version, or one that can't be decrypted, counts as none.
        with suppress(ValidationError):
            found[variable.key] = PeerState.model_validate_json(variable.val or "")
    return found
