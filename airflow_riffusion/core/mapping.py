"""
Which arguments are those of one task of a mapped operator.

Pure: no Airflow, no clock, no I/O.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


def arguments_at(map_index: int, mapped: Mapping[str, Sequence[Any]]) -> dict[str, Any]:
    """Return the arguments of one task, out of all combinations; the last one varies fastest."""
    arguments = {}
    for name, values in reversed(list(mapped.items())):
        map_index, index = divmod(map_index, len(values))
        arguments[name] = values[index]
    return arguments
