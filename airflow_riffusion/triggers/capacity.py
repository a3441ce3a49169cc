"""Waits for job slots in the triggerer."""

from __future__ import annotations

import asyncio
import uuid
from typing import TYPE_CHECKING, Any, Self

from airflow.triggers.base import TaskSuccessEvent, TriggerEvent

from airflow_riffusion import clock
from airflow_riffusion.compat import worker_is_gone
from airflow_riffusion.core.arguments import conn_id, plain, seconds
from airflow_riffusion.core.request import SlotRequest, grant_line
from airflow_riffusion.exceptions import RiffusionRejected
from airflow_riffusion.triggers.base import RenderedInTriggerer, SerializedByArguments
from airflow_riffusion.xcoms import TaskXComs, in_thread

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from airflow.models.taskinstance import TaskInstance


class CapacityTrigger(SerializedByArguments, RenderedInTriggerer):
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
    :param timeout: seconds that the task may wait, if it starts in the triggerer. Airflow stores when they
        end, from which a restarted triggerer computes when the wait began.
    :param end_from_trigger: end the task here when slots are granted, without a worker.
    :param do_xcom_push: the task's option: whether to push an XCom when the task ends here.
    :param multiple_outputs: the task's option: whether to push each key of the XCom on its own as well.
    """

    def __init__(
        self,
        riffusion_conn_id: str = "riffusion_default",
        slots: int = 1,
        user_ids: list[str] | None = None,
        same_account: bool = False,
        hold: float = 120,
        poke_interval: float = 5,
        priority: int = 1,
        since: float | None = None,
        timeout: float | None = None,
        end_from_trigger: bool = False,
        do_xcom_push: bool = True,
        multiple_outputs: bool = False,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.riffusion_conn_id = riffusion_conn_id
        self.slots = slots
        self.user_ids = user_ids
        self.same_account = same_account
        self.hold = hold
        self.poke_interval = poke_interval
        self.priority = priority
        self.since = since
        self.timeout = timeout
        self.end_from_trigger = end_from_trigger
        self.do_xcom_push = do_xcom_push
        self.multiple_outputs = multiple_outputs
        self._began: float | None = None

    @classmethod
    def of(
        cls,
        riffusion_conn_id: str,
        request: SlotRequest,
        *,
        poke_interval: float,
        **arguments: Any,
    ) -> Self:
        """Return the trigger for a request that is already checked."""
        return cls(
            riffusion_conn_id=riffusion_conn_id,
            slots=request.slots,
            user_ids=None if request.user_ids is None else sorted(request.user_ids),
            same_account=request.same_account,
            hold=request.hold,
            poke_interval=poke_interval,
            priority=request.priority,
            since=request.since,
            **arguments,
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """
        Wait, then yield one event.

        Its ``status`` tells the worker how to go on: ``granted`` with the XCom, ``rejected`` with a message,
        or ``unread`` if the worker has to render the arguments. If the task ends here, the event is its
        success.
        """
        from airflow_riffusion.gate.gate import CapacityGate

        self._begin()
        since = self._since()
        try:
            await self._read_arguments()
            request = self._request(since)
            gate = CapacityGate.of(conn_id(self.riffusion_conn_id))
        except ValueError as error:
            yield self._unread(since, error)
            return
        grant_id = uuid.uuid4().hex
        try:
            grant = await gate.wait(grant_id, request, seconds("poke_interval", self.poke_interval))
        except RiffusionRejected as error:
            await self._let_worker_go()
            yield TriggerEvent({"status": "rejected", "message": str(error)})
            return
        try:
            granted = grant.to_xcom()
            # `airflow dags test` sets no task_instance and can end no task here: it ends in a worker.
            if self.end_from_trigger and self.task_instance is not None:
                self.log.info("%s", grant_line(granted))
                await self._push(self.task_instance, granted)
                yield TaskSuccessEvent()
            else:
                await self._let_worker_go()
                yield TriggerEvent({"status": "granted", "result": granted})
        except BaseException:
            # Cancelled before the event left: no task will use the slots.
            gate.give_back(grant_id)
            raise

    async def _read_arguments(self) -> None:
        """
        Render the arguments, unless a worker has done so.

        Airflow would render them again: a native template would turn the account id "1e5" into a number.
        """
        if self.since is not None or self._context is None:
            return
        try:
            await self._render_arguments()
            self.user_ids = plain(self.user_ids)  # a generator applies its filters only when it is read
        except Exception as error:  # noqa: BLE001 - a worker may be able to, or reports the error
            raise ValueError(f"a template can't be rendered: {error!r:.200}") from None

    def _unread(self, since: float, error: ValueError) -> TriggerEvent:
        """Return the event that lets a worker read the arguments, or report what is wrong with them."""
        # The worker logs the error: Airflow overwrites this trigger's log with the next one's (3.3.2).
        return TriggerEvent({"status": "unread", "since": since, "message": str(error)})

    def _request(self, since: float) -> SlotRequest:
        return SlotRequest.checked(
            slots=self.slots,
            user_ids=self.user_ids,
            same_account=self.same_account,
            hold=self.hold,
            priority=self.priority,
            since=since,
        )

    def _begin(self) -> None:
        if self._began is None:
            self._began = asyncio.get_running_loop().time()

    async def _let_worker_go(self) -> None:
        """Wait until the worker that deferred this task is gone; a task that started here had none."""
        if self._began is not None and self.since is not None and self.task_instance is not None:
            await worker_is_gone(self._began)

    def _since(self) -> float:
        if self.since is not None:
            return self.since
        timeout_after = getattr(self, "timeout_after", None)
        if timeout_after is not None and self.timeout is not None:
            return float(timeout_after.timestamp() - self.timeout)
        return clock.epoch()

    async def _push(self, ti: TaskInstance, result: dict[str, Any], **links: str) -> None:
        """
        Push the task's XComs, as a worker would: its result, and what links in the UI show.

        ``TaskSuccessEvent(xcoms=…)`` would encode them twice (Airflow 3.3.2): a dict arrives as text.
        """
        own = TaskXComs(ti)
        xcoms = {**(result if self.multiple_outputs else {}), **links, "return_value": result}
        for key, value in xcoms.items() if self.do_xcom_push else ():
            await in_thread(own.set, key, value)
