"""One connection that the page shows, and how often its service is asked."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from airflow_riffusion.compat import CAN_LIST_VARIABLES
from airflow_riffusion.core.backoff import capped
from airflow_riffusion.exceptions import RiffusionError
from airflow_riffusion.gate.peer_store import peer_key_prefix
from airflow_riffusion.hooks.riffusion import RiffusionHook
from airflow_riffusion.plugins.page.held import HeldByGates
from airflow_riffusion.plugins.page.pace import Paced
from airflow_riffusion.plugins.page.reading import Reading
from airflow_riffusion.plugins.page.view import Outcome, Tasks, card

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable, Collection

    from airflow_riffusion.hooks.settings import ConnectionSettings
    from airflow_riffusion.plugins.page.database import Tables
    from airflow_riffusion.plugins.page.threads import Threads

log = logging.getLogger(__name__)

INTERVAL = 5.0
"""Seconds from an answer of the service until the next request, at the least, however many look."""

PATIENCE = 3.0
"""Seconds that who looks waits for something new."""

# All in seconds.
_CONNECTION_LASTS = 60.0


@dataclass(frozen=True, slots=True)
class _Pause:
    """Until when a service is left alone after an error; only as long as the connection is the same."""

    settings: ConnectionSettings
    until: float
    outcome: Outcome


class WatchedConnection:
    """
    One connection, and the last reading of it.

    :param conn_id: the connection.
    :param clock: seconds on any clock that never goes back.
    :param threads: where the service is asked.
    """

    def __init__(self, conn_id: str, clock: Callable[[], float], threads: Threads) -> None:
        self.conn_id = conn_id
        self._hook = RiffusionHook(conn_id)
        self._clock = clock
        self._looked_up_at = float("-inf")
        self._pause: _Pause | None = None
        self._held = HeldByGates()
        self._separate_triggerers = False
        self._outcome: Paced[Outcome] = Paced(self._read, self._pause_after, clock, threads)

    @property
    def must_be_kept(self) -> bool:
        """Whether it is being asked or may not be asked yet, which would be forgotten with it."""
        paused_until = self._pause.until if self._pause else float("-inf")
        return self._outcome.asking_for is not None or self._clock() < max(self._outcome.due, paused_until)

    async def card(self, tables: Tables, readable_dags: Collection[str]) -> dict[str, Any]:
        """
        Return what the page shows.

        :param tables: what Airflow's database says.
        :param readable_dags: those whose task instances the user may read.
        """
        outcome = await self._outcome.latest(PATIENCE)
        asking_for = self._outcome.asking_for
        return card(
            self.conn_id,
            outcome,
            self._held_slots(outcome, tables),
            tables.tasks.get(self.conn_id, Tasks(complete=tables.complete)),
            now=datetime.now(UTC),
            asking_for=asking_for,
            next_try=self._next_try(outcome) if asking_for is None else None,
            readable_dags=readable_dags,
        )

    def _next_try(self, outcome: Outcome | None) -> float | None:
        """Return the seconds until the next request may be sent; None if one may be."""
        pause = self._pause
        due = pause.until if pause and pause.outcome is outcome else self._outcome.due
        left = due - self._clock()
        return left if left > 0 else None

    def _held_slots(self, outcome: Outcome | None, tables: Tables) -> Counter[str] | None:
        """Return what the gates hold; None where they don't say so."""
        if not CAN_LIST_VARIABLES or self._separate_triggerers:
            return None
        if outcome is None or outcome.reading is None or tables.states is None:
            return None
        prefix, now = peer_key_prefix(self.conn_id), self._clock()
        of_gates = {name: state for name, state in tables.states.items() if name.startswith(prefix)}
        self._held.observe(of_gates, now)
        return self._held.slots(outcome.reading, now)

    def _read(self) -> Outcome:
        tried_at = datetime.now(UTC)
        settings = None
        try:
            settings = self._settings()
            pause = self._pause
            if pause and pause.settings == settings and self._clock() < pause.until:
                self._looked_up_at = float("-inf")
                return pause.outcome
            outcome = Outcome(Reading.of(self._hook.get_complete_capacity()), None, tried_at)
        except RiffusionError as error:
            return self._failed(settings, tried_at, str(error), getattr(error, "retry_after", None))
        except Exception:
            log.exception("The capacity page can't take a reading by connection '%s'.", self.conn_id)
            return self._failed(settings, tried_at, "No reading could be taken: see the API server's log.")
        self._pause = None
        self._separate_triggerers = settings.separate_triggerers
        return outcome

    def _settings(self) -> ConnectionSettings:
        now = self._clock()
        if now - self._looked_up_at >= _CONNECTION_LASTS:
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
        before = self._outcome.answer.reading if self._outcome.answer else None
        outcome = Outcome(before, error, tried_at)
        if settings is not None:
            pause = max(INTERVAL, capped(retry_after))
            self._pause = _Pause(settings, self._clock() + pause, outcome)
        # A person may mend the connection meanwhile.
        self._looked_up_at = float("-inf")
        return outcome

    def _pause_after(self, outcome: Outcome | None) -> float:
        """Return when to look again; in a long pause at the connection only, which may have been mended."""
        if self._pause is None or self._pause.outcome is not outcome:
            return INTERVAL
        return min(max(0.0, self._pause.until - self._clock()), _CONNECTION_LASTS)
