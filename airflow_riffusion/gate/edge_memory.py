"""What an event trigger has to remember over a restart of its triggerer."""

from __future__ import annotations

import asyncio
import logging
from typing import Any, Protocol

log = logging.getLogger(__name__)

# Seconds. A call delays the next reading, so it is short, and is not soon repeated if it failed.
_LONGEST_CALL = 5.0
_BETWEEN_READS = 5.0
_READS = 3
_AFTER_FAILED_WRITE = 60.0


class Store(Protocol):
    """The asset state store, as Airflow 3.3 gives it to an event trigger."""

    async def aget(self, key: str) -> Any:
        """Read a value; None if there is none."""

    async def aset(self, key: str, value: Any) -> None:
        """Write a value."""


class EdgeMemory:
    """
    Remembers with the asset whether a trigger has fired since too few slots were free.

    If the store can't be reached, the trigger fires all the same: twice is better than never. A trigger with
    another id is a new one, which starts afresh: Airflow makes it when the DAG is unpaused.

    :param store: the asset state store; None before Airflow 3.3.
    :param trigger_id: the id of the trigger's row in Airflow's database.
    :param name: what the trigger waits for, for the log.
    """

    def __init__(self, store: Store | None, key: str, trigger_id: int | None, name: str) -> None:
        self._store = store
        self._key = key
        self._fired = f"fired by trigger {trigger_id}"
        self._name = name
        self._kept: str | None = None
        self._not_before = float("-inf")
        self._is_failing = False

    async def recall(self) -> bool:
        """Return whether the trigger may fire."""
        if self._store is None:
            return True
        for _ in range(_READS):
            try:
                async with asyncio.timeout(_LONGEST_CALL):
                    self._kept = await self._store.aget(self._key)
            except Exception as error:  # noqa: BLE001 - a store may be of any kind
                self._failed(error)
                await asyncio.sleep(_BETWEEN_READS)
            else:
                self._succeeded()
                break
        return self._kept != self._fired

    async def keep(self, armed: bool) -> None:
        """Store whether the trigger may fire, if that has changed; retry a failed write after a minute."""
        state = "armed" if armed else self._fired
        now = asyncio.get_running_loop().time()
        if self._store is None or state == self._kept or now < self._not_before:
            return
        try:
            async with asyncio.timeout(_LONGEST_CALL):
                await self._store.aset(self._key, state)
        except Exception as error:  # noqa: BLE001 - a store may be of any kind
            self._kept = None  # The write may have arrived all the same.
            self._not_before = now + _AFTER_FAILED_WRITE
            self._failed(error)
        else:
            self._kept = state
            self._succeeded()

    def _failed(self, error: Exception) -> None:
        if not self._is_failing:
            log.warning(
                "Can't remember with the asset whether an event was fired for %s (%r): a triggerer that is "
                "restarted meanwhile may fire it again.",
                self._name,
                error,
            )
        self._is_failing = True

    def _succeeded(self) -> None:
        if self._is_failing:
            log.info("Events for %s are remembered with the asset again.", self._name)
        self._is_failing = False
