"""Waits for job slots in the triggerer."""

from __future__ import annotations

import asyncio
import uuid
from typing import TYPE_CHECKING, Any, Self

from airflow.triggers.base import BaseTrigger, TaskSuccessEvent, TriggerEvent

from airflow_riffusion import clock
from airflow_riffusion.compat import worker_is_gone
from airflow_riffusion.core.arguments import conn_id, plain, seconds
from airflow_riffusion.core.request import SlotRequest, grant_line
from airflow_riffusion.exceptions import RiffusionRejected
from airflow_riffusion.triggers.base import SerializedByArguments

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from airflow.models.taskinstance import TaskInstance
    from airflow.providers.common.compat.sdk import Context
    from jinja2 import Environment


class CapacityTrigger(SerializedByArguments, BaseTrigger):
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
        self._not_rendered: Exception | None = None

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

    @property
    def render_template_as_native_obj(self) -> bool:
        """Whether templates render to objects: as the task says, or else its DAG."""
        native = getattr(self.task, "render_template_as_native_obj", None)
        if native is None:
            native = getattr(getattr(self.task, "dag", None), "render_template_as_native_obj", False)
        return bool(native)

    def get_template_env(self, dag: Any = None) -> Environment:
        """
        Return the Jinja environment for the arguments of a task that starts in the triggerer.

        Airflow's own (3.3.2) supports no native templates, and renders an undefined name to empty text, which
        is an error in a worker.
        """
        from jinja2 import StrictUndefined
        from jinja2.nativetypes import NativeEnvironment

        environment: Environment = super().get_template_env(dag)
        if self.render_template_as_native_obj:
            native = type("NativeSandbox", (type(environment), NativeEnvironment), {})
            environment = native(cache_size=0)
        environment.undefined = StrictUndefined
        return environment

    def render_template_fields(self, context: Context, jinja_env: Environment | None = None) -> None:
        """
        Render the arguments; if that fails, leave them to a worker.

        Arguments that a worker has rendered are not rendered again, which Airflow would do if the task can
        start here: a native template would turn the account id "1e5" into a number.
        """
        if self.since is not None:
            return
        try:
            super().render_template_fields(context, jinja_env)
            self.user_ids = plain(self.user_ids)  # a generator applies its filters only when it is read
        except Exception as error:  # noqa: BLE001 - a worker may be able to render it, or reports the error
            self._not_rendered = error

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
            if self._not_rendered is not None:
                raise ValueError(f"a template can't be rendered: {self._not_rendered!r:.200}")
            request = self._request(since)
            gate = CapacityGate.of(conn_id(self.riffusion_conn_id))
        except ValueError as error:
            # The worker logs the error: Airflow overwrites this trigger's log with the next one's (3.3.2).
            yield TriggerEvent({"status": "unread", "since": since, "message": str(error)})
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

    async def _push(self, ti: TaskInstance, granted: dict[str, Any]) -> None:
        """
        Push the task's XComs, as a worker would.

        ``TaskSuccessEvent(xcoms=…)`` would encode them twice (Airflow 3.3.2): a dict arrives as text.
        """
        from airflow.sdk.execution_time.xcom import XCom

        xcoms = {**(granted if self.multiple_outputs else {}), "return_value": granted}
        for key, value in xcoms.items() if self.do_xcom_push else ():
            await asyncio.to_thread(
                XCom.set,
                key=key,
                value=value,
                dag_id=ti.dag_id,
                task_id=ti.task_id,
                run_id=ti.run_id,
                map_index=ti.map_index,
            )
