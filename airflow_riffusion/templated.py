"""
What a templated argument may be where a DAG is written; for annotations only.

Not in :mod:`airflow_riffusion.request`, which knows no Airflow.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import TypeAlias, TypeVar

from airflow.providers.common.compat.sdk import XComArg

_Value = TypeVar("_Value")

Templated: TypeAlias = _Value | str | XComArg
"""A value, a Jinja template of it, or another task's output."""

AccountIds: TypeAlias = Templated[Collection[str | int | XComArg]]
"""What ``user_ids`` may be, besides None for all."""
