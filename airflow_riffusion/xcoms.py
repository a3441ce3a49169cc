"""What a worker or a trigger asks Airflow about its own task, and notes there, with any Airflow."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial
from typing import TYPE_CHECKING, Any, TypeVar

from airflow_riffusion.compat import AIRFLOW_VERSION
from airflow_riffusion.core.note import JobNote

if TYPE_CHECKING:
    from collections.abc import Callable

log = logging.getLogger(__name__)

Returned = TypeVar("Returned")

_MOST_QUESTIONS = 4

JOB_KEY = "riffusion_job"
"""The XCom in which a task notes its job until it ends."""


class TaskXComs:
    """
    The XComs of one task instance, as a worker or a trigger has it.

    They last until the task's next try starts in a worker. A trigger calls these by :func:`in_thread`.
    """

    def __init__(self, ti: Any) -> None:
        self._task = {
            "dag_id": ti.dag_id,
            "task_id": ti.task_id,
            "run_id": ti.run_id,
            "map_index": -1 if ti.map_index is None else ti.map_index,
        }

    def get(self, key: str) -> Any:
        """Read an XCom; None if there is none."""
        return _xcom().get_one(key=key, **self._task)

    def set(self, key: str, value: Any) -> None:
        """Write an XCom over the one before."""
        _xcom().set(key=key, value=value, **self._task)

    def delete(self, key: str) -> None:
        """Delete an XCom, if there is one."""
        if AIRFLOW_VERSION.major >= 3:
            _xcom().delete(key=key, **self._task)
        else:
            self._delete_with_airflow_2(key)

    def _delete_with_airflow_2(self, key: str) -> None:
        from airflow.utils.session import create_session
        from sqlalchemy import select

        xcom = _xcom()
        with create_session() as session:
            found = session.scalars(select(xcom).filter_by(key=key, **self._task)).all()
            xcom.delete(found, session=session)


def output_of(ti: Any, source: Any, key: str) -> list[Any]:
    """Return another task's output in the same run, as a mapped task takes it: one item for each task."""
    output = _xcom().get_one(
        key=key, dag_id=ti.dag_id, task_id=source.task_id, run_id=ti.run_id, map_index=-1
    )
    return list(output.items() if isinstance(output, Mapping) else output)


class JobNotes:
    """
    What the trigger of a task notes of its job, in the task's XCom :data:`JOB_KEY`.

    ``airflow dags test`` gives a trigger no task: then nothing is noted.
    """

    def __init__(self, ti: Any | None) -> None:
        self._ti = ti
        self._xcoms = None if ti is None else TaskXComs(ti)
        self._last: JobNote | None = None

    async def read(self) -> JobNote | None:
        """Read what this trigger noted, or another one of this task."""
        if self._xcoms is not None:
            self._last = JobNote.parse(await in_thread(self._xcoms.get, JOB_KEY))
        return self._last

    async def write(self, note: JobNote) -> None:
        """Write a note over the one before."""
        if self._xcoms is not None:
            await in_thread(self._xcoms.set, JOB_KEY, note.to_json())
        self._last = note

    async def delete(self, note: JobNote) -> None:
        """Delete a note, unless another trigger has written a newer one."""
        if self._xcoms is not None:
            noted = await self.read()
            if noted is not None and noted.submitted_by == note.submitted_by:
                await in_thread(self._xcoms.delete, JOB_KEY)

    async def claim(self, note: JobNote, *, carefully: bool = False) -> bool:
        """
        Note that a job is about to be submitted; return whether nobody else has noted anything meanwhile.

        ``carefully`` looks before as well, whether the task is still this trigger's.
        """
        if self._xcoms is None:
            return True
        if carefully:
            last = self._last
            if await self.read() != last or await is_deferred(self._ti) is False:
                return False
        await self.write(note)
        noted = await self.read()
        return noted is not None and noted.submitted_by == note.submitted_by


async def in_thread(function: Callable[..., Returned], *arguments: Any, **options: Any) -> Returned:
    """Ask Airflow without blocking a trigger's event loop; such calls may run side by side."""
    # Late: a DAG file has no use for it. Not asyncio.to_thread: from its threads Airflow can't be asked
    # before 3.3.
    from asgiref.sync import sync_to_async

    call = sync_to_async(
        partial(function, *arguments, **options), thread_sensitive=False, executor=_threads()
    )
    asked: Returned = await call()
    return asked


@cache
def _threads() -> ThreadPoolExecutor:
    """Return threads of their own: after a restart, thousands of tasks ask before the first reading."""
    return ThreadPoolExecutor(_MOST_QUESTIONS, thread_name_prefix="riffusion-airflow")


async def is_deferred(ti: Any | None) -> bool | None:
    """
    Return whether a task still waits for a trigger; None if Airflow does not say.

    Airflow tells a triggerer that was silent for a while, and whose triggers another one has taken over, the
    same as when a person ends the task (3.3.2): their jobs must go on.
    """
    if ti is None:
        return None
    try:
        from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance

        states = await in_thread(
            RuntimeTaskInstance.get_task_states,
            dag_id=ti.dag_id,
            task_ids=[ti.task_id],
            run_ids=[ti.run_id],
            map_index=ti.map_index,
        )
    except Exception as error:  # noqa: BLE001 - whatever it is, it is no answer
        log.warning("Airflow does not say whether the task still waits: %r", error)
        return None
    return "deferred" in {state for by_task in states.values() for state in by_task.values()}


def _xcom() -> Any:
    # Late: with Airflow 2 it brings the database's models along.
    from airflow.providers.common.compat.sdk import XCom

    return XCom
