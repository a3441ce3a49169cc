"""
What each service of useapi.net is like, as data and pure functions.

Another service is one module with a ``SERVICE``, and a line here. Nothing else in the package knows a service
by its name.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_riffusion.services import acemusic, flowmusic, kling, mureka, pixverse, riffusion, tempolor

if TYPE_CHECKING:
    from collections.abc import Mapping

    from airflow_riffusion.services.base import Service

_MODULES = (riffusion, flowmusic, tempolor, acemusic, mureka, pixverse, kling)

SERVICES: Mapping[str, Service] = {module.SERVICE.name: module.SERVICE for module in _MODULES}
"""All services by their names; the first is the default."""

DEFAULT_SERVICE = riffusion.SERVICE

GONE = {
    "ltxstudio": "useapi.net switched it off in June 2025",
    "minimax": "what it says of its capacity counts videos only, not songs",
}
"""Why services that one might look for are not here."""
