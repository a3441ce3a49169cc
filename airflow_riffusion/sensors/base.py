"""What all sensors of this provider have in common."""

from __future__ import annotations

from abc import abstractmethod
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NoReturn

from airflow.providers.common.compat.sdk import (
    AirflowSensorTimeout,
    AirflowSkipException,
    AirflowTaskTimeout,
    BaseSensorOperator,
)

from airflow_riffusion import clock
from airflow_riffusion.compat import is_deferral_timeout, seconds_until_worker_is_gone
from airflow_riffusion.core.arguments import boolean, conn_id, seconds, unless_template
from airflow_riffusion.core.backoff import Backoff
from airflow_riffusion.core.request import READINGS_TO_CONFIRM
from airflow_riffusion.core.timeouts import Limit
from airflow_riffusion.exceptions import RiffusionBadResponse, RiffusionUnavailable, checking_arguments

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import timedelta

    from airflow.providers.common.compat.sdk import Context, PokeReturnValue
    from airflow.triggers.base import BaseTrigger

    from airflow_riffusion.compat import Templated
    from airflow_riffusion.core.capacity import Capacity
    from airflow_riffusion.hooks.riffusion import RiffusionHook

_PAUSE = 1.0  # seconds


class RiffusionSensor(BaseSensorOperator):
    """
    Base of the sensors: waits for what the service's readings show, in the triggerer or in a worker.

    An unavailable service does not end the wait, only ``timeout`` and ``execution_timeout`` do. A rejection
    or a wrong argument fails the task at once, without retries. ``soft_fail`` and ``never_fail`` skip the
    task instead, in every mode, except after ``execution_timeout``.
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
        self._backoff = Backoff(_PAUSE, longest=_PAUSE)  # poke_interval sets the pace, also after failures
        self._own_hook: RiffusionHook | None = None
        unless_template(conn_id, riffusion_conn_id)

    @abstractmethod
    def _look(self, context: Context) -> PokeReturnValue | None:
        """
        Return what the wait ends with, or None if it goes on.

        Raises RiffusionUnavailable if there is no reading and waiting helps, RiffusionRejected if it doesn't.
        """

    @abstractmethod
    def _wanted(self) -> object:
        """Return what is waited for, checked (again): templates are rendered by now."""

    @abstractmethod
    def _trigger(self) -> BaseTrigger:
        """Return the trigger that waits in the triggerer."""

    def execute(self, context: Context) -> Any:
        """
        Wait, in the triggerer or in this worker.

        :return: what the wait ended with; see the sensor.
        :raises AirflowSensorTimeout: if the sensor's own ``timeout`` was reached: no retry.
        :raises AirflowTaskTimeout: if it was Airflow's ``execution_timeout``.
        """
        self._began = self._now()
        self._check_arguments()
        if self.deferrable:
            self._wait_in_triggerer()
        try:
            return super().execute(context)
        except AirflowSkipException as skip:
            # Airflow skips the task if the time was up during a poke, but fails it if that was between two.
            if isinstance(skip.__cause__, AirflowTaskTimeout):
                raise skip.__cause__ from None
            raise
        except AirflowSensorTimeout:
            with self._soft_fail():  # Airflow knows soft_fail here, but not never_fail
                raise

    def resume_execution(self, next_method: str, next_kwargs: dict[str, Any] | None, context: Context) -> Any:
        """
        Go on in a worker, or fail and name the timeout that was reached.

        :raises AirflowSensorTimeout: if it was the sensor's own ``timeout``: no retry.
        :raises AirflowTaskTimeout: if it was Airflow's ``execution_timeout``.
        """
        if is_deferral_timeout(next_method, next_kwargs):
            message = f"The wait did not end within the {self._limit}."
            if self._limit.is_airflows:
                raise AirflowTaskTimeout(message)
            with self._soft_fail():
                raise AirflowSensorTimeout(message)
        return super().resume_execution(next_method, next_kwargs, context)

    def poke(self, context: Context) -> bool | PokeReturnValue:
        """
        Look once, unless the service asked for a longer pause.

        :return: the XCom if the wait is over, else False.
        :raises RiffusionRejected: if waiting won't help.
        """
        self._began = self._began or self._now()  # called outside of a run, by a test or a shell
        if clock.monotonic() < self._backoff.not_before:
            return False
        try:
            return self._look(context) or False
        except RiffusionUnavailable as error:
            self.log.warning("%s The wait goes on.", error)
            self._failed(error.retry_after)
            return False

    def _failed(self, retry_after: float | None = None, *, bad_answer: bool = False) -> None:
        """Count a failed request, and honour its Retry-After (seconds)."""
        self._backoff.failed(clock.monotonic(), retry_after, bad_answer=bad_answer)

    @staticmethod
    def _now() -> float:
        """Return the seconds since the epoch."""
        return clock.epoch()

    @property
    def _limit(self) -> Limit:
        return Limit.of(self.timeout, self.execution_timeout)

    def _check_arguments(self) -> None:
        """Check the arguments (again): templates are rendered by now."""
        with self._soft_fail(), checking_arguments():
            self.riffusion_conn_id = conn_id(self.riffusion_conn_id)
            self._wanted()

    def _wait_in_triggerer(self) -> NoReturn:
        self.defer(
            trigger=self._trigger(),
            method_name="execute_complete",
            timeout=self._limit.left(self._began, self._now()),
        )
        raise AssertionError("defer() always raises")

    @contextmanager
    def _soft_fail(self) -> Iterator[None]:
        """Skip the task instead of failing it where Airflow itself ignores soft_fail and never_fail."""
        try:
            yield
        except Exception as error:
            if self.soft_fail or self.never_fail:
                raise AirflowSkipException(f"Skipped instead of failed: {error}") from error
            raise

    def _do_render_template_fields(self, *args: Any, **kwargs: Any) -> None:
        """Render the templates; Airflow calls this for mapped sensors, too."""
        with self._soft_fail():
            super()._do_render_template_fields(*args, **kwargs)

    def _hook(self) -> RiffusionHook:
        """Return the hook; it looks the connection up anew in each poke, for it may have been changed."""
        from airflow_riffusion.hooks.riffusion import RiffusionHook

        if self._own_hook is None or self._own_hook.riffusion_conn_id != self.riffusion_conn_id:
            self._own_hook = RiffusionHook(self.riffusion_conn_id)
        self._own_hook.forget_connection()
        return self._own_hook

    def _readings(self, hook: RiffusionHook) -> Iterator[Capacity]:
        """Take up to three readings, a second apart, as a single one may be wrong."""
        for reading_number in range(READINGS_TO_CONFIRM):
            if reading_number:
                clock.sleep(_PAUSE)
            try:
                reading = hook.get_capacity()
            except RiffusionBadResponse as error:
                self._failed(bad_answer=True)
                if self._backoff.gives_up:
                    raise error.as_rejected() from None
                self.log.warning("%s", error)
            else:
                self._backoff.succeeded()
                yield reading

    def _waiting_since(self, context: Context) -> float:
        """Return when the wait began, before the first reschedule, in seconds since the epoch."""
        from airflow_riffusion.compat import first_reschedule_date

        first = first_reschedule_date(context) if self.reschedule and "ti" in context else None
        return first.timestamp() if first else self._began

    def _get_next_poke_interval(
        self, started_at: Any, run_duration: Callable[[], float], poke_count: int
    ) -> float:
        """
        Return the seconds until the next poke, which is not before Retry-After is over.

        In mode ``poke``, the timeout may come first. In mode ``reschedule`` it does not, as the next poke
        sends a request in any case; and the task is not run again before its worker is gone.
        """
        usual: float = super()._get_next_poke_interval(started_at, run_duration, poke_count)
        asked_for = self._backoff.not_before - clock.monotonic()
        if self.reschedule:
            return max(usual, asked_for, seconds_until_worker_is_gone())
        return max(usual, min(asked_for, self.timeout - run_duration()))
