"""Waits for the end of a job that was submitted elsewhere."""

from __future__ import annotations

import uuid
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import PokeReturnValue

from airflow_riffusion.core.arguments import identifier, is_template, reference
from airflow_riffusion.core.jobs import JobLedger, WantedJob
from airflow_riffusion.exceptions import RiffusionJobAmbiguous, RiffusionRejected, checking_arguments
from airflow_riffusion.sensors.base import RiffusionSensor

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import timedelta

    from airflow.providers.common.compat.sdk import Context

    from airflow_riffusion.compat import Templated
    from airflow_riffusion.core.capacity import Capacity
    from airflow_riffusion.hooks.riffusion import RiffusionHook
    from airflow_riffusion.triggers.job import JobTrigger


class JobSensor(RiffusionSensor):
    """
    Wait until a job is over: it was seen executing, and then two readings in a row do not list it.

    Deferred (the default), it uses the readings of the connection's gate, which all waiting tasks share.
    With ``mode="reschedule"`` it can't remember whether it saw the job: a job that is not executing counts as
    over when ``hold`` has passed since the first poke.

    :param job_id: the job's id. (templated)
    :param reply_ref: or the ``replyRef`` that it was submitted with. (templated)
    :param riffusion_conn_id: the Airflow connection. (templated)
    :param hold: seconds, or a timedelta, that the job may take to start: if no reading has listed it by
        then, it counts as over.
    :param poke_interval: seconds, or a timedelta, between readings.
    :param timeout: seconds, or a timedelta, after which the wait fails.
    :param deferrable: wait in the triggerer; overrides ``mode``.
    """

    template_fields: Sequence[str] = ("riffusion_conn_id", "job_id", "reply_ref")

    @checking_arguments()
    def __init__(
        self,
        *,
        job_id: Templated[int] | None = None,
        reply_ref: Templated[int] | None = None,
        riffusion_conn_id: Templated[str] = "riffusion_default",
        hold: timedelta | float = 120,
        poke_interval: timedelta | float = 5,
        timeout: timedelta | float | None = None,
        deferrable: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            riffusion_conn_id=riffusion_conn_id,
            poke_interval=poke_interval,
            timeout=timeout,
            hold=hold,
            deferrable=deferrable,
            **kwargs,
        )
        self.job_id = job_id
        self.reply_ref = reply_ref
        self._jobs: JobLedger | None = None
        self._references: dict[str, str | None] = {}
        if not is_template(job_id) and not is_template(reply_ref):
            self._wanted()

    def _trigger(self) -> JobTrigger:
        from airflow_riffusion.triggers.job import JobTrigger

        wanted = self._wanted()
        return JobTrigger(
            riffusion_conn_id=self.riffusion_conn_id,
            job_id=next(iter(wanted.job_ids), None),
            reply_ref=wanted.reply_ref,
            hold=self.hold,
            poke_interval=self.poke_interval,
        )

    def execute_complete(self, context: Context, event: dict[str, Any]) -> dict[str, Any] | None:
        """
        Return the job that the trigger watched, or fail the task.

        :param event: the trigger's event.
        :return: the job as last seen, as plain JSON; None if it was never seen.
        :raises RiffusionRejected: if waiting won't help.
        """
        status = event.get("status") if isinstance(event, dict) else None
        if status == "rejected":
            raise RiffusionRejected(str(event.get("message")))
        if status != "over":
            raise ValueError(f"the trigger sent an unknown event: {event!r:.200}")
        return self._over(event["job"])

    def _look(self, context: Context) -> PokeReturnValue | None:
        """Look for the job among those that are executing; if it is missing, look again."""
        if self._jobs is None:
            self._jobs = JobLedger()
            self._jobs.join(uuid.uuid4().hex, self._wanted(), self._waiting_since(context) + self.hold)
        hook = self._hook()
        for reading in self._readings(hook):
            for update in self._jobs.observe(self._identified(reading, hook), self._now()):
                if update.ambiguous is not None:
                    raise RiffusionJobAmbiguous.of(self._wanted(), update.ambiguous)
                job = update.job.to_xcom() if update.job is not None else None
                return PokeReturnValue(is_done=True, xcom_value=self._over(job))
            if not self._jobs.in_doubt(self._now()):
                break
        self.log.info("Waiting for the end of %s.", self._wanted())
        return None

    def _identified(self, reading: Capacity, hook: RiffusionHook) -> Capacity:
        """Return a reading with the references of jobs, where the service has to be asked for them, once."""
        assert self._jobs is not None
        for job in reading.jobs:
            if job.job_id is not None and job.job_id not in self._references and self._jobs.seeks(job):
                with suppress(LookupError, RiffusionRejected):
                    self._references[job.job_id] = hook.reference_of(job.job_id)
        withheld = {job.job_id for job in reading.jobs if job.job_id is not None} - self._references.keys()
        return reading.with_references(self._references, withheld)

    def _wanted(self) -> WantedJob:
        wanted = WantedJob(
            () if self.job_id in (None, "") else (identifier("job_id", self.job_id),),
            None if self.reply_ref in (None, "") else reference("reply_ref", self.reply_ref),
        )
        if not wanted.job_ids and wanted.reply_ref is None:
            raise ValueError("job_id or reply_ref is needed: which job is to be waited for?")
        return wanted

    def _over(self, job: Mapping[str, Any] | None) -> dict[str, Any] | None:
        if job is None:
            self.log.warning(
                "No reading showed %s: it had already ended, was very short, or never existed.",
                self._wanted(),
            )
            return None
        self.log.info("Job %s is over.", job["job_id"])
        return dict(job)
