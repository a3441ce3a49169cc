"""Waits in the triggerer until a job is over."""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from typing import TYPE_CHECKING, Any

from airflow.triggers.base import BaseTrigger, TriggerEvent
from asgiref.sync import sync_to_async

from airflow_riffusion.compat import worker_is_gone
from airflow_riffusion.core.arguments import seconds
from airflow_riffusion.core.jobs import WantedJob
from airflow_riffusion.exceptions import RiffusionRejected
from airflow_riffusion.triggers.base import SerializedByArguments

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from airflow.models.taskinstance import TaskInstance

log = logging.getLogger(__name__)

# Tries of a cancellation while the service is unavailable: Airflow gives it 30 s in all.
_RETRIES = 2


class JobTrigger(SerializedByArguments, BaseTrigger):
    """
    Watch a job by the readings of the connection's gate, and fire when it is over.

    It is over when two readings in a row miss it. It costs no request of its own while tasks wait for slots.

    :param riffusion_conn_id: the Airflow connection. No credential is ever stored with the trigger.
    :param job_id: the job's id, if it is known.
    :param reply_ref: the reference that it was submitted with, if it has one.
    :param hold: seconds for which it may be on its way; if no reading has shown it by then, none will. They
        count from the start of this trigger: the clock of the machine that submitted it may differ.
    :param poke_interval: seconds between readings; the gate takes the smallest among its waiters.
    :param ask_again_after: the job is over: fire after so many seconds, without another look.
    :param cancel_on_kill: cancel the job when a person ends the task (Airflow 3.3).
    :param song: how far the song has come whose job it is. The event gives it back: ``airflow dags test``
        loses what a task defers with besides (3.3.2).
    """

    def __init__(
        self,
        *,
        riffusion_conn_id: str = "riffusion_default",
        job_id: str | None = None,
        reply_ref: str | None = None,
        hold: float = 120,
        poke_interval: float = 5,
        ask_again_after: float | None = None,
        cancel_on_kill: bool = False,
        song: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.riffusion_conn_id = riffusion_conn_id
        self.job_id = job_id
        self.reply_ref = reply_ref
        self.hold = hold
        self.poke_interval = poke_interval
        self.ask_again_after = ask_again_after
        self.cancel_on_kill = cancel_on_kill
        self.song = song

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """
        Watch, then yield one event.

        ``over`` with the job as it was seen last (None if it never was) and the time; or ``rejected`` with a
        message.
        """
        began = asyncio.get_running_loop().time()
        if self.ask_again_after is not None:
            await asyncio.sleep(self.ask_again_after)
            payload: dict[str, Any] = {"status": "over", "job": None, "at": time.time()}
        else:
            payload = await self._watch()
        if self.task_instance is not None:
            await worker_is_gone(began)
        yield TriggerEvent({**payload, "song": self.song})

    async def _watch(self) -> dict[str, Any]:
        from airflow_riffusion.gate.gate import CapacityGate

        seen = self.song is not None and self.song["seen"]
        wanted = WantedJob(self.job_id, self.reply_ref)
        try:
            job = await CapacityGate.of(self.riffusion_conn_id).watch(
                uuid.uuid4().hex,
                wanted,
                seconds("poke_interval", self.poke_interval),
                unseen_for=0.0 if seen else self.hold,
            )
        except RiffusionRejected as error:
            return {"status": "rejected", "message": str(error)}
        return {"status": "over", "job": job.to_xcom() if job else None, "at": time.time()}

    async def on_kill(self) -> None:
        """Cancel the job and give its slot back; Airflow calls this when a person ends the task."""
        from airflow_riffusion.gate.gate import CapacityGate

        if not self.cancel_on_kill or await is_deferred(self.task_instance):
            return
        if self.song is not None and self.song["grant_id"] is not None:
            CapacityGate.of(self.riffusion_conn_id).give_back(self.song["grant_id"])
        await cancel_job(self.riffusion_conn_id, self.job_id, self.reply_ref)


async def cancel_job(riffusion_conn_id: str, job_id: str | None = None, reply_ref: str | None = None) -> None:
    """
    Cancel a job without blocking the event loop, and log what came of it.

    :param riffusion_conn_id: the Airflow connection.
    :param job_id: the job's id, if it is known.
    :param reply_ref: otherwise the reference that it was submitted with.
    :raises RiffusionError: if it could not be cancelled.
    """
    from airflow_riffusion.hooks.riffusion import RiffusionHook

    hook = RiffusionHook(riffusion_conn_id, retries=_RETRIES)
    await hook.aload()
    cancelled = await asyncio.to_thread(hook.cancel_job, job_id, reply_ref)
    name = f"Job {job_id}" if job_id is not None else f"The job with replyRef {reply_ref!r}"
    log.info("%s %s.", name, "is cancelled" if cancelled else "was not executing")


async def is_deferred(ti: TaskInstance | None) -> bool:
    """
    Return whether a task still waits for its trigger, so that nobody has ended it.

    Airflow tells a triggerer that was silent for a while, and whose triggers another one has taken over, the
    same as when a person ends the task (3.3.2): their jobs must go on.

    :param ti: the trigger's task instance.
    """
    if ti is None:
        return False
    from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance

    try:
        states = await sync_to_async(RuntimeTaskInstance.get_task_states)(
            dag_id=ti.dag_id, task_ids=[ti.task_id], run_ids=[ti.run_id], map_index=ti.map_index
        )
    except Exception as error:  # noqa: BLE001 - whatever it is, a person's wish comes first
        log.warning("Whether a person ended the task can't be found out (%r): probably so.", error)
        return False
    return "deferred" in {state for by_task in states.values() for state in by_task.values()}
