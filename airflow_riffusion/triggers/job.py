"""Waits in the triggerer until a job is over."""

from __future__ import annotations

import asyncio
import uuid
from typing import TYPE_CHECKING, Any

from airflow.triggers.base import BaseTrigger, TriggerEvent

from airflow_riffusion.compat import worker_is_gone
from airflow_riffusion.core.arguments import seconds
from airflow_riffusion.core.jobs import WantedJob
from airflow_riffusion.exceptions import RiffusionRejected
from airflow_riffusion.triggers.base import SerializedByArguments

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


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
    """

    def __init__(
        self,
        *,
        riffusion_conn_id: str = "riffusion_default",
        job_id: str | None = None,
        reply_ref: str | None = None,
        hold: float = 120,
        poke_interval: float = 5,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.riffusion_conn_id = riffusion_conn_id
        self.job_id = job_id
        self.reply_ref = reply_ref
        self.hold = hold
        self.poke_interval = poke_interval

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """
        Watch, then yield one event.

        ``over`` with the job as it was seen last, None if it never was; or ``rejected`` with a message.
        """
        began = asyncio.get_running_loop().time()
        payload = await self._watch()
        if self.task_instance is not None:
            await worker_is_gone(began)
        yield TriggerEvent(payload)

    async def _watch(self) -> dict[str, Any]:
        from airflow_riffusion.gate.gate import CapacityGate

        try:
            job = await CapacityGate.of(self.riffusion_conn_id).watch(
                uuid.uuid4().hex,
                WantedJob(() if self.job_id is None else (self.job_id,), self.reply_ref),
                seconds("poke_interval", self.poke_interval),
                unseen_for=self.hold,
            )
        except RiffusionRejected as error:
            return {"status": "rejected", "message": str(error)}
        return {"status": "over", "job": job.to_xcom() if job else None}
