"""Waits for job slots in the triggerer."""

from __future__ import annotations

import time
import uuid
from typing import TYPE_CHECKING, Any

from airflow.triggers.base import BaseTrigger, TriggerEvent

from airflow_riffusion.exceptions import RiffusionRejected
from airflow_riffusion.request import SlotRequest, seconds

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


class CapacityTrigger(BaseTrigger):
    """
    Wait at the connection's gate, and fire when slots are granted, or when waiting won't help.

    :param riffusion_conn_id: the Airflow connection. No credential is ever stored with the trigger.
    :param slots: how many free slots the task needs.
    :param user_ids: only these accounts count; None for all.
    :param same_account: all slots must be on one account.
    :param hold: seconds for which granted slots are kept until their jobs are seen executing.
    :param poke_interval: seconds between readings; the gate takes the smallest among its waiters.
    :param priority: the task's ``priority_weight``; a higher one is served first.
    :param since: when the task began to wait, in seconds since the epoch. It is stored with the trigger,
        so that a restarted triggerer keeps the order.
    """

    def __init__(
        self,
        riffusion_conn_id: str = "riffusion_default",
        slots: int = 1,
        user_ids: list[str] | None = None,
        same_account: bool = False,
        hold: float = 120,
        poke_interval: float = 10,
        priority: int = 1,
        since: float | None = None,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.riffusion_conn_id = riffusion_conn_id
        self.slots = slots
        self.user_ids = user_ids
        self.same_account = same_account
        self.hold = hold
        self.poke_interval = poke_interval
        self.priority = priority
        self.since = time.time() if since is None else since

    @classmethod
    def of(cls, riffusion_conn_id: str, request: SlotRequest, *, poke_interval: float) -> CapacityTrigger:
        """
        Return the trigger for a request that is already checked.

        :param riffusion_conn_id: the Airflow connection.
        :param request: what the task asks for.
        :param poke_interval: seconds between readings.
        """
        return cls(
            riffusion_conn_id=riffusion_conn_id,
            slots=request.slots,
            user_ids=None if request.user_ids is None else sorted(request.user_ids),
            same_account=request.same_account,
            hold=request.hold,
            poke_interval=poke_interval,
            priority=request.priority,
            since=request.since,
        )

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the class's path and all arguments."""
        return (
            "airflow_riffusion.triggers.capacity.CapacityTrigger",
            {
                "riffusion_conn_id": self.riffusion_conn_id,
                "slots": self.slots,
                "user_ids": self.user_ids,
                "same_account": self.same_account,
                "hold": self.hold,
                "poke_interval": self.poke_interval,
                "priority": self.priority,
                "since": self.since,
            },
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Wait, then yield one event: ``granted`` with the XCom, or ``rejected`` with a message."""
        from airflow_riffusion.triggers.gate import CapacityGate

        request = SlotRequest.checked(
            slots=self.slots,
            user_ids=self.user_ids,
            same_account=self.same_account,
            hold=self.hold,
            priority=self.priority,
            since=self.since,
        )
        gate = CapacityGate.of(self.riffusion_conn_id)
        grant_id = uuid.uuid4().hex
        try:
            grant = await gate.wait(grant_id, request, seconds("poke_interval", self.poke_interval))
        except RiffusionRejected as error:
            yield TriggerEvent({"status": "rejected", "message": str(error)})
            return
        try:
            yield TriggerEvent(
                {"status": "granted", "result": grant.to_xcom(waited_seconds=time.time() - self.since)}
            )
        except BaseException:
            # Cancelled before the event left: nobody will use the slots.
            gate.give_back(grant_id)
            raise
