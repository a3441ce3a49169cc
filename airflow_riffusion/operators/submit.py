"""A whole song in one task: wait for a slot, submit, see it end."""

from __future__ import annotations

import random
import time
from copy import copy
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, NoReturn

from airflow.providers.common.compat.sdk import AirflowException

from airflow_riffusion.core.arguments import (
    account_ids,
    boolean,
    conn_id,
    seconds,
    unless_template,
    whole_number,
)
from airflow_riffusion.core.ledger import READINGS_TO_CONFIRM
from airflow_riffusion.core.request import grant_line
from airflow_riffusion.core.song import Song, checked_result_endpoint, failure, fill_in, scrub
from airflow_riffusion.core.submission import checked_json
from airflow_riffusion.exceptions import (
    RiffusionBadResponse,
    RiffusionError,
    RiffusionRejected,
    RiffusionUnavailable,
    checking_arguments,
)
from airflow_riffusion.operators.base import SongOperator
from airflow_riffusion.operators.memory import JobMemory

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from airflow.providers.common.compat.sdk import Context

    from airflow_riffusion.compat import AccountIds, Templated
    from airflow_riffusion.hooks.riffusion import RiffusionHook

_RETRIES = 3
_TOO_MANY_REQUESTS = 429
# Seconds.
_LONGEST_PAUSE = 300.0
_LONGEST_RETRY_AFTER = 600.0

_BACK_TO_ITS_PLACE = "It goes back to its place in the queue."
_LOOK_FOR_IT = "Whether the job was accepted all the same, the next readings tell."


class RiffusionSubmitOperator(SongOperator):
    """
    Wait for a slot, submit one job, and see it end; no worker is used while it waits for either.

    It waits at the connection's gate, in one queue with every
    :class:`~airflow_riffusion.sensors.capacity.CapacitySensor`. A submission that is refused after all (429)
    goes back to its place. The job has a ``replyRef`` that is the same for every try of the task: after a
    lost answer and in every retry it is looked for among the executing jobs first, so that it is not
    submitted twice; a job that a retry knows of (Airflow 3.3) is seen to its end. That is seen by the gate's
    own readings. A person who ends the task cancels the job (Airflow 3.3).

    :param json: what is submitted; the account and, unless it is there, ``replyRef`` are added. If you give
        one, it must be another for each song. (templated)
    :param endpoint: where to, relative to ``v1/<service>/``. (templated)
    :param riffusion_conn_id: the Airflow connection. (templated)
    :param slots: how many free slots the job needs. (templated)
    :param user_ids: only these accounts count; None for all, or for the one that ``json`` names. (templated)
    :param same_account: all slots must be on one account.
    :param hold: seconds, or a timedelta, for which a granted slot is kept until its job is seen executing,
        and for which a submitted job may be on its way until it is.
    :param wait_for_completion: whether to see the job end.
    :param result_endpoint: asked once when the job is over, for its outcome; ``{job_id}`` and ``{user_id}``
        are filled in, as in ``"music/?user_id={user_id}&id={job_id}"``. (templated)
    :param poke_interval: seconds, or a timedelta, between readings.
    :param timeout: seconds, or a timedelta, after which a try fails; a job that is executing goes on, and a
        retry takes it up again. So it is with ``execution_timeout``, if that is shorter.
    """

    template_fields: Sequence[str] = (
        "riffusion_conn_id",
        "json",
        "endpoint",
        "slots",
        "user_ids",
        "result_endpoint",
    )
    template_fields_renderers = {"json": "json"}  # noqa: RUF012 - as Airflow declares it
    ui_color = "#e4f0e8"

    @checking_arguments()
    def __init__(
        self,
        *,
        json: Templated[Mapping[str, Any]],
        endpoint: Templated[str] = "music/create-prompt",
        riffusion_conn_id: Templated[str] = "riffusion_default",
        slots: Templated[int] = 1,
        user_ids: AccountIds | None = None,
        same_account: bool = False,
        hold: timedelta | float = 120,
        wait_for_completion: bool = True,
        result_endpoint: Templated[str] | None = None,
        poke_interval: timedelta | float = 5,
        timeout: timedelta | float = timedelta(days=7),
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.json = json
        self.endpoint = endpoint
        self.riffusion_conn_id = riffusion_conn_id
        self.slots = slots
        self.user_ids = user_ids
        self.same_account = boolean("same_account", same_account)
        self.hold = seconds("hold", hold)
        self.wait_for_completion = boolean("wait_for_completion", wait_for_completion)
        self.result_endpoint: Any = result_endpoint
        self.poke_interval = seconds("poke_interval", poke_interval)
        self.timeout = seconds("timeout", timeout)
        self._on_its_way: tuple[Song, RiffusionHook] | None = None
        self._killed = False
        unless_template(conn_id, riffusion_conn_id)
        unless_template(whole_number, "slots", slots)
        unless_template(account_ids, user_ids)
        unless_template(checked_json, json)
        if result_endpoint is not None:
            unless_template(checked_result_endpoint, result_endpoint)
        if result_endpoint is not None and not wait_for_completion:
            raise ValueError("result_endpoint needs wait_for_completion=True: only then is there an outcome")

    def execute(self, context: Context) -> Any:
        """
        Wait for a slot, or for the job of an earlier try.

        :return: the job and what became of it, as plain JSON.
        """
        if self.result_endpoint is not None:
            with checking_arguments():
                checked_result_endpoint(self.result_endpoint)
        ti = context["ti"]
        # Alike in every try, so that a retry can tell whether its job exists.
        own = f"{ti.dag_id}/{ti.run_id}/{ti.task_id}/{ti.map_index}"
        song = Song(reply_ref=self._submission().reply_ref(own), since=time.time())
        song = replace(song, in_doubt=ti.try_number > 1)
        if job := JobMemory(context).recall():
            song = replace(song, **job)
            self.log.info("Job %s of an earlier try was accepted: no other is made.", song.job_id)
            return self._wait_for_end(song) if self.wait_for_completion else song.to_xcom(None)
        return self._wait_for_slot(song)

    def submit(self, context: Context, event: dict[str, Any]) -> Any:
        """
        Submit the job, or take up the one that an earlier submission made after all.

        :param event: the trigger's event.
        :return: the job and what became of it, as plain JSON.
        :raises RiffusionRejected: if waiting won't help.
        :raises AirflowException: if the task was told to end meanwhile; its job is cancelled.
        """
        found = _status(event, "found", "granted") == "found"
        song = Song(**event["song"])
        song = replace(song, waited_seconds=round(max(0.0, time.time() - song.since), 3))
        if found:
            song = song.adopt(event["job"], time.time())
            self.log.info("Job %s of an earlier submission is executing: no other is made.", song.job_id)
        else:
            self.log.info("%s", grant_line(event["result"]))
            grant = event["result"]
            song = self._submit(replace(song, grant_id=grant["grant_id"]), grant["user_id"])
        memory = JobMemory(context)
        self._on_its_way = None  # From here on it is the trigger that cancels the job.
        if not self._killed:
            memory.note(song)
        if self._killed:
            memory.forget()
            self._hook().cancel_job(song.job_id, song.reply_ref)
            raise AirflowException(
                f"The task was told to end, so job {song.job_id} is cancelled; a retry submits it anew."
            )
        return self._wait_for_end(song) if self.wait_for_completion else song.to_xcom(None)

    def finish(self, context: Context, event: dict[str, Any]) -> dict[str, Any]:
        """
        Fetch what became of the job.

        :param event: the trigger's event.
        :return: the job and what became of it, as plain JSON.
        :raises RiffusionRejected: if the outcome can't be had.
        :raises AirflowException: if the outcome says that the job failed.
        """
        _status(event, "over")
        song = Song(**event["song"])
        song = song.over(event["job"], event["at"])
        if song.seen:
            self.log.info("Job %s is over after %.1f s.", song.job_id, song.ran_seconds)
        else:
            self.log.warning("No reading showed job %s: it was very short, or is lost.", song.job_id)
        result = self._result(song)
        if reason := failure(result):
            JobMemory(context).forget()
            raise AirflowException(f"Job {song.job_id} failed: {reason}")
        return song.to_xcom(result)

    def on_kill(self) -> None:
        """Cancel the job that is just being submitted; Airflow calls this when the worker is told to end."""
        self._killed = True
        if self._on_its_way is not None:
            song, hook = self._on_its_way
            try:
                hook.cancel_job(song.job_id, song.reply_ref)
            except Exception as error:  # noqa: BLE001 - it would end up where the submission's answer is awaited
                self.log.error("The job of %r can't be cancelled: %s", song.reply_ref, error)

    def _submit(self, song: Song, user_id: str) -> Song:
        """Send the one submission of this grant; what is left unclear goes back to the gate."""
        if song.bad_answers >= READINGS_TO_CONFIRM:
            self._give_back(song, _all_answers_were_bad(song))
        try:
            submission = self._submission()
            hook = self._hook()
            body = submission.body(song.reply_ref, hook.settings.account_field, user_id)
            song = replace(song, submissions=song.submissions + 1, submitted_at=time.time())
            # With a session of its own: it may have to cancel in the middle of the other's request.
            self._on_its_way = song, copy(hook)
            answer = hook.run(submission.endpoint, "POST", body)
        except RiffusionUnavailable as error:
            self._back_to_the_gate(replace(song, bad_answers=0), error, error.retry_after)
        except RiffusionBadResponse as error:
            self._back_to_the_gate(replace(song, bad_answers=song.bad_answers + 1), error)
        except RiffusionRejected as error:
            self._on_its_way = None
            self._give_back(song, error)
        song = replace(song, user_id=user_id).identify(answer)
        self._on_its_way = song, copy(hook)
        self.log.info("Submitted job %s on account %s.", song.job_id, song.user_id)
        return song

    def _back_to_the_gate(
        self, song: Song, error: RiffusionError, retry_after: float | None = None
    ) -> NoReturn:
        """Wait for another slot, and for the job, if it may have been accepted all the same."""
        unclear = self._on_its_way is not None and error.status != _TOO_MANY_REQUESTS
        if not unclear:
            self._on_its_way = None
        self.log.warning("%s %s", error, _LOOK_FOR_IT if unclear else _BACK_TO_ITS_PLACE)
        song = replace(song, setbacks=song.setbacks + 1, in_doubt=song.in_doubt or unclear)
        self._wait_for_slot(song, pause=self._pause(song.setbacks, retry_after))

    def _pause(self, setbacks: int, retry_after: float | None) -> float:
        """Return for how many seconds to leave a service alone that refused or failed."""
        longest = min(_LONGEST_PAUSE, self.poke_interval * (2 ** min(setbacks - 1, 16) - 1))
        asked_for = min(retry_after or 0.0, _LONGEST_RETRY_AFTER)
        return max(asked_for, random.uniform(0, longest))

    def _result(self, song: Song) -> Any:
        if self.result_endpoint is None:
            return None
        if song.job_id is None:
            self.log.warning("The job's id is not known, so its outcome can't be asked for.")
            return None
        endpoint = fill_in(self.result_endpoint, job_id=song.job_id, user_id=song.user_id or "")
        try:
            return scrub(self._hook().run(endpoint))
        except (RiffusionBadResponse, RiffusionRejected, ValueError) as error:
            # To fail in a way that is retried would make the song once more.
            raise RiffusionRejected(
                f"The outcome of job {song.job_id} can't be had from result_endpoint: {error}"
            ) from None
        except RiffusionUnavailable as error:
            pause = self._pause(1, error.retry_after) + self.poke_interval
            if time.time() + pause > song.since + self._limit.seconds:
                self.log.warning("%s The time is up: the song ends without its outcome.", error)
                return None
            self.log.warning("%s The outcome is asked for again later.", error)
            self._wait_for_end(song, ask_again_after=pause)

    def _hook(self) -> RiffusionHook:
        from airflow_riffusion.hooks.riffusion import RiffusionHook

        return RiffusionHook(self._conn_id, retries=_RETRIES)


def _status(event: Any, *expected: str) -> str:
    status = event.get("status") if isinstance(event, dict) else None
    if status == "rejected":
        raise RiffusionRejected(str(event.get("message")))
    if status not in expected:
        raise ValueError(f"the trigger sent an event that is none of its own: {event!r:.200}")
    return str(status)


def _all_answers_were_bad(song: Song) -> RiffusionRejected:
    return RiffusionRejected(
        f"{song.bad_answers} submissions in a row were answered with no JSON, and no reading showed a job of "
        "theirs: check the endpoint, and the base URL in the connection."
    )
