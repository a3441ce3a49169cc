"""Which accounts a connection's service has: asked seldom, and remembered."""

from __future__ import annotations

import logging
from copy import copy
from typing import TYPE_CHECKING

from airflow_riffusion.core.accounts import ConfiguredAccounts, KnownAccounts
from airflow_riffusion.core.backoff import Backoff, capped
from airflow_riffusion.core.capacity import login_needed
from airflow_riffusion.exceptions import RiffusionError, RiffusionUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Set

    from airflow_riffusion.core.capacity import Capacity

log = logging.getLogger(__name__)

# Seconds.
GOOD_FOR_WAITING = 600.0
GOOD_FOR_GIVING_UP = 10.0
GOOD_FOR_READING = 60.0
_RETRIED_AFTER = 60.0


class AccountDirectory:
    """Remembers the accounts of one connection, and limits how often they are asked for."""

    def __init__(
        self,
        conn_id: str,
        ask: Callable[[], ConfiguredAccounts],
        clock: Callable[[], float],
        *,
        are_idle: bool = False,
    ) -> None:
        # Seconds for which the service asked to be left alone when it was asked last.
        self.retry_after = 0.0
        self._conn_id = conn_id
        self._ask = ask
        self._clock = clock
        self._known = KnownAccounts(are_idle=are_idle)
        self._configured: ConfiguredAccounts | None = None
        self._answered_at = float("-inf")
        self._backoff = Backoff(_RETRIED_AFTER, longest=_RETRIED_AFTER)
        self._last_error: RiffusionError | None = None
        self._logged_out: tuple[str, ...] = ()
        self._asked_about: Set[str] = frozenset()

    def ensure_known(self, reading: Capacity) -> None:
        """
        Know the accounts that a reading leaves out; ask about an unknown one as soon as it appears.

        :raises RiffusionError: if none is known at all, and they can't be had.
        """
        unknown = self._known.unknown(reading)
        self.configured(GOOD_FOR_READING if unknown <= self._asked_about else 0.0)
        self._asked_about = unknown
        if self._known.is_empty and self._last_error is not None:
            raise copy(self._last_error)

    def doubt(self) -> None:
        """Let the last answer count no more."""
        self._answered_at = float("-inf")

    def complete(self, reading: Capacity) -> Capacity:
        """Return a reading with the known accounts that it does not list, as full ones."""
        return self._known.complete(reading)

    def configured(self, max_age: float) -> ConfiguredAccounts | None:
        """Return the accounts from an answer at most so many seconds old; None if there is none."""
        if self._configured is not None and self._clock() - self._answered_at <= max_age:
            return self._configured
        if self._clock() < self._backoff.not_before:
            return None
        try:
            answer = self._ask()
        except RiffusionError as error:
            self._failed(error)
            return None
        self._log_logged_out(answer.logged_out)
        self._configured = self._known.learn(answer)
        if self._configured is None:
            self._failed(
                RiffusionUnavailable(
                    f"GET accounts lists none for connection '{self._conn_id}'. It is asked once more."
                )
            )
            return None
        self._backoff.succeeded()
        self._answered_at, self._last_error = self._clock(), None
        return self._configured

    def _failed(self, error: RiffusionError) -> None:
        retry_after = getattr(error, "retry_after", None)
        self.retry_after = capped(retry_after)
        self._backoff.failed(self._clock(), retry_after)
        if str(error) != str(self._last_error):
            log.warning("The service's accounts can't be read: %s", error)
        self._last_error = error

    def _log_logged_out(self, logged_out: tuple[str, ...]) -> None:
        if logged_out and logged_out != self._logged_out:
            log.warning("Connection '%s': %s.", self._conn_id, login_needed(logged_out))
        self._logged_out = logged_out
