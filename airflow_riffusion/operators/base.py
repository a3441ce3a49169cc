"""What a song's task waits for in the triggerer: its slot, and its job's end."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, NoReturn

from airflow.providers.common.compat.sdk import AirflowTaskTimeout, BaseOperator

from airflow_riffusion.compat import is_deferral_timeout
from airflow_riffusion.core.arguments import conn_id, plain
from airflow_riffusion.core.request import SlotRequest
from airflow_riffusion.core.submission import Submission
from airflow_riffusion.core.timeouts import Limit
from airflow_riffusion.exceptions import checking_arguments

if TYPE_CHECKING:
    from datetime import timedelta

    from airflow.providers.common.compat.sdk import Context

    from airflow_riffusion.core.song import Song
    from airflow_riffusion.exceptions import RiffusionRejected


class SongOperator(BaseOperator):
    """
    An operator that puts its task aside while it waits.

    It goes on in ``submit`` when it has a slot, and in ``finish`` when its job is over. The arguments are
    those of :class:`~airflow_riffusion.operators.submit.RiffusionSubmitOperator`.
    """

    # Templates, until they are rendered.
    riffusion_conn_id: Any
    json: Any
    endpoint: Any
    slots: Any
    user_ids: Any

    same_account: bool
    hold: float
    poke_interval: float
    timeout: float

    def _wait_for_slot(self, song: Song, *, pause: float = 0.0) -> NoReturn:
        from airflow_riffusion.triggers.submission import SubmissionTrigger

        submission = self._submission()
        with checking_arguments():
            request = SlotRequest.checked(
                slots=self.slots,
                user_ids=submission.among(self.user_ids),
                same_account=self.same_account,
                hold=self.hold,
                priority=self.priority_weight,
                since=song.since,
            )
        self._defer(
            SubmissionTrigger.of(
                self._conn_id,
                request,
                poke_interval=self.poke_interval,
                song=asdict(song),
                pause=pause,
            ),
            "submit",
            self._time_left(song),
        )

    def _wait_for_end(self, song: Song, *, ask_again_after: float | None = None) -> NoReturn:
        from airflow_riffusion.triggers.job import JobTrigger

        self._defer(
            JobTrigger(
                riffusion_conn_id=self._conn_id,
                job_id=song.job_id,
                reply_ref=song.reply_ref,
                hold=self.hold,
                poke_interval=self.poke_interval,
                ask_again_after=ask_again_after,
                cancel_on_kill=True,
                song=asdict(song),
            ),
            "finish",
            # A song that is made must not fail by the time that its outcome takes.
            self._time_left(song) if ask_again_after is None else None,
        )

    def _give_back(self, song: Song, error: RiffusionRejected) -> NoReturn:
        from airflow_riffusion.triggers.submission import GiveBackTrigger

        trigger = GiveBackTrigger(
            riffusion_conn_id=self._conn_id, grant_id=str(song.grant_id), message=str(error)
        )
        self.log.error("%s Its slot is given back.", error)
        self._defer(trigger, "finish")

    def _defer(self, trigger: Any, method_name: str, timeout: timedelta | None = None) -> NoReturn:
        self.defer(trigger=trigger, method_name=method_name, timeout=timeout)
        raise AssertionError("defer() always raises")

    def resume_execution(self, next_method: str, next_kwargs: dict[str, Any] | None, context: Context) -> Any:
        """
        Go on in a worker, or say which time was up.

        :raises AirflowTaskTimeout: if one was: the try fails, and the next one takes up its job.
        """
        if is_deferral_timeout(next_method, next_kwargs):
            raise AirflowTaskTimeout(f"The song was not made within the {self._limit}.")
        return super().resume_execution(next_method, next_kwargs, context)

    @property
    def _limit(self) -> Limit:
        return Limit.of(self.timeout, self.execution_timeout)

    def _time_left(self, song: Song) -> timedelta:
        return self._limit.left(song.since, time.time())

    @property
    def _conn_id(self) -> str:
        """The connection's id, checked (again): templates are rendered by now."""
        with checking_arguments():
            return conn_id(self.riffusion_conn_id)

    def _submission(self) -> Submission:
        """Return what is to be submitted, checked (again): templates are rendered by now."""
        # Outputs of other tasks are fetched here, and only once. If that fails, no argument is wrong.
        with suppress(RecursionError):  # then the check below says so
            self.json, self.user_ids = plain(self.json), plain(self.user_ids)
        with checking_arguments():
            return Submission.checked(self.endpoint, self.json)
