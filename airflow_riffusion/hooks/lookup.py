"""Looking an Airflow connection up, with errors that say what to fix."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from airflow.providers.common.compat.connection import get_async_connection
from airflow.providers.common.compat.sdk import AirflowNotFoundException
from asgiref.sync import sync_to_async

from airflow_riffusion.exceptions import RiffusionConnectionNotFound, RiffusionUnavailable
from airflow_riffusion.hooks.settings import ConnectionSettings

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow.providers.common.compat.sdk import Connection

    from airflow_riffusion.exceptions import RiffusionError

    GetConnection = Callable[[str], Connection]


def look_up(conn_id: str, get_connection: GetConnection) -> ConnectionSettings:
    """Return a connection's settings, checked."""
    try:
        connection = get_connection(conn_id)
    except Exception as error:  # every secrets backend has errors of its own
        raise _error_of_lookup(conn_id, error) from error
    return ConnectionSettings.of(conn_id, connection)


async def alook_up(conn_id: str, get_connection: GetConnection) -> ConnectionSettings:
    """Return a connection's settings, checked, without blocking the event loop."""
    try:
        try:
            connection = await get_async_connection(conn_id)
        except AirflowNotFoundException:
            # `airflow dags test` says so of every connection in the database, because its stand-in for the
            # supervisor can't be asked asynchronously (3.3.2: InProcessSupervisorComms has no asend).
            connection = await sync_to_async(get_connection)(conn_id)
    except Exception as error:
        raise _error_of_lookup(conn_id, error) from error
    return ConnectionSettings.of(conn_id, connection)


def _error_of_lookup(conn_id: str, error: Exception) -> RiffusionError:
    if not isinstance(error, AirflowNotFoundException):
        return RiffusionUnavailable(f"The connection '{conn_id}' can't be looked up: {error!r}")
    fix = "create it under Admin → Connections"
    if (variable := f"AIRFLOW_CONN_{conn_id.upper()}") in os.environ:
        # Airflow's error does not say that it could not read the variable.
        fix = f"the variable {variable} is set, but holds no connection that Airflow reads; correct it"
    return RiffusionConnectionNotFound(f"The connection '{conn_id}' does not exist ({error}): {fix}.")
