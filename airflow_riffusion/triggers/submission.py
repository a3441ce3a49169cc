"""Makes a job in the triggerer, from its place in the queue to its outcome."""

from __future__ import annotations

import asyncio
import contextvars
from dataclasses import replace
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from airflow.triggers.base import TaskSuccessEvent, TriggerEvent

from airflow_riffusion.core.arguments import conn_id, seconds, sorted_account_ids
from airflow_riffusion.core.note import JobNote
from airflow_riffusion.core.outcome import checked_result_endpoint, first_audio
from airflow_riffusion.core.submission import Submission, own_reference
from airflow_riffusion.exceptions import RiffusionError, RiffusionJobFailed, RiffusionRejected
from airflow_riffusion.triggers.capacity import CapacityTrigger
from airflow_riffusion.xcoms import JobNotes, is_deferred

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Coroutine

    from airflow.models.taskinstance import TaskInstance

    from airflow_riffusion.gate.gate import CapacityGate
    from airflow_riffusion.gate.submitter import Submitter

# Seconds, and how often: Airflow takes an event over once a second, and a busy one takes its time.
_BETWEEN_LOOKS = 5.0
_MOST_LOOKS = 12

# Where Airflow 3 looks for the link of operators.links.AudioLink; a worker writes it by itself.
_LISTEN_KEY = "_link_AudioLink"

_background: set[asyncio.Task[None]] = set()


class SubmissionTrigger(CapacityTrigger):
    """
    Wait for a slot as every sensor does, submit a job, watch it, and fetch its outcome.

    The job is noted in the task's XCom ``riffusion_job``, before it is submitted and when it is accepted, so
    that a restarted triggerer goes on with it.

    :param endpoint: where to submit, relative to the service's path; None for the service's own.
    :param json: what to submit; the account and the reference are added.
    :param reply_ref: the ``replyRef`` of the job, the same in every try of the task; None for the one in
        ``json``, or the task's own.
    :param wait_for_completion: whether to watch the job until it is over.
    :param result_endpoint: asked for the outcome when the job is over; None for the service's own.
    :param job: what an earlier try has noted of its job.
    :param in_doubt: whether an earlier try may have made a job of which nothing was noted.
    :param resubmit_in_doubt: whether to submit another job although an executing one may be this task's.
    :param arguments: those of :class:`~airflow_riffusion.triggers.capacity.CapacityTrigger`.
    """

    def __init__(
        self,
        *,
        json: dict[str, Any],
        endpoint: str | None = None,
        reply_ref: str | None = None,
        wait_for_completion: bool = True,
        result_endpoint: str | None = None,
        job: dict[str, Any] | None = None,
        in_doubt: bool = False,
        resubmit_in_doubt: bool = False,
        **arguments: Any,
    ) -> None:
        super().__init__(**arguments)
        self.endpoint = endpoint
        self.json = json
        self.reply_ref = reply_ref
        self.wait_for_completion = wait_for_completion
        self.result_endpoint = result_endpoint
        self.job = job
        self.in_doubt = in_doubt
        self.resubmit_in_doubt = resubmit_in_doubt
        self._submitter: Submitter | None = None

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """
        Make the job, then yield one event: the task's success, or, with the job's note, how it ended.

        ``done`` with the task's XCom; or with a message: ``unknown``, if there is a job whose outcome can't
        be had; ``failed``, if there is none and a retry may make one; ``rejected``, if no retry would.
        """
        self._begin()
        since = self._since()
        try:
            self._check_try()
            await self._read_arguments()
            self._submitter = submitter = self._new_submitter(since)
        except ValueError as error:
            yield self._unread(since, error)
            return
        ended: dict[str, Any]
        try:
            ended = {"status": "done", "result": await self._make(submitter)}
        except RiffusionError as error:
            ended = {"status": _status(submitter, error), "message": _message(submitter, error)}
        # `airflow dags test` knows no task here, and no end of one: there, it ends in a worker.
        if ended["status"] == "done" and self.end_from_trigger and self.task_instance is not None:
            audio = first_audio(ended["result"])
            links = {} if audio is None else {_LISTEN_KEY: audio}
            await self._push(self.task_instance, ended["result"], **links)
            yield TaskSuccessEvent()
            self._submitter = None  # There is nothing to stop any more.
            _in_background(_forget_note(self.task_instance, submitter.note))
        else:
            await self._let_worker_go()
            yield TriggerEvent({**ended, "job": submitter.note.to_json()})

    async def on_kill(self) -> None:
        """Stop the job and free its slot; Airflow calls this when a person ends the task."""
        if self._submitter is not None and await is_deferred(self.task_instance) is not True:
            await self._submitter.stop()

    async def _make(self, submitter: Submitter) -> dict[str, Any]:
        from airflow_riffusion.gate import outcome

        await submitter.submit()
        if not self.wait_for_completion:
            return submitter.note.to_xcom(None)
        if submitter.result is not None:
            return submitter.result
        gate, interval = self._gate(), seconds("poke_interval", self.poke_interval)
        await submitter.update(await outcome.watch(gate, submitter.note, interval, self.hold))
        reader = outcome.OutcomeReader(
            gate,
            submitter.note,
            submitted_to=self.endpoint,
            result_endpoint=self.result_endpoint,
            poke_interval=interval,
            patience=self.hold,
        )
        return await reader.fetch()

    def _gate(self) -> CapacityGate:
        from airflow_riffusion.gate.gate import CapacityGate

        return CapacityGate.of(conn_id(self.riffusion_conn_id))

    def _check_try(self) -> None:
        """Leave all tries but the first to a worker: it knows what was made before, and whether to go on."""
        ti = self.task_instance
        if self.since is None and ti is not None and ti.try_number > 1:
            raise ValueError("a retry, or a task that was cleared, has to look for the job of the try before")

    def _new_submitter(self, since: float) -> Submitter:
        from airflow_riffusion.gate.submitter import Submitter

        submission = Submission.checked(self.endpoint, self.json)
        self.user_ids = sorted_account_ids(submission.among(self.user_ids))
        checked_result_endpoint(self.result_endpoint)
        return Submitter(
            self._gate(),
            JobNotes(self.task_instance),
            submission,
            replace(
                self._request(since),
                reply_ref=self.reply_ref or submission.reply_ref(own_reference(self.task_instance)),
            ),
            poke_interval=seconds("poke_interval", self.poke_interval),
            noted=JobNote.parse(self.job),
            in_doubt=self.in_doubt,
            resubmit_in_doubt=self.resubmit_in_doubt,
        )


def _in_background(work: Coroutine[Any, Any, None]) -> None:
    """Go on with something that outlives the trigger, and does not log into its log."""
    task = asyncio.create_task(work, context=contextvars.Context())
    _background.add(task)
    task.add_done_callback(_background.discard)


async def _forget_note(ti: TaskInstance, note: JobNote) -> None:
    """Delete the job's note when Airflow has the task's end; before, a restarted triggerer needs it."""
    for _ in range(_MOST_LOOKS):
        await asyncio.sleep(_BETWEEN_LOOKS)
        if await is_deferred(ti) is False:
            await JobNotes(ti).delete(note)
            return


def _status(submitter: Submitter, error: RiffusionError) -> str:
    if isinstance(error, RiffusionJobFailed):
        return "failed"
    if error.status == HTTPStatus.GONE:
        return "rejected"  # The outcome has expired.
    if submitter.note.accepted:
        return "unknown"
    return "rejected" if isinstance(error, RiffusionRejected) else "failed"


def _message(submitter: Submitter, error: RiffusionError) -> str:
    if submitter.note.accepted and not isinstance(error, RiffusionJobFailed):
        return f"The outcome of {submitter.note} can't be had: {error}"
    return str(error)
