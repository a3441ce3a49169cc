"""Why Airflow found no connection: it says "isn't defined" as well if it could not look."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow.configuration import ensure_secrets_loaded
from airflow.providers.common.compat.sdk import AirflowException
from airflow.secrets.environment_variables import EnvironmentVariablesBackend
from airflow.secrets.metastore import MetastoreBackend
from airflow.utils.session import create_session
from sqlalchemy import inspect
from sqlalchemy.exc import SQLAlchemyError

from airflow_riffusion.cli.streams import on_one_line
from airflow_riffusion.exceptions import RiffusionError, RiffusionRejected, RiffusionUnavailable

if TYPE_CHECKING:
    from airflow.secrets import BaseSecretsBackend

    from airflow_riffusion.exceptions import RiffusionConnectionNotFound


def explained(error: RiffusionConnectionNotFound, conn_id: str) -> RiffusionError:
    """
    Ask each of Airflow's secrets backends once more, whose failures Airflow itself keeps quiet about.

    :param error: what says that there is no such connection.
    :param conn_id: the connection.
    :return: what is the matter: the same error if there is no such connection indeed.
    """
    for backend in ensure_secrets_loaded():
        try:
            connection = backend.get_connection(conn_id=conn_id)
            if connection is None:
                continue
            connection.get_uri()  # reads what is encrypted
        except Exception as failure:  # noqa: BLE001 - every secrets backend has errors of its own
            return _failed(backend, conn_id, failure)
        return RiffusionUnavailable(f"The connection '{conn_id}' could not be looked up; now it can.")
    return error


def _failed(backend: BaseSecretsBackend, conn_id: str, failure: Exception) -> RiffusionError:
    if isinstance(backend, EnvironmentVariablesBackend):
        # Without the failure: it may quote what the variable holds, and so the API token.
        return RiffusionRejected(
            f"The connection '{conn_id}' can't be read: AIRFLOW_CONN_{conn_id.upper()} holds neither valid "
            "JSON nor a valid URI (where the token's ':' is written %3A)."
        )
    if not isinstance(backend, MetastoreBackend):
        # Not in its own words: they may quote what is stored, and so the API token.
        name, kind = type(backend).__name__, type(failure).__name__
        if isinstance(failure, AirflowException | ValueError | TypeError | KeyError):
            return RiffusionRejected(
                f"What the secrets backend {name} has for connection '{conn_id}' can't be read ({kind}): "
                "neither valid JSON nor a valid URI?"
            )
        return RiffusionUnavailable(
            f"The secrets backend {name} can't be asked for connection '{conn_id}' ({kind})."
        )
    if not isinstance(failure, SQLAlchemyError | OSError):
        return RiffusionRejected(
            f"The connection '{conn_id}' is stored, but can't be read ({type(failure).__name__}): is "
            "Airflow's fernet_key the one it was stored with?"
        )
    try:
        with create_session() as session:
            migrated = inspect(session.get_bind()).has_table("connection")
    except Exception as second:  # noqa: BLE001 - every driver has errors of its own
        failure, migrated = second, True
    if migrated:
        return RiffusionUnavailable(f"Airflow's database can't be asked: {_first_line(failure)}")
    return RiffusionRejected(
        f"The connection '{conn_id}' does not exist in the environment, and Airflow's database has no "
        "tables: check sql_alchemy_conn, or run `airflow db migrate`."
    )


def _first_line(failure: BaseException) -> str:
    """Return what a failure says, without the statement and the links that SQLAlchemy adds."""
    said = str(getattr(failure, "orig", None) or failure).strip()
    return on_one_line(said.partition("\n")[0]) or type(failure).__name__
