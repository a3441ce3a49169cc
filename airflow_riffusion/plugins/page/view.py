"""One connection on the page: its last reading, and when its service may be asked again."""

from __future__ import annotations

import asyncio
import logging
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from airflow_riffusion.compat import CAN_LIST_VARIABLES
from airflow_riffusion.core.backoff import Backoff
from airflow_riffusion.exceptions import RiffusionError
from airflow_riffusion.gate.peer_store import peer_key_prefix
from airflow_riffusion.hooks.riffusion import RiffusionHook
from airflow_riffusion.plugins.page.document import Outcome, Tasks, connection_document
from airflow_riffusion.plugins.page.held_slots import GateHolds
from airflow_riffusion.plugins.page.throttled import Throttled

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable, Collection

    from airflow_riffusion.hooks.settings import ConnectionSettings
    from airflow_riffusion.plugins.page.database import Tables
    from airflow_riffusion.plugins.page.threads import Threads

log = logging.getLogger(__name__)

INTERVAL = 5.0
"""Seconds from a service's answer to the next request, at least; however many browsers are open."""

TIMEOUT = 3.0
"""Seconds that a browser waits for a new answer before it gets the last one."""

_CONNECTION_LASTS = 60.0  # seconds


class _Failure(NamedTuple):
    """A failed request: its error stays until the pause is over, or the connection has changed."""

    settings: ConnectionSettings
    outcome: Outcome


class ConnectionView:
    """One connection, read on demand by a thread, at most every ``INTERVAL``."""

    def __init__(
        self, conn_id: str, clock: Callable[[], float], threads: Threads, timeout: float = TIMEOUT
    ) -> None:
        self.conn_id = conn_id
        self.timeout = timeout
        self._hook = RiffusionHook(conn_id)
        self._clock = clock
        self._latest: Throttled[Outcome] = Throttled(self._read, self._pause_after, clock, threads)
        self._backoff = Backoff(INTERVAL, longest=INTERVAL)
        self._failure: _Failure | None = None
        self._looked_up_at = float("-inf")
        self._separate_triggerers = False
        self._gates = GateHolds()

    @property
    def must_be_kept(self) -> bool:
        """Whether a request or a pause is under way: a new view would send another one too early."""
        is_paused = self._clock() < max(self._latest.due, self._backoff.not_before)
        return is_paused or self._latest.asking_for is not None

    async def document(self, tables: Tables, readable_dags: Collection[str]) -> dict[str, Any]:
        """Return what the page shows of the connection, after a new reading if it is time for one."""
        outcome = await self._latest.latest(self.timeout)
        asking_for = self._latest.asking_for
        # In a thread: Airflow's own pages must not wait for a reading of a hundred thousand accounts.
        return await asyncio.to_thread(
            connection_document,
            self.conn_id,
            outcome,
            self._held_slots(outcome, tables),
            tables.tasks.get(self.conn_id, Tasks(complete=tables.complete)),
            now=datetime.now(UTC),
            asking_for=asking_for,
            next_try=self._next_try(outcome) if asking_for is None else None,
            readable_dags=readable_dags,
        )

    def _held_slots(self, outcome: Outcome | None, tables: Tables) -> Counter[str] | None:
        """Return how many slots the gates hold, by account; None where they don't publish that."""
        if not CAN_LIST_VARIABLES or self._separate_triggerers:
            return None
        if outcome is None or outcome.reading is None or tables.states is None:
            return None
        prefix = peer_key_prefix(self.conn_id)
        states = {name: state for name, state in tables.states.items() if name.startswith(prefix)}
        return self._gates.held_slots(states, outcome.reading, self._clock())

    def _next_try(self, outcome: Outcome | None) -> float | None:
        """Return the seconds until the next request may be sent; None if it may be sent now."""
        due = self._backoff.not_before if self._is_failure(outcome) else self._latest.due
        left = due - self._clock()
        return left if left > 0 else None

    def _read(self) -> Outcome:
        """Take a reading; the last error stays while its pause lasts."""
        tried_at = datetime.now(UTC)
        settings = None
        try:
            settings = self._current_settings()
            if (failure := self._failure) and failure.settings == settings and self._is_paused():
                return failure.outcome
            outcome = Outcome(self._hook.get_complete_capacity(), None, tried_at)
        except RiffusionError as error:
            return self._failed(settings, tried_at, str(error), getattr(error, "retry_after", None))
        except Exception:
            log.exception("The capacity page can't take a reading by connection '%s'.", self.conn_id)
            return self._failed(settings, tried_at, "No reading could be taken: see the API server's log.")
        self._failure = None
        self._backoff.succeeded()
        self._separate_triggerers = settings.separate_triggerers
        return outcome

    def _current_settings(self) -> ConnectionSettings:
        """Look the connection up once a minute, and after every error: it may have been fixed."""
        now, last = self._clock(), self._latest.answer
        if now - self._looked_up_at >= _CONNECTION_LASTS or (last and last.error):
            self._hook.forget_connection()
            self._looked_up_at = now
        return self._hook.settings

    def _failed(
        self,
        settings: ConnectionSettings | None,
        tried_at: datetime,
        error: str,
        retry_after: float | None = None,
    ) -> Outcome:
        last = self._latest.answer
        outcome = Outcome(last.reading if last else None, error, tried_at)
        if settings is not None:
            self._failure = _Failure(settings, outcome)
            self._backoff.failed(self._clock(), retry_after)
        return outcome

    def _pause_after(self, outcome: Outcome | None) -> float:
        """Return the seconds until the next call of ``_read``; a long pause has several."""
        if not self._is_failure(outcome):
            return INTERVAL
        return min(max(0.0, self._backoff.not_before - self._clock()), _CONNECTION_LASTS)

    def _is_failure(self, outcome: Outcome | None) -> bool:
        return self._failure is not None and self._failure.outcome is outcome

    def _is_paused(self) -> bool:
        return self._clock() < self._backoff.not_before
