"""Waits in the triggerer until a job may be submitted, or turns out to have been submitted already."""

from __future__ import annotations

import asyncio
import math
import uuid
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from airflow.triggers.base import BaseTrigger, TriggerEvent

from airflow_riffusion.compat import worker_is_gone
from airflow_riffusion.core.arguments import seconds
from airflow_riffusion.core.jobs import WantedJob
from airflow_riffusion.core.request import Grant
from airflow_riffusion.exceptions import RiffusionRejected
from airflow_riffusion.triggers.base import SerializedByArguments
from airflow_riffusion.triggers.capacity import CapacityTrigger
from airflow_riffusion.triggers.job import cancel_job, is_deferred

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from airflow_riffusion.core.capacity import ExecutingJob
    from airflow_riffusion.core.request import SlotRequest
    from airflow_riffusion.gate.gate import CapacityGate


class SubmissionTrigger(CapacityTrigger):
    """
    Wait for a slot as every sensor does, for a job whose reference is known beforehand.

    :param song: how far the song has come, with the ``reply_ref`` that its job will be submitted with. The
        event gives it back: ``airflow dags test`` loses what a task defers with besides (3.3.2). If it is
        ``in_doubt``, its job is looked for among the executing ones, and no slot taken before two readings
        didn't show it.
    :param pause: seconds, from the start of this trigger, in which to do nothing; the place in the queue is
        kept.
    :param arguments: those of :class:`~airflow_riffusion.triggers.capacity.CapacityTrigger`.
    """

    def __init__(self, *, song: dict[str, Any], pause: float = 0.0, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.song = song
        self.pause = pause
        self._searched = False

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """
        Wait, then yield one event.

        ``found`` with the job that is executing already, or one of those of a sensor's wait.
        """
        from airflow_riffusion.gate.gate import CapacityGate

        self._begin()
        gate = CapacityGate.of(self.riffusion_conn_id)
        if self.song["grant_id"] is not None:
            gate.give_back(self.song["grant_id"])  # Its submission took no slot; it waits for another one.
        await asyncio.sleep(self.pause)
        grant_id = uuid.uuid4().hex
        try:
            payload = await self._slot_or_job(gate, grant_id)
            await self._let_worker_go()
            yield TriggerEvent({**payload, "song": self.song})
        except BaseException:
            # Cancelled before the event left: nobody will use the slot.
            gate.give_back(grant_id)
            raise

    async def on_kill(self) -> None:
        """Cancel the job that may be on its way; Airflow calls this when a person ends the task."""
        from airflow_riffusion.gate.gate import CapacityGate

        # Thousands may be ended at once: only who knows of a job, or can't know yet, asks the service.
        reference = self.song["reply_ref"]
        may_exist = self.song["in_doubt"] and (
            not self._searched or CapacityGate.of(self.riffusion_conn_id).executes(reference)
        )
        if may_exist and not await is_deferred(self.task_instance):
            await cancel_job(self.riffusion_conn_id, reply_ref=reference)

    async def _slot_or_job(self, gate: CapacityGate, grant_id: str) -> dict[str, Any]:
        """Wait for a slot, or until a reading shows the job after all."""
        request = self._request(self._since())
        poke_interval = seconds("poke_interval", self.poke_interval)
        try:
            if self.song["in_doubt"]:
                outcome = await self._search(gate, grant_id, request, poke_interval)
            else:
                outcome = await gate.wait(grant_id, request, poke_interval)
        except RiffusionRejected as error:
            return {"status": "rejected", "message": str(error)}
        if isinstance(outcome, Grant):
            listed = (job for job in outcome.reading.jobs if job.reply_ref == request.reply_ref)
            if (job := next(listed, None)) is None:
                return {"status": "granted", "result": outcome.to_xcom()}
            outcome = job
        gate.give_back(grant_id)
        return {"status": "found", "job": outcome.to_xcom()}

    async def _search(
        self, gate: CapacityGate, grant_id: str, request: SlotRequest, poke_interval: float
    ) -> Grant | ExecutingJob:
        """Look for the job in two readings, then wait for a slot; it may be listed as late as that."""
        wanted = WantedJob(reply_ref=request.reply_ref, until_seen=True)
        found = await gate.watch(uuid.uuid4().hex, wanted, poke_interval)
        self._searched = True
        if found is not None:
            return found
        watching = asyncio.create_task(
            gate.watch(uuid.uuid4().hex, wanted, poke_interval, unseen_for=math.inf)
        )
        waiting = asyncio.create_task(gate.wait(grant_id, request, poke_interval))
        try:
            await asyncio.wait((watching, waiting), return_when=asyncio.FIRST_COMPLETED)
            # The job first: one reading may bring both.
            outcome = watching.result() if watching.done() else waiting.result()
            assert outcome is not None  # who looks for ever does not end with nothing
            return outcome
        finally:
            watching.cancel()
            waiting.cancel()
            await asyncio.gather(watching, waiting, return_exceptions=True)

    def _request(self, since: float) -> SlotRequest:
        return replace(super()._request(since), reply_ref=self.song["reply_ref"])


class GiveBackTrigger(SerializedByArguments, BaseTrigger):
    """
    Give a grant back whose submission was rejected: the worker that was told so can't reach the gate.

    :param riffusion_conn_id: the Airflow connection.
    :param grant_id: the grant.
    :param message: why the submission was rejected.
    """

    def __init__(self, *, riffusion_conn_id: str, grant_id: str, message: str) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.riffusion_conn_id = riffusion_conn_id
        self.grant_id = grant_id
        self.message = message

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Give it back, then yield one event: ``rejected`` with the message."""
        from airflow_riffusion.gate.gate import CapacityGate

        began = asyncio.get_running_loop().time()
        CapacityGate.of(self.riffusion_conn_id).give_back(self.grant_id)
        if self.task_instance is not None:
            await worker_is_gone(began)
        yield TriggerEvent({"status": "rejected", "message": self.message})
