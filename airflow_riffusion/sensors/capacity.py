"""Waits until job slots are free."""

from __future__ import annotations

import uuid
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import PokeReturnValue

from airflow_riffusion.core.arguments import (
    account_ids,
    boolean,
    conn_id,
    plain,
    seconds,
    sorted_account_ids,
    templated,
    unless_template,
    whole_number,
)
from airflow_riffusion.core.request import SlotRequest, grant_line
from airflow_riffusion.exceptions import RiffusionRejected, checking_arguments
from airflow_riffusion.sensors.base import RiffusionSensor
from airflow_riffusion.zero_worker import StartsInTriggerer

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import timedelta

    from airflow.providers.common.compat.sdk import Context

    from airflow_riffusion.compat import AccountIds, Templated
    from airflow_riffusion.core.ledger import SlotLedger, Unsatisfiable
    from airflow_riffusion.hooks.riffusion import RiffusionHook
    from airflow_riffusion.triggers.capacity import CapacityTrigger


class CapacitySensor(StartsInTriggerer, RiffusionSensor):
    """
    Wait until job slots are free, and return on which accounts to use them.

    Deferred (the default), all waiting tasks of a connection share one request per ``poke_interval``,
    no worker waits, and a free slot wakes exactly one task, in order. With ``deferrable=False`` the
    sensor pokes or reschedules like any other: same result, but tasks know nothing of each other, so
    one free slot wakes them all.

    An unavailable service does not end the wait, only ``timeout`` and ``execution_timeout`` do. A rejection
    (wrong token, unknown connection, more slots than there are) fails the task at once, without retries.

    :param riffusion_conn_id: the Airflow connection. (templated)
    :param slots: how many free slots the task needs. (templated)
    :param user_ids: only these accounts count; None for all. (templated)
    :param same_account: all slots must be on one account.
    :param hold: seconds, or a timedelta, for which granted slots are kept from other waiting tasks until
        their jobs are seen executing. 0 keeps none: the sensor only checks that slots are free.
    :param poke_interval: seconds, or a timedelta, between readings.
    :param timeout: seconds, or a timedelta, after which the wait fails.
    :param deferrable: wait in the triggerer; overrides ``mode``.
    :param start_from_trigger: start the wait in the triggerer, without a worker (Airflow 3.3). Neither
        the pool nor ``max_active_tasks`` counts the task while it waits.
    :param end_from_trigger: end the task in the triggerer when slots are granted, without a worker
        (Airflow 3.3). A failure still ends in a worker, which handles ``retries`` and ``soft_fail``. So does
        a task with ``outlets``, as only a worker creates asset events. Success callbacks and listeners are
        not called.
    """

    template_fields: Sequence[str] = ("riffusion_conn_id", "user_ids", "slots")
    trigger_path = "airflow_riffusion.triggers.capacity.CapacityTrigger"
    travelling = {  # noqa: RUF012 - a constant
        "riffusion_conn_id": templated(conn_id),
        "slots": templated(whole_number, "slots"),
        "user_ids": templated(sorted_account_ids),
        "same_account": partial(boolean, "same_account"),
        "hold": partial(seconds, "hold", zero=True),
        "poke_interval": partial(seconds, "poke_interval"),
    }

    @checking_arguments()
    def __init__(
        self,
        *,
        riffusion_conn_id: Templated[str] = "riffusion_default",
        slots: Templated[int] = 1,
        user_ids: AccountIds | None = None,
        same_account: bool = False,
        hold: timedelta | float = 120,
        poke_interval: timedelta | float = 5,
        timeout: timedelta | float | None = None,
        deferrable: bool = True,
        start_from_trigger: bool = False,
        end_from_trigger: bool = False,
        **kwargs: Any,
    ) -> None:
        kwargs.pop("start_trigger_args", None)  # a mapped sensor's: a worker computes its own
        super().__init__(
            riffusion_conn_id=riffusion_conn_id,
            poke_interval=poke_interval,
            timeout=timeout,
            hold=hold,
            deferrable=deferrable,
            **kwargs,
        )
        self.slots = slots
        self.user_ids = user_ids
        self.same_account = boolean("same_account", same_account)
        self.end_from_trigger = boolean("end_from_trigger", end_from_trigger)
        self.start_from_trigger = boolean("start_from_trigger", start_from_trigger)
        unless_template(whole_number, "slots", slots)
        unless_template(account_ids, user_ids)
        if start_from_trigger or end_from_trigger:
            self._check_zero_worker_mode()

    def _trigger(self) -> CapacityTrigger:
        from airflow_riffusion.triggers.capacity import CapacityTrigger

        if self.end_from_trigger and self.outlets:
            self.log.info("The task has outlets, so it ends in a worker: else their events would be lost.")
        return CapacityTrigger.of(
            self.riffusion_conn_id,
            self._wanted(),
            poke_interval=self.poke_interval,
            end_from_trigger=self.end_from_trigger and not self.outlets,
            do_xcom_push=self.do_xcom_push,
            multiple_outputs=self.multiple_outputs,
        )

    def execute_complete(self, context: Context, event: dict[str, Any]) -> dict[str, Any]:
        """
        Return what the trigger was granted, or fail the task.

        Arguments that the triggerer could not read are rendered again by now, by the worker: the task is
        deferred with them, or fails if they are wrong here, too.

        :param event: the trigger's event.
        :return: the reading and what was granted, as plain JSON.
        :raises RiffusionRejected: if waiting won't help.
        """
        status = event.get("status") if isinstance(event, dict) else None
        if status == "unread":
            self.log.info(
                "The arguments can't be used in the triggerer, so this worker takes them: %s",
                event["message"],
            )
            self._began = event["since"]
            self._check_arguments()
            self._wait_in_triggerer()
        if status == "rejected":
            raise RiffusionRejected(str(event.get("message")))
        granted = event.get("result") if status == "granted" else None
        if not isinstance(granted, dict):
            raise ValueError(f"the trigger sent an unknown event: {event!r:.200}")
        self.log.info("%s", grant_line(granted))
        return granted

    def _look(self, context: Context) -> PokeReturnValue | None:
        """Decide as the gate does, by a ledger with one waiter."""
        from airflow_riffusion.core.ledger import SlotLedger

        ledger = SlotLedger()
        request = replace(self._wanted(), since=self._waiting_since(context))
        ledger.join(uuid.uuid4().hex, request)
        hook = self._hook()
        for reading in self._readings(hook):
            for grant in ledger.observe(reading, now=0.0):
                granted = grant.to_xcom()
                self.log.info("%s", grant_line(granted))
                return PokeReturnValue(is_done=True, xcom_value=granted)
            doubt = self._unsatisfiable(ledger, hook)
            self.log.info("Waiting for %s: %s.", request, hook.complete(reading))
            if doubt is None:
                return None
            if ledger.needs_accounts:
                raise RiffusionRejected.unsatisfiable(self.riffusion_conn_id, doubt.reason)
        return None

    def _unsatisfiable(self, ledger: SlotLedger, hook: RiffusionHook) -> Unsatisfiable | None:
        """Return why no reading can satisfy the request, if the last one and the accounts show that."""
        for max_age in hook.ACCOUNTS_AGES if ledger.in_doubt else ():
            configured = hook.configured_accounts(max_age)
            if configured is None:
                self._failed(hook.accounts_retry_after)
                return None
            unsatisfiable = ledger.unsatisfiable(configured, after=1)
            if not unsatisfiable:
                return None
        return unsatisfiable[0] if ledger.in_doubt else None

    def _check_zero_worker_mode(self) -> None:
        from airflow_riffusion.compat import require_zero_worker_mode

        name = "start_from_trigger" if self.start_from_trigger else "end_from_trigger"
        require_zero_worker_mode(name)
        if not self.deferrable:
            raise ValueError(f"{name} needs deferrable=True")

    def _check_arguments(self) -> None:
        with self._soft_fail():
            # Fetches another task's output, once. If that fails, the argument itself is not wrong.
            self.user_ids = plain(self.user_ids)
        super()._check_arguments()

    def _wanted(self) -> SlotRequest:
        return SlotRequest.checked(
            slots=self.slots,
            user_ids=self.user_ids,
            same_account=self.same_account,
            hold=self.hold,
            priority=self.priority_weight,
            since=self._began,
        )
