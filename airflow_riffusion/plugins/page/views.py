"""All connections on the page, from what the services, the gates and Airflow's database say."""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from airflow_riffusion.plugins.page.database import (
    UNREAD,
    DatabaseReader,
    Tables,
    conn_ids_in_environment,
    has_teams,
)
from airflow_riffusion.plugins.page.threads import Threads
from airflow_riffusion.plugins.page.throttled import Throttled
from airflow_riffusion.plugins.page.view import INTERVAL, TIMEOUT, ConnectionView

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

log = logging.getLogger(__name__)

_DATABASE_HANGS = 10.0  # seconds

# The database has a thread of its own besides: services that hang don't block it.
_MOST_REQUESTS_AT_ONCE = 32


class ConnectionViews:
    """All that the page shows, shared by all browsers."""

    def __init__(
        self,
        read_tables: Callable[[], Tables] | None = None,
        clock: Callable[[], float] = time.monotonic,
        timeout: float = TIMEOUT,
    ) -> None:
        self.timeout = timeout
        self._read_tables = read_tables or DatabaseReader().read_airflow
        self._clock = clock
        self._tables: Throttled[Tables] = Throttled(self._try_to_read_tables, lambda _: INTERVAL, clock)
        self._threads = Threads(_MOST_REQUESTS_AT_ONCE)
        self._views: dict[str, ConnectionView] = {}

    async def tables(self) -> Tables:
        """Return the last state of Airflow's database, with an error if the database hangs."""
        tables = await self._tables.latest(self.timeout)
        asking_for = self._tables.asking_for or 0.0
        if asking_for > _DATABASE_HANGS:
            error = f"Airflow's database has not answered for {asking_for:.0f} s."
            return replace(tables or UNREAD, error=error)
        return tables or replace(UNREAD, error="Airflow's database has not answered yet.")

    def conn_ids(self, tables: Tables) -> list[str]:
        """List the connections that can be shown."""
        # The connections of a secrets backend can't be listed. They are shown while tasks wait for them, but
        # not if there are teams: a connection of a secrets backend may belong to one.

        # A template is no connection id. The triggerer renders a sensor's connection for itself alone: the
        # table keeps the template for as long as the task waits.
        of_tasks = () if has_teams() else (conn_id for conn_id in tables.tasks if "{" not in conn_id)
        known = {*tables.conn_ids, *of_tasks}
        spelled_alike = {conn_id.lower() for conn_id in known}
        return sorted(known.union(set(self._in_environment) - spelled_alike))

    async def documents(
        self, conn_ids: Iterable[str], tables: Tables, readable_dags: Collection[str]
    ) -> list[dict[str, Any]]:
        """Return a document for each connection that the user may read."""
        # Another request may have newer tables, with more connections than these.
        known = set(self.conn_ids(tables))
        self._views = {
            conn_id: view for conn_id, view in self._views.items() if conn_id in known or view.must_be_kept
        }
        views = [self._view(conn_id) for conn_id in conn_ids]
        return list(await asyncio.gather(*(view.document(tables, readable_dags) for view in views)))

    def _view(self, conn_id: str) -> ConnectionView:
        if conn_id not in self._views:
            self._views[conn_id] = ConnectionView(conn_id, self._clock, self._threads, self.timeout)
        return self._views[conn_id]

    @cached_property
    def _in_environment(self) -> tuple[str, ...]:
        return conn_ids_in_environment()

    def _try_to_read_tables(self) -> Tables:
        try:
            return self._read_tables()
        except Exception:
            log.exception("The capacity page can't read Airflow's database.")
            error = "Airflow's database can't be read: see the API server's log."
            return replace(self._tables.answer or UNREAD, error=error)
