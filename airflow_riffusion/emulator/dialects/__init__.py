"""
How the services of useapi.net speak: a module for each, of the service's name.

Those modules need fastapi. This one does not, so that a command line can list the services without it.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from collections.abc import Mapping

    from airflow_riffusion.emulator.dialects.base import Dialect

TITLES: Mapping[str, str] = {
    "riffusion": "Riffusion",
    "flowmusic": "Flow Music",
    "tempolor": "TemPolor",
    "acemusic": "ACE Music",
    "mureka": "Mureka",
    "pixverse": "PixVerse",
    "kling": "Kling",
}
"""Each service's title, by its name in URLs."""

ACCOUNT_SECRET = "made-up-secret-of-an-account"  # noqa: S105 - it opens nothing
"""Stands in ``GET accounts`` for each of the real service's secrets, so that a test can look for leaks."""


def dialect_of(service: str) -> Dialect:
    """Return a service's dialect."""
    return cast("Dialect", import_module(f"{__name__}.{service}").DIALECT)
