"""
The capacity page's entry in Airflow's UI.

Airflow loads plugins in each of its processes, so this module imports next to nothing; the page itself is
imported at its first request. Airflow before 3.1 can't show such pages: there, the plugin is empty.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import AirflowPlugin

from airflow_riffusion.compat import HAS_PAGES_OF_PLUGINS

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

URL_PREFIX = "/riffusion/capacity"
"""The page's path on the API server."""


class PageOnDemand:
    """The page's web application, imported at its first request."""

    def __init__(self) -> None:
        self._app: ASGIApp | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        if self._app is None:
            from airflow_riffusion.plugins.page.app import create_app

            self._app = create_app()
        await self._app(scope, receive, send)


class CapacityPagePlugin(AirflowPlugin):
    """Adds the page under *Browse → Riffusion capacity*."""

    name = "riffusion_capacity"
    fastapi_apps: list[Any] = []  # noqa: RUF012 - Airflow's own declaration
    external_views: list[Any] = []  # noqa: RUF012
    if HAS_PAGES_OF_PLUGINS:
        fastapi_apps = [{"name": "Riffusion capacity", "app": PageOnDemand(), "url_prefix": URL_PREFIX}]
        external_views = [
            {
                "name": "Riffusion capacity",
                # Relative: the API server may have a path of its own on its host.
                "href": f"{URL_PREFIX.lstrip('/')}/",
                "destination": "nav",
                "category": "browse",
                "url_route": "riffusion-capacity",
            }
        ]
