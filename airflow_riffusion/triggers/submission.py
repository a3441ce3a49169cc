"""Waits in the triggerer until a job may be submitted, or turns out to have been submitted already."""

from __future__ import annotations

import asyncio
import time
import uuid
from contextlib import aclosing
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from airflow.triggers.base import BaseTrigger, TriggerEvent

from airflow_riffusion.exceptions import RiffusionRejected
from airflow_riffusion.jobs import WantedJob
from airflow_riffusion.request import seconds
from airflow_riffusion.triggers.capacity import CapacityTrigger
from airflow_riffusion.triggers.job import cancel_job, is_deferred
from airflow_riffusion.workers import worker_is_gone

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from airflow_riffusion.request import SlotRequest
    from airflow_riffusion.triggers.gate import CapacityGate


class SubmissionTrigger(CapacityTrigger):
    """
    Wait for a slot as every sensor does, for a job whose reference is known beforehand.

    :param song: how far the song has come, with the ``reply_ref`` that its job will be submitted with. The
        event gives it back: ``airflow dags test`` loses what a task defers with besides (3.3.2).
    :param search: it may have been submitted already: look for it among the executing jobs, and go on only
        if two readings don't show it.
    :param not_before: do nothing until then, in seconds since the epoch; the place in the queue is kept.
    :param arguments: those of :class:`~airflow_riffusion.triggers.capacity.CapacityTrigger`.
    """

    def __init__(
        self, *, song: dict[str, Any], search: bool = False, not_before: float = 0.0, **arguments: Any
    ) -> None:
        super().__init__(**arguments)
        self.song = song
        self.search = search
        self.not_before = not_before

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the class's path and all arguments."""
        own = {"song": self.song, "search": self.search, "not_before": self.not_before}
        return "airflow_riffusion.triggers.submission.SubmissionTrigger", {**super().serialize()[1], **own}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """
        Wait, then yield one event.

        ``found`` with the job that is executing already, or one of those of a sensor's wait.
        """
        from airflow_riffusion.triggers.gate import CapacityGate

        self._begin()
        gate = CapacityGate.of(self.riffusion_conn_id)
        if self.song["grant_id"] is not None:
            gate.give_back(self.song["grant_id"])  # Its submission took no slot; it waits for another one.
        await asyncio.sleep(self.not_before - time.time())
        try:
            found = await self._find(gate) if self.search else None
        except RiffusionRejected as error:
            await self._let_worker_go()
            yield TriggerEvent({"status": "rejected", "message": str(error), "song": self.song})
            return
        if found is not None:
            await self._let_worker_go()
            yield TriggerEvent({"status": "found", "job": found, "song": self.song})
            return
        # Closed with this one, or a grant would not be given back if it is stopped at the event.
        async with aclosing(super().run()) as waiting:  # type: ignore[type-var]
            async for event in waiting:
                yield TriggerEvent({**self._unless_executing(event.payload, gate), "song": self.song})

    async def on_kill(self) -> None:
        """Cancel the job that may be on its way; Airflow calls this when a person ends the task."""
        if self.search and not await is_deferred(self.task_instance):
            await cancel_job(self.riffusion_conn_id, reply_ref=self.song["reply_ref"])

    async def _find(self, gate: CapacityGate) -> dict[str, Any] | None:
        wanted = WantedJob(reply_ref=self.song["reply_ref"], until_seen=True)
        job = await gate.watch(uuid.uuid4().hex, wanted, seconds("poke_interval", self.poke_interval))
        return job.to_xcom() if job is not None else None

    def _unless_executing(self, payload: dict[str, Any], gate: CapacityGate) -> dict[str, Any]:
        """Return the event, unless the very reading of a grant shows the song's job after all."""
        if payload["status"] != "granted":
            return payload
        jobs = (job for job in payload["result"]["jobs"] if job["reply_ref"] == self.song["reply_ref"])
        if (job := next(jobs, None)) is None:
            return payload
        gate.give_back(payload["result"]["grant_id"])
        return {"status": "found", "job": job}

    def _request(self, since: float) -> SlotRequest:
        return replace(super()._request(since), reply_ref=self.song["reply_ref"])


class GiveBackTrigger(BaseTrigger):
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

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the class's path and all arguments."""
        return (
            "airflow_riffusion.triggers.submission.GiveBackTrigger",
            {
                "riffusion_conn_id": self.riffusion_conn_id,
                "grant_id": self.grant_id,
                "message": self.message,
            },
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Give it back, then yield one event: ``rejected`` with the message."""
        from airflow_riffusion.triggers.gate import CapacityGate

        began = asyncio.get_running_loop().time()
        CapacityGate.of(self.riffusion_conn_id).give_back(self.grant_id)
        if self.task_instance is not None:
            await worker_is_gone(began)
        yield TriggerEvent({"status": "rejected", "message": self.message})
