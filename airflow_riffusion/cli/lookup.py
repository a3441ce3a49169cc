"""Why Airflow found no connection: it says "isn't defined" also if it could not look."""

from __future__ import annotations

from airflow.configuration import ensure_secrets_loaded
from airflow.providers.common.compat.sdk import AirflowException
from cryptography.fernet import InvalidToken
from sqlalchemy.exc import DBAPIError

from airflow_riffusion.exceptions import RiffusionError, RiffusionRejected, RiffusionUnavailable


def explain_not_found(error: RiffusionError, conn_id: str) -> RiffusionError:
    """Ask each secrets backend again, and return what went wrong; the same error if nothing did."""
    for backend in ensure_secrets_loaded():
        where = f"The connection '{conn_id}' can't be looked up in {type(backend).__name__}"
        try:
            connection = backend.get_connection(conn_id=conn_id)
            if connection is not None:
                connection.get_uri()  # decrypts it
                return RiffusionUnavailable(f"The connection '{conn_id}' could not be looked up; now it can.")
        except (AirflowException, InvalidToken, KeyError, TypeError, ValueError) as failure:
            # Without its message, which may quote the connection, and so the API token.
            return RiffusionRejected(
                f"{where} ({type(failure).__name__}): check that it is valid JSON or a valid URI, and that "
                "fernet_key is the one it was stored with."
            )
        except Exception as failure:  # noqa: BLE001 - every secrets backend has errors of its own
            said = str(failure.orig) if isinstance(failure, DBAPIError) else type(failure).__name__
            return RiffusionUnavailable(f"{where} ({said}): check that it is up, and a database migrated.")
    return error
