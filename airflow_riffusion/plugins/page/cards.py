"""Brings together what the service, the gates and Airflow's database say of each connection."""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import replace
from datetime import UTC, datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any

from airflow_riffusion.exceptions import RiffusionError
from airflow_riffusion.hooks.riffusion import RiffusionHook
from airflow_riffusion.plugins.page.database import Onlooker, Tables, conn_ids_in_environment
from airflow_riffusion.plugins.page.held import HeldByGates
from airflow_riffusion.plugins.page.pace import Paced
from airflow_riffusion.plugins.page.view import Outcome, Tasks, card
from airflow_riffusion.triggers.board import notice_prefix
from airflow_riffusion.versions import CAN_LIST_VARIABLES

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable, Collection, Iterable

log = logging.getLogger(__name__)

INTERVAL = 5.0
"""Seconds from one request to the service until the next, at the least, however many look."""

# All in seconds.
_PATIENCE = 3.0
_CONNECTION_LASTS = 60.0
_LONGEST_PAUSE = 600.0


class Cards:
    """
    All that the page shows, for as many browsers as look at it.

    :param look: blocks, and says what is in Airflow's database.
    """

    def __init__(self, look: Callable[[], Tables] | None = None) -> None:
        self._look = look or Onlooker().look_at_airflow
        self._tables: Paced[Tables] = Paced(self._look_at_tables, lambda _: INTERVAL)
        self._watched: dict[str, _Connection] = {}

    @cached_property
    def _in_environment(self) -> tuple[str, ...]:
        return conn_ids_in_environment()

    async def look(self) -> Tables:
        """Return what Airflow's database says; the last that it said, if it takes long."""
        return await self._tables.latest(_PATIENCE) or Tables(
            error="Airflow's database has not answered yet."
        )

    def conn_ids(self, tables: Tables) -> list[str]:
        """
        List the connections that can be shown.

        Those of a secrets backend can't be listed by anybody; they are shown while tasks wait for them.

        :param tables: what the database says.
        """
        # The triggerer has yet to render what a sensor that starts there was given as a template.
        waited_for = (conn_id for conn_id in tables.tasks if "{" not in conn_id)
        known = {*tables.conn_ids, *waited_for}
        spelled_alike = {conn_id.lower() for conn_id in known}
        return sorted(known.union(set(self._in_environment) - spelled_alike))

    async def cards(
        self, conn_ids: Iterable[str], tables: Tables, readable_dags: Collection[str]
    ) -> list[dict[str, Any]]:
        """
        Return one document for each connection, of which none waits for another one's service.

        :param conn_ids: those that the user may read.
        :param tables: what the database says.
        :param readable_dags: those whose task instances the user may read.
        """
        self._watched = {id_: each for id_, each in self._watched.items() if id_ in self.conn_ids(tables)}
        watched = [self._watched.setdefault(conn_id, _Connection(conn_id)) for conn_id in conn_ids]
        return list(await asyncio.gather(*(each.card(tables, readable_dags) for each in watched)))

    def _look_at_tables(self) -> Tables:
        try:
            return self._look()
        except Exception:
            log.exception("The capacity page can't read Airflow's database.")
            before = self._tables.answer or Tables()
            return replace(before, error="Airflow's database can't be read: see the API server's log.")


class _Connection:
    """One connection, and the last reading of it."""

    def __init__(self, conn_id: str) -> None:
        self.conn_id = conn_id
        self._hook = RiffusionHook(conn_id)
        self._looked_up_at = float("-inf")
        self._held = HeldByGates()
        self._separate_triggerers = False
        self._outcome: Paced[Outcome] = Paced(self._read, _pause_after)

    async def card(self, tables: Tables, readable_dags: Collection[str]) -> dict[str, Any]:
        outcome = await self._outcome.latest(_PATIENCE)
        return card(
            self.conn_id,
            outcome,
            self._held_slots(outcome, tables),
            tables.tasks.get(self.conn_id, Tasks(complete=tables.complete)),
            now=datetime.now(UTC),
            asking_for=self._outcome.asking_for,
            readable_dags=readable_dags,
        )

    def _held_slots(self, outcome: Outcome | None, tables: Tables) -> Counter[str] | None:
        """Return what the gates hold; None where they don't say so."""
        if not CAN_LIST_VARIABLES or self._separate_triggerers:
            return None
        if outcome is None or outcome.capacity is None:
            return None
        prefix, now = notice_prefix(self.conn_id), time.monotonic()
        of_gates = {name: notice for name, notice in tables.notices.items() if name.startswith(prefix)}
        self._held.observe(of_gates, now)
        return self._held.slots(outcome.capacity, now)

    def _read(self) -> Outcome:
        before = self._outcome.answer.capacity if self._outcome.answer else None
        tried_at = datetime.now(UTC)
        if time.monotonic() - self._looked_up_at > _CONNECTION_LASTS:
            self._hook.forget_connection()
            self._looked_up_at = time.monotonic()
        try:
            capacity = self._hook.get_capacity()
            self._separate_triggerers = self._hook.settings.separate_triggerers
            return Outcome(capacity, None, tried_at)
        except RiffusionError as error:
            said, retry_after = str(error), getattr(error, "retry_after", None) or 0.0
        except Exception:
            log.exception("The capacity page can't take a reading by connection '%s'.", self.conn_id)
            said, retry_after = "No reading could be taken: see the API server's log.", 0.0
        # A person may mend the connection meanwhile.
        self._looked_up_at = float("-inf")
        return Outcome(before, said, tried_at, retry_after)


def _pause_after(outcome: Outcome) -> float:
    return min(max(INTERVAL, outcome.retry_after), _LONGEST_PAUSE)
