"""
The capacity page's web application, which Airflow's API server mounts.

All of it is for users who may read connections. There is no ``from __future__ import annotations`` here:
FastAPI would look for some of Airflow's annotations in the wrong module.
"""

import logging
from base64 import b64encode
from collections.abc import Iterable
from hashlib import sha256
from importlib.resources import files

from airflow.api_fastapi.app import get_auth_manager
from airflow.api_fastapi.auth.managers.models.base_user import BaseUser
from airflow.api_fastapi.auth.managers.models.resource_details import (
    ConnectionDetails,
    DagAccessEntity,
    DagDetails,
)
from airflow.api_fastapi.core_api.security import GetUserDep, requires_access_connection
from airflow.models import DagModel
from fastapi import Depends, FastAPI, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import HTMLResponse, JSONResponse, Response
from starlette.exceptions import HTTPException

from airflow_riffusion.plugins.page.database import Tables, has_teams
from airflow_riffusion.plugins.page.view import INTERVAL
from airflow_riffusion.plugins.page.views import ConnectionViews

log = logging.getLogger(__name__)

MEDIA_TYPES = {
    "card.js": "text/javascript",
    "history.js": "text/javascript",
    "page.css": "text/css",
    "page.js": "text/javascript",
    "text.js": "text/javascript",
    "theme.js": "text/javascript",
}
"""The page's files and their types."""

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'self'"
    ),
    "Cache-Control": "no-store",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
}
"""The headers of every answer."""

_STATIC = files("airflow_riffusion.plugins.page") / "static"
_REFUSAL = (_STATIC / "refused.html").read_text("utf-8")

# The refusal has a style of its own: the page's style sheet is only for users who may read connections.
_STYLE_HASH = b64encode(
    sha256(_REFUSAL.partition("<style>")[2].partition("</style>")[0].encode()).digest()
).decode()

_REASONS = {
    401: "You are not logged in. Log in to Airflow, and open this page again.",
    403: "This page is for users who may read connections. Ask your Airflow administrator for access.",
}


def create_app(views: ConnectionViews | None = None) -> FastAPI:
    """Return the application."""
    app = FastAPI(
        dependencies=[Depends(requires_access_connection(method="GET"))],
        openapi_url=None,
        exception_handlers={HTTPException: _refuse},
    )
    views = views or ConnectionViews()
    readable_dags = _ReadableDags()

    @app.get("/")
    def page() -> Response:
        return HTMLResponse((_STATIC / "page.html").read_bytes(), headers=HEADERS)

    @app.get("/cards")
    async def cards(user: GetUserDep) -> Response:
        tables = await views.tables()
        conn_ids = await run_in_threadpool(_readable, views.conn_ids(tables), user)
        dag_ids = await run_in_threadpool(readable_dags, _dag_ids(tables, conn_ids), user)
        document = {
            "interval_seconds": INTERVAL,
            "error": tables.error,
            "cards": await views.documents(conn_ids, tables, dag_ids),
        }
        return JSONResponse(document, headers=HEADERS)

    @app.get("/{name}")
    def file(name: str) -> Response:
        if name not in MEDIA_TYPES:
            raise HTTPException(404)
        return Response((_STATIC / name).read_bytes(), headers=HEADERS, media_type=MEDIA_TYPES[name])

    return app


async def _refuse(request: Request, error: HTTPException) -> Response:
    """Answer an error: a page for a browser, JSON for anything else."""
    headers = {**(error.headers or {}), **HEADERS}
    if "text/html" not in request.headers.get("Accept", ""):
        return JSONResponse({"detail": error.detail}, error.status_code, headers)
    reason = _REASONS.get(error.status_code, "There is no such page.")
    headers["Content-Security-Policy"] = (
        f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; frame-ancestors 'self'"
    )
    return HTMLResponse(_REFUSAL.replace("{reason}", reason), error.status_code, headers)


def _readable(conn_ids: list[str], user: BaseUser) -> list[str]:
    """Return the connections that a user may read. None of them belongs to a team."""

    def may_read(conn_id: str) -> bool:
        details = ConnectionDetails(conn_id=conn_id)
        return get_auth_manager().is_authorized_connection(method="GET", details=details, user=user)

    return [conn_id for conn_id in conn_ids if may_read(conn_id)]


def _dag_ids(tables: Tables, conn_ids: Iterable[str]) -> set[str]:
    """Return the DAGs of the tasks that the page would name."""
    shown = (tables.tasks[conn_id].longest for conn_id in conn_ids if conn_id in tables.tasks)
    return {task.dag_id for longest in shown for task in longest}


class _ReadableDags:
    """Returns the DAGs whose task instances a user may read. If that fails: none, and it is logged once."""

    def __init__(self) -> None:
        self._fails = False

    def __call__(self, dag_ids: Iterable[str], user: BaseUser) -> set[str]:
        try:
            readable = {dag_id for dag_id in dag_ids if self._may_read(dag_id, user)}
        except Exception:
            if not self._fails:
                log.exception("The capacity page can't check which DAGs a user may read: it names no task.")
            self._fails = True
            return set()
        self._fails = False
        return readable

    def _may_read(self, dag_id: str, user: BaseUser) -> bool:
        team = DagModel.get_team_name(dag_id) if has_teams() else None
        return get_auth_manager().is_authorized_dag(
            method="GET",
            access_entity=DagAccessEntity.TASK_INSTANCE,
            details=DagDetails(id=dag_id, team_name=team),
            user=user,
        )
