"""The service's own endpoints, and what each is called in counts and faults."""

from collections.abc import Callable
from typing import Any

from fastapi import APIRouter, Depends
from fastapi.security import HTTPBearer
from starlette.routing import Match, Route
from starlette.types import Scope

from airflow_riffusion.emulator.dialects.base import Context, Dialect
from airflow_riffusion.emulator.errors import errors
from airflow_riffusion.emulator.service import OTHER_ENDPOINT

# Only declared here: the middleware checks the token before a body is read.
bearer_token = Depends(HTTPBearer(auto_error=False, description="The API token."))


def service_routes(dialect: Dialect, context: Context) -> APIRouter:
    """Build the routes of one service."""
    routes = APIRouter(prefix=dialect.prefix, tags=["service"], dependencies=[bearer_token], responses=errors)

    @routes.get("/accounts", name="accounts")
    async def accounts() -> dict[str, Any]:
        """List every account as it is configured, secrets among it, with an ``error`` if it takes no jobs."""
        return dialect.accounts(context.service.read())

    dialect.add_routes(routes, context)
    return routes


def endpoint_finder(routes: APIRouter) -> Callable[[Scope], str]:
    """Return a function that says which endpoint a request is for, by the name of its route."""
    known = [route for route in routes.routes if isinstance(route, Route)]

    def endpoint_of(scope: Scope) -> str:
        names = (route.name for route in known if route.matches(scope)[0] is Match.FULL)
        return next(names, OTHER_ENDPOINT)

    return endpoint_of
