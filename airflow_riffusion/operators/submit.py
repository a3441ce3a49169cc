"""Makes one job in one task: waits for a slot, submits, and waits for the end."""

from __future__ import annotations

from contextlib import suppress
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, NoReturn

from airflow.providers.common.compat.sdk import AirflowException, AirflowTaskTimeout, BaseOperator

from airflow_riffusion import clock
from airflow_riffusion.compat import is_deferral_timeout, require_zero_worker_mode
from airflow_riffusion.core.arguments import (
    account_ids,
    boolean,
    conn_id,
    optional_endpoint,
    plain,
    seconds,
    sorted_account_ids,
    templated,
    unless_template,
    whole_number,
)
from airflow_riffusion.core.note import JobNote
from airflow_riffusion.core.outcome import checked_result_endpoint
from airflow_riffusion.core.request import SlotRequest
from airflow_riffusion.core.submission import Submission, checked_json, own_reference
from airflow_riffusion.core.timeouts import Limit
from airflow_riffusion.exceptions import RiffusionRejected, checking_arguments
from airflow_riffusion.operators.links import AudioLink
from airflow_riffusion.operators.memory import JobMemory
from airflow_riffusion.zero_worker import StartsInTriggerer

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from airflow.providers.common.compat.sdk import Context

    from airflow_riffusion.compat import AccountIds, Templated


class RiffusionSubmitOperator(StartsInTriggerer, BaseOperator):
    """
    Wait for a slot, submit one job, and see it end, all in the triggerer.

    It waits at the connection's gate, in one queue with every
    :class:`~airflow_riffusion.sensors.capacity.CapacitySensor`. A submission that is refused after all (429)
    goes back to its place. The job has a ``replyRef`` that is the same for every try of the task, and is
    noted in the task's XCom ``riffusion_job``, so that it is not submitted twice. If a person ends the task,
    its job is stopped (Airflow 3.3): that frees the slot, but the service may still make it, and bill it.

    :param json: what is submitted; the account and, unless it is there, ``replyRef`` are added. If you give
        one, it must be another for each song. (templated)
    :param endpoint: where to, relative to the service's path; None for where the connection's service takes
        songs. (templated)
    :param riffusion_conn_id: the Airflow connection. (templated)
    :param slots: how many free slots the job needs. (templated)
    :param user_ids: only these accounts count; None for all, or for the one that ``json`` names. (templated)
    :param same_account: all slots must be on one account.
    :param hold: seconds, or a timedelta, for which a granted slot is kept until its job is seen executing,
        and for which a submitted job may be on its way until it is.
    :param wait_for_completion: whether to see the job end.
    :param result_endpoint: asked for the outcome when the job is over; None for what the service has for
        that. ``{job_id}`` and ``{user_id}`` are filled in, as in ``"music/?id={job_id}"``. (templated)
    :param resubmit_in_doubt: what to do if a submission got no clear answer, an executing job may be the one
        that it made, and the service does not tell: True submits another one, so the song may be made twice;
        False fails the task.
    :param poke_interval: seconds, or a timedelta, between readings.
    :param timeout: seconds, or a timedelta, after which a try fails; a job that is executing goes on, and a
        retry takes it up again. So it is with ``execution_timeout``, if that is shorter.
    :param start_from_trigger: start in the triggerer, without a worker (Airflow 3.3). Neither the pool nor
        ``max_active_tasks`` counts the task then.
    :param end_from_trigger: end the task in the triggerer when its job is done, without a worker
        (Airflow 3.3); failures still go by a worker, for ``retries``, and so does a task with ``outlets``,
        whose events Airflow makes only there. Success callbacks and listeners are not called.
    """

    template_fields: Sequence[str] = (
        "riffusion_conn_id",
        "json",
        "endpoint",
        "slots",
        "user_ids",
        "result_endpoint",
    )
    trigger_path = "airflow_riffusion.triggers.submission.SubmissionTrigger"
    travelling = {  # noqa: RUF012 - a constant
        "riffusion_conn_id": templated(conn_id),
        "json": templated(checked_json),
        "endpoint": templated(optional_endpoint),
        "slots": templated(whole_number, "slots"),
        "user_ids": templated(sorted_account_ids),
        "same_account": partial(boolean, "same_account"),
        "hold": partial(seconds, "hold"),
        "wait_for_completion": partial(boolean, "wait_for_completion"),
        "result_endpoint": templated(checked_result_endpoint),
        "resubmit_in_doubt": partial(boolean, "resubmit_in_doubt"),
        "poke_interval": partial(seconds, "poke_interval"),
    }
    template_fields_renderers = {"json": "json"}  # noqa: RUF012 - as Airflow declares it
    operator_extra_links = (AudioLink(),)
    ui_color = "#e4f0e8"

    @checking_arguments()
    def __init__(
        self,
        *,
        json: Templated[Mapping[str, Any]],
        endpoint: Templated[str] | None = None,
        riffusion_conn_id: Templated[str] = "riffusion_default",
        slots: Templated[int] = 1,
        user_ids: AccountIds | None = None,
        same_account: bool = False,
        hold: timedelta | float = 120,
        wait_for_completion: bool = True,
        result_endpoint: Templated[str] | None = None,
        resubmit_in_doubt: bool = False,
        poke_interval: timedelta | float = 5,
        timeout: timedelta | float = timedelta(days=7),
        start_from_trigger: bool = False,
        end_from_trigger: bool = False,
        **kwargs: Any,
    ) -> None:
        kwargs.pop("start_trigger_args", None)  # a mapped operator's: a worker computes its own
        super().__init__(**kwargs)
        self.json: Any = json
        self.endpoint: Any = endpoint
        self.riffusion_conn_id: Any = riffusion_conn_id
        self.slots = slots
        self.user_ids = user_ids
        self.same_account = boolean("same_account", same_account)
        self.hold = seconds("hold", hold)
        self.wait_for_completion = boolean("wait_for_completion", wait_for_completion)
        self.result_endpoint: Any = result_endpoint
        self.resubmit_in_doubt = boolean("resubmit_in_doubt", resubmit_in_doubt)
        self.poke_interval = seconds("poke_interval", poke_interval)
        self.timeout = seconds("timeout", timeout)
        self.start_from_trigger = boolean("start_from_trigger", start_from_trigger)
        self.end_from_trigger = boolean("end_from_trigger", end_from_trigger)
        if start_from_trigger or end_from_trigger:
            require_zero_worker_mode("start_from_trigger" if start_from_trigger else "end_from_trigger")
        unless_template(conn_id, riffusion_conn_id)
        unless_template(whole_number, "slots", slots)
        unless_template(account_ids, user_ids)
        unless_template(checked_json, json)
        unless_template(optional_endpoint, endpoint)
        unless_template(checked_result_endpoint, result_endpoint)
        if result_endpoint is not None and not wait_for_completion:
            raise ValueError("result_endpoint needs wait_for_completion=True: only then is there an outcome")

    def execute(self, context: Context) -> Any:
        """
        Check what was rendered, and hand over to the triggerer.

        :raises RiffusionArgumentError: if an argument can't be what it should.
        """
        self._wait_in_triggerer(context, since=clock.epoch())

    def _wait_in_triggerer(self, context: Context, since: float) -> NoReturn:
        from airflow_riffusion.triggers.submission import SubmissionTrigger

        with suppress(RecursionError):  # then the check below says so
            # Outputs of other tasks are fetched here, and only once. If that fails, no argument is wrong.
            self.json, self.user_ids = plain(self.json), plain(self.user_ids)
        with checking_arguments():
            submission = Submission.checked(self.endpoint, self.json)
            checked_result_endpoint(self.result_endpoint)
            request = SlotRequest.checked(
                slots=self.slots,
                user_ids=submission.among(self.user_ids),
                same_account=self.same_account,
                hold=self.hold,
                priority=self.priority_weight,
                since=since,
            )
            riffusion_conn_id = conn_id(self.riffusion_conn_id)
        ti = context["ti"]
        job = JobMemory(context).take()
        self.defer(
            trigger=SubmissionTrigger.of(
                riffusion_conn_id,
                request,
                poke_interval=self.poke_interval,
                endpoint=submission.endpoint,
                json=dict(submission.json),
                reply_ref=submission.reply_ref(own_reference(ti)),
                wait_for_completion=self.wait_for_completion,
                result_endpoint=self.result_endpoint,
                resubmit_in_doubt=self.resubmit_in_doubt,
                job=None if job is None else job.to_json(),
                in_doubt=ti.try_number > 1,
                end_from_trigger=self._ends_from_trigger,
                do_xcom_push=self.do_xcom_push,
                multiple_outputs=self.multiple_outputs,
            ),
            method_name="execute_complete",
            timeout=self._limit.left(since, clock.epoch()),
        )
        raise AssertionError("defer() always raises")

    def execute_complete(self, context: Context, event: dict[str, Any]) -> Any:
        """
        End the task as the trigger says.

        :param event: the trigger's event.
        :return: the job and what became of it, as plain JSON.
        :raises RiffusionRejected: if no retry can make the job, or would make it a second time.
        :raises AirflowException: if the job has failed, or its outcome can't be had: a retry may help.
        """
        status = event.get("status") if isinstance(event, dict) else None
        memory = JobMemory(context)
        if status == "unread":
            self.log.info("The triggerer can't begin with this try, so a worker does: %s", event["message"])
            memory.forget_note()  # as Airflow deletes XComs when a worker begins with a try
            self._wait_in_triggerer(context, since=event["since"])
        if status not in ("done", "failed", "rejected", "unknown"):
            raise ValueError(f"the trigger sent an unknown event: {event!r:.200}")
        message, is_kept = str(event.get("message")), False
        if status in ("done", "unknown"):
            # First of all: if this worker is killed, the next try must know the job.
            is_kept = memory.keep(JobNote.parse(event["job"]), is_done=status == "done")
        if status == "failed":
            memory.forget()
        memory.forget_note()
        if status == "done":
            return event["result"]
        if status == "unknown":
            raise _outcome_unknown(message, can_retry=is_kept)
        raise (AirflowException if status == "failed" else RiffusionRejected)(message)

    def resume_execution(self, next_method: str, next_kwargs: dict[str, Any] | None, context: Context) -> Any:
        """
        Go on in a worker; after a failure in the triggerer, leave the job to the next try.

        :raises AirflowTaskTimeout: if the time was up.
        """
        if next_method == "__fail__":
            JobMemory(context).keep()
        if is_deferral_timeout(next_method, next_kwargs):
            raise AirflowTaskTimeout(f"The job was not over within the {self._limit}.")
        return super().resume_execution(next_method, next_kwargs, context)

    @property
    def _ends_from_trigger(self) -> bool:
        """Whether no worker ends the task; one with outlets needs a worker, which creates their events."""
        if self.end_from_trigger and self.outlets:
            self.log.info("The task has outlets, so it ends in a worker: else their events would be lost.")
        return self.end_from_trigger and not self.outlets

    @property
    def _limit(self) -> Limit:
        return Limit.of(self.timeout, self.execution_timeout)


def _outcome_unknown(message: str, *, can_retry: bool) -> AirflowException:
    if can_retry:
        return AirflowException(f"{message} The next try asks for it again; no other job is submitted.")
    # A retry would not know the job, and submit another one: before Airflow 3.3, or if it can't be kept.
    return RiffusionRejected(message)
