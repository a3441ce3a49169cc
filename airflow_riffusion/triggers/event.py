"""Starts DAGs when job slots become free."""

from __future__ import annotations

import asyncio
import json
import logging
from hashlib import sha256
from typing import TYPE_CHECKING

from airflow.triggers.base import TriggerEvent

from airflow_riffusion.compat import event_trigger_base, require_asset_watchers
from airflow_riffusion.core.arguments import account_ids, conn_id, seconds, whole_number
from airflow_riffusion.core.availability import RisingEdge
from airflow_riffusion.core.request import SlotRequest
from airflow_riffusion.exceptions import RiffusionRejected
from airflow_riffusion.gate.edge_memory import EdgeMemory
from airflow_riffusion.triggers.base import SerializedByArguments

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Collection
    from datetime import timedelta

    from airflow.triggers.base import BaseEventTrigger

    from airflow_riffusion.core.availability import Availability
else:
    BaseEventTrigger = event_trigger_base()

log = logging.getLogger(__name__)

_AFTER_REJECTION = 60.0
"""Seconds until the next try after a rejection."""


class CapacityEventTrigger(SerializedByArguments, BaseEventTrigger):
    """
    Let an ``AssetWatcher`` start DAGs when slots come free for new jobs (Airflow 3).

    It fires when `slots` slots have become unclaimed: free, and neither held for a task that was granted
    them, nor wanted by one that waits. So no DAG is started for slots that are promised already. It fires
    again only after the service had fewer free. Its first reading counts as a rise if it shows enough.

    It takes no place in the queue, and shares the readings of the connection's gate with the waiting tasks.

    It never ends, as Airflow would restart a trigger that has ended again and again. While the service is
    unavailable it waits, as a waiting task does. After a rejection it logs what to fix, and tries again every
    minute.

    From Airflow 3.3 on, the asset's state store remembers whether it has fired since fewer slots were free: a
    restarted triggerer starts no DAG for the same rise again. Before, it does if the slots are still
    unclaimed.

    The event's payload is the reading as plain JSON, as in the XCom of the
    :class:`~airflow_riffusion.operators.capacity.CapacityOperator`, and ``unclaimed``: how many free slots
    are neither held for a task nor wanted by one that waits.

    :param riffusion_conn_id: the Airflow connection. No credential is ever stored with the trigger.
    :param slots: how many unclaimed slots start a DAG.
    :param user_ids: only these accounts count; None for all.
    :param poke_interval: seconds, or a timedelta, between readings; the gate takes the smallest of all.
    :raises ValueError: if an argument can't be what it should, or on Airflow 2.
    """

    def __init__(
        self,
        riffusion_conn_id: str = "riffusion_default",
        slots: int = 1,
        user_ids: Collection[str] | None = None,
        poke_interval: timedelta | float = 5,
    ) -> None:
        require_asset_watchers("CapacityEventTrigger")
        super().__init__()  # type: ignore[no-untyped-call]
        accounts = account_ids(user_ids)
        self.riffusion_conn_id = conn_id(riffusion_conn_id)
        self.slots = whole_number("slots", slots)
        self.user_ids = None if accounts is None else sorted(accounts)
        self.poke_interval = seconds("poke_interval", poke_interval)
        self._complaint: str | None = None

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Yield an event for each rise; never end."""
        request = SlotRequest.checked(slots=self.slots, user_ids=self.user_ids)
        store = getattr(self, "asset_state_store", None)
        memory = EdgeMemory(store, self._key(), self.trigger_id, self._name(request))
        edge = RisingEdge(request, armed=await memory.recall())
        log.info("Watching for %s.", self._name(request))
        while True:
            availability = await self._availability(
                request if edge.armed else None, needs_accounts=edge.in_doubt
            )
            risen = edge.observe(availability)
            self._complain(self._impossible(request, edge.unsatisfiable) if edge.unsatisfiable else None)
            # Stored before the event: a restart between the two may lose an event, but repeats none.
            await memory.keep(edge.armed)
            if risen:
                log.info("Firing an event for %s: %s.", self._name(request), availability.reading)
                yield TriggerEvent(availability.to_xcom(request.user_ids))

    async def _availability(self, wanted: SlotRequest | None, *, needs_accounts: bool) -> Availability:
        """Wait for the next reading, as long as it may take."""
        from airflow_riffusion.gate.gate import CapacityGate

        while True:
            try:
                gate = CapacityGate.of(self.riffusion_conn_id)
                return await gate.availability(self.poke_interval, wanted, needs_accounts=needs_accounts)
            except RiffusionRejected as error:
                self._complain(str(error))
            await asyncio.sleep(_AFTER_REJECTION)

    def _complain(self, complaint: str | None) -> None:
        """Log a problem when it is new, and that it is gone."""
        if complaint and complaint != self._complaint:
            log.error("%s No event is fired until that is fixed.", complaint)
        if self._complaint and not complaint:
            log.info("Connection '%s': events are fired again.", self.riffusion_conn_id)
        self._complaint = complaint

    def _impossible(self, request: SlotRequest, reason: str) -> str:
        return str(
            RiffusionRejected.unsatisfiable(self.riffusion_conn_id, f"{request} waited for, but {reason}")
        )

    def _name(self, request: SlotRequest) -> str:
        return f"{request} on connection '{self.riffusion_conn_id}'"

    def _key(self) -> str:
        """Return the key in the asset's state store: its watchers may wait for different slots."""
        wanted = json.dumps([self.riffusion_conn_id, self.slots, self.user_ids])
        return f"riffusion_capacity_{sha256(wanted.encode()).hexdigest()[:12]}"
