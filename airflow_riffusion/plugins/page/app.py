"""
The capacity page's web application, which Airflow's API server mounts.

Everything in it is for users who may read connections. Annotations are no strings here: FastAPI would
look for some of Airflow's in the wrong place.
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

from airflow_riffusion.plugins.page.cards import Cards
from airflow_riffusion.plugins.page.database import Tables, has_teams
from airflow_riffusion.plugins.page.watched import INTERVAL

log = logging.getLogger(__name__)

MEDIA_TYPES = {
    "card.js": "text/javascript",
    "history.js": "text/javascript",
    "page.css": "text/css",
    "page.js": "text/javascript",
    "text.js": "text/javascript",
    "theme.js": "text/javascript",
}
"""The page's files, by name."""

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'self'"
    ),
    "Cache-Control": "no-store",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
}
"""What goes with every answer."""

_STATIC = files("airflow_riffusion.plugins.page") / "static"
_REFUSAL = (_STATIC / "refused.html").read_text("utf-8")

# Its style is its own: the page's is for those who may read connections.
_STYLE = b64encode(
    sha256(_REFUSAL.partition("<style>")[2].partition("</style>")[0].encode()).digest()
).decode()

_REFUSED = {
    401: "You are not logged in. Log in to Airflow, and open this page again.",
    403: "This page is for users who may read connections. Ask whoever manages this Airflow for that.",
}


def create_app(cards: Cards | None = None) -> FastAPI:
    """
    Return the application.

    :param cards: what it shows.
    """
    app = FastAPI(
        dependencies=[Depends(requires_access_connection(method="GET"))],
        openapi_url=None,
        exception_handlers={HTTPException: _refuse},
    )
    cards = cards or Cards()
    dags_of = _ReadableDags()

    @app.get("/")
    def page() -> Response:
        return HTMLResponse((_STATIC / "page.html").read_bytes(), headers=HEADERS)

    @app.get("/cards")
    async def all_cards(user: GetUserDep) -> Response:
        tables = await cards.look()
        readable = await run_in_threadpool(_readable, cards.conn_ids(tables), user)
        dags = await run_in_threadpool(dags_of, _named_dags(tables, readable), user)
        document = {
            "interval_seconds": INTERVAL,
            "error": tables.error,
            "cards": await cards.cards(readable, tables, dags),
        }
        return JSONResponse(document, headers=HEADERS)

    @app.get("/{name}")
    def file(name: str) -> Response:
        if name not in MEDIA_TYPES:
            raise HTTPException(404)
        return Response((_STATIC / name).read_bytes(), headers=HEADERS, media_type=MEDIA_TYPES[name])

    return app


async def _refuse(request: Request, error: HTTPException) -> Response:
    """Say in words what a browser would show as JSON."""
    headers = {**(error.headers or {}), **HEADERS}
    if "text/html" not in request.headers.get("Accept", ""):
        return JSONResponse({"detail": error.detail}, error.status_code, headers)
    said = _REFUSED.get(error.status_code, "There is no such page.")
    headers["Content-Security-Policy"] = (
        f"default-src 'none'; style-src 'sha256-{_STYLE}'; frame-ancestors 'self'"
    )
    return HTMLResponse(_REFUSAL.replace("{said}", said), error.status_code, headers)


def _readable(conn_ids: list[str], user: BaseUser) -> list[str]:
    """Return those of the connections that a user may read. None of them is a team's."""

    def may_read(conn_id: str) -> bool:
        details = ConnectionDetails(conn_id=conn_id)
        return get_auth_manager().is_authorized_connection(method="GET", details=details, user=user)

    return [conn_id for conn_id in conn_ids if may_read(conn_id)]


def _named_dags(tables: Tables, conn_ids: Iterable[str]) -> set[str]:
    """Return the DAGs of the tasks that would be named."""
    shown = (tables.tasks[conn_id].longest for conn_id in conn_ids if conn_id in tables.tasks)
    return {task.dag_id for longest in shown for task in longest}


class _ReadableDags:
    """Tells which DAGs' task instances a user may read. If that fails it is none, which is logged once."""

    def __init__(self) -> None:
        self._fails = False

    def __call__(self, dag_ids: Iterable[str], user: BaseUser) -> set[str]:
        try:
            readable = {dag_id for dag_id in dag_ids if self._may_read(dag_id, user)}
        except Exception:
            if not self._fails:
                log.exception("The capacity page can't tell which DAGs a user may read, and names no task.")
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
