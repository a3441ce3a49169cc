"""What all sensors of this provider have in common."""

from __future__ import annotations

import time
from abc import abstractmethod
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from airflow.providers.common.compat.sdk import (
    AirflowSensorTimeout,
    AirflowSkipException,
    AirflowTaskTimeout,
    BaseSensorOperator,
)

from airflow_riffusion.compat import is_deferral_timeout, seconds_until_worker_is_gone
from airflow_riffusion.core.arguments import boolean, conn_id, seconds, unless_template
from airflow_riffusion.core.ledger import READINGS_TO_CONFIRM
from airflow_riffusion.core.timeouts import Limit
from airflow_riffusion.exceptions import RiffusionBadResponse, RiffusionUnavailable, checking_arguments

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import timedelta

    from airflow.providers.common.compat.sdk import Context, PokeReturnValue

    from airflow_riffusion.compat import Templated
    from airflow_riffusion.core.capacity import Capacity
    from airflow_riffusion.hooks.riffusion import RiffusionHook

Checked = TypeVar("Checked")

# Seconds.
_PAUSE = 1.0
_LONGEST_RETRY_AFTER = 600.0


class RiffusionSensor(BaseSensorOperator):
    """
    A sensor that goes by the service's readings, in the triggerer or in a worker.

    An unavailable service never ends the wait, only ``timeout`` and ``execution_timeout`` do. A rejection, or
    an argument that can't be what it should, ends it at once, without retries. ``soft_fail`` and
    ``never_fail`` skip the task instead, in every mode, but for ``execution_timeout``.

    :param riffusion_conn_id: the Airflow connection. (templated)
    :param poke_interval: seconds, or a timedelta, between readings.
    :param timeout: seconds, or a timedelta, after which the wait fails; None for Airflow's default.
    :param hold: seconds, or a timedelta; see the sensor.
    :param deferrable: wait in the triggerer; overrides ``mode``.
    """

    ui_color = "#e4f0e8"
    riffusion_conn_id: Any  # text, once it is rendered

    def __init__(
        self,
        *,
        riffusion_conn_id: Templated[str],
        poke_interval: timedelta | float,
        timeout: timedelta | float | None,
        hold: timedelta | float,
        deferrable: bool,
        **kwargs: Any,
    ) -> None:
        if timeout is not None:
            kwargs["timeout"] = seconds("timeout", timeout)  # before 3.3, None is no default
        super().__init__(poke_interval=seconds("poke_interval", poke_interval), **kwargs)
        self.riffusion_conn_id = riffusion_conn_id
        self.hold = seconds("hold", hold, zero=True)
        self.deferrable = boolean("deferrable", deferrable)
        self._began = 0.0
        self._not_before = float("-inf")
        self._own_hook: RiffusionHook | None = None
        unless_template(conn_id, riffusion_conn_id)

    @abstractmethod
    def _look(self, context: Context) -> PokeReturnValue | None:
        """
        Look once.

        :return: what the wait ends with, or None if it goes on.
        :raises RiffusionUnavailable: if it can't look, and waiting helps.
        :raises RiffusionRejected: if waiting won't help.
        """

    def execute(self, context: Context) -> Any:
        """
        Wait here; Airflow's own way, but for what ``soft_fail`` and ``never_fail`` skip when a time is up.

        :return: what the wait ended with.
        :raises AirflowSensorTimeout: if the sensor's own ``timeout`` was up: no retry.
        :raises AirflowTaskTimeout: if it was Airflow's ``execution_timeout``.
        """
        try:
            return super().execute(context)
        except AirflowSkipException as skip:
            # Airflow skips it if the time was up during a look, and fails it if that was between two.
            if isinstance(skip.__cause__, AirflowTaskTimeout):
                raise skip.__cause__ from None
            raise
        except AirflowSensorTimeout:
            with self._soft_fail():  # Airflow heeds soft_fail only
                raise

    def resume_execution(self, next_method: str, next_kwargs: dict[str, Any] | None, context: Context) -> Any:
        """
        Go on in a worker, or say which time was up.

        :raises AirflowSensorTimeout: if it was the sensor's own ``timeout``: no retry.
        :raises AirflowTaskTimeout: if it was Airflow's ``execution_timeout``.
        """
        if is_deferral_timeout(next_method, next_kwargs):
            said = f"Nothing came of the wait within the {self._limit}."
            if self._limit.is_airflows:
                raise AirflowTaskTimeout(said)
            with self._soft_fail():
                raise AirflowSensorTimeout(said)
        return super().resume_execution(next_method, next_kwargs, context)

    def poke(self, context: Context) -> bool | PokeReturnValue:
        """
        Look once, unless the service asked for a longer pause.

        :return: whether the wait is over, with the XCom.
        :raises RiffusionRejected: if waiting won't help.
        """
        self._began = self._began or time.time()  # called outside of a run, by a test or a shell
        if time.monotonic() < self._not_before:
            return False
        try:
            return self._look(context) or False
        except RiffusionUnavailable as error:
            self.log.warning("%s The wait goes on.", error)
            self._leave_alone(error.retry_after or 0.0)
            return False

    def _leave_alone(self, retry_after: float) -> None:
        """Look no sooner than the service asked for, in seconds."""
        self._not_before = time.monotonic() + min(retry_after, _LONGEST_RETRY_AFTER)

    @property
    def _limit(self) -> Limit:
        return Limit.of(self.timeout, self.execution_timeout)

    def _checked(self, arguments: Callable[[], Checked]) -> Checked:
        """Return what the arguments ask for, checked (again): templates are rendered by now."""
        with self._soft_fail(), checking_arguments():
            self.riffusion_conn_id = conn_id(self.riffusion_conn_id)
            return arguments()

    @contextmanager
    def _soft_fail(self) -> Iterator[None]:
        """Skip the task when Airflow would not look at soft_fail and never_fail, as it does during a poke."""
        try:
            yield
        except Exception as error:
            if self.soft_fail or self.never_fail:
                raise AirflowSkipException(f"Skipped instead of failed: {error}") from error
            raise

    def _do_render_template_fields(self, *args: Any, **kwargs: Any) -> None:
        """Render templates; also those of a mapped sensor pass here."""
        with self._soft_fail():
            super()._do_render_template_fields(*args, **kwargs)

    def _hook(self) -> RiffusionHook:
        """Return the hook, which looks the connection up anew: a person may have mended it meanwhile."""
        from airflow_riffusion.hooks.riffusion import RiffusionHook

        if self._own_hook is None or self._own_hook.riffusion_conn_id != self.riffusion_conn_id:
            self._own_hook = RiffusionHook(self.riffusion_conn_id)
        self._own_hook.forget_connection()
        return self._own_hook

    def _readings(self, hook: RiffusionHook) -> Iterator[Capacity]:
        """
        Take up to three readings, a second apart, for as long as one alone can be wrong.

        :param hook: takes them.
        :raises RiffusionUnavailable: if one can't be had.
        :raises RiffusionRejected: if waiting won't help, or none of the three was a capacity answer.
        """
        bad_responses = 0
        for reading_number in range(READINGS_TO_CONFIRM):
            if reading_number:
                time.sleep(_PAUSE)
            try:
                reading = hook.get_capacity()
            except RiffusionBadResponse as error:
                bad_responses += 1
                if bad_responses == READINGS_TO_CONFIRM:
                    raise error.as_rejected() from None
                self.log.warning("%s", error)
            else:
                yield reading

    def _waiting_since(self, context: Context) -> float:
        """Return when the wait began, over all reschedules, in seconds since the epoch."""
        from airflow_riffusion.compat import first_reschedule_date

        first = first_reschedule_date(context) if self.reschedule and "ti" in context else None
        return first.timestamp() if first else self._began

    def _get_next_poke_interval(
        self, started_at: Any, run_duration: Callable[[], float], poke_count: int
    ) -> float:
        """
        Return the seconds until the next poke.

        No sooner than Retry-After asked for, unless the timeout comes first; and rescheduled, not before
        the worker is gone. The next one asks in any case, so that it does not come sooner for a timeout.
        """
        usual: float = super()._get_next_poke_interval(started_at, run_duration, poke_count)
        asked_for = self._not_before - time.monotonic()
        if self.reschedule:
            return max(usual, asked_for, seconds_until_worker_is_gone())
        return max(usual, min(asked_for, self.timeout - run_duration()))
