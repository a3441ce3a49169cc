"""Brings together what the service, the gates and Airflow's database say of each connection."""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from airflow_riffusion.plugins.page.database import (
    UNREAD,
    Onlooker,
    Tables,
    conn_ids_in_environment,
    has_teams,
)
from airflow_riffusion.plugins.page.pace import Paced
from airflow_riffusion.plugins.page.threads import Threads
from airflow_riffusion.plugins.page.watched import INTERVAL, PATIENCE, WatchedConnection

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

log = logging.getLogger(__name__)

_DATABASE_HANGS = 10.0  # seconds

# The database has a thread of its own besides: services that hang don't keep it from being looked at.
_MOST_ASKED_AT_ONCE = 32


class Cards:
    """
    All that the page shows, for as many browsers as look at it.

    :param look: blocks, and says what is in Airflow's database.
    :param clock: seconds on any clock that never goes back.
    """

    def __init__(
        self, look: Callable[[], Tables] | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._look = look or Onlooker().look_at_airflow
        self._clock = clock
        self._tables: Paced[Tables] = Paced(self._look_at_tables, lambda _: INTERVAL, clock)
        self._threads = Threads(_MOST_ASKED_AT_ONCE)
        self._watched: dict[str, WatchedConnection] = {}

    @cached_property
    def _in_environment(self) -> tuple[str, ...]:
        return conn_ids_in_environment()

    @cached_property
    def _has_teams(self) -> bool:
        return has_teams()

    async def look(self) -> Tables:
        """Return what Airflow's database says; the last that it said, if it takes long."""
        tables = await self._tables.latest(PATIENCE)
        asking_for = self._tables.asking_for or 0.0
        if asking_for > _DATABASE_HANGS:
            error = f"Airflow's database has not answered for {asking_for:.0f} s."
            return replace(tables or UNREAD, error=error)
        return tables or replace(UNREAD, error="Airflow's database has not answered yet.")

    def conn_ids(self, tables: Tables) -> list[str]:
        """
        List the connections that can be shown.

        Those of a secrets backend can't be listed by anybody; they are shown while tasks wait for them. But
        where there are teams nobody can tell whose they are.

        :param tables: what the database says.
        """
        # A sensor that starts in the triggerer may be given its connection as a template. The triggerer
        # renders it for itself alone: the table has the template for as long as the task waits.
        waited_for = (conn_id for conn_id in tables.tasks if "{" not in conn_id and not self._has_teams)
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
        # What others look at may be newer than these tables.
        known = set(self.conn_ids(tables))
        self._watched = {
            conn_id: each for conn_id, each in self._watched.items() if conn_id in known or each.must_be_kept
        }
        watched = [self._watch(conn_id) for conn_id in conn_ids]
        return list(await asyncio.gather(*(each.card(tables, readable_dags) for each in watched)))

    def _watch(self, conn_id: str) -> WatchedConnection:
        if conn_id not in self._watched:
            self._watched[conn_id] = WatchedConnection(conn_id, self._clock, self._threads)
        return self._watched[conn_id]

    def _look_at_tables(self) -> Tables:
        try:
            return self._look()
        except Exception:
            log.exception("The capacity page can't read Airflow's database.")
            before = self._tables.answer or UNREAD
            return replace(before, error="Airflow's database can't be read: see the API server's log.")
