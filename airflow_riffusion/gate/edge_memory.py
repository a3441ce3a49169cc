"""What an event trigger has to know after a restart of its triggerer."""

from __future__ import annotations

import asyncio
import logging
from typing import Any, Protocol

log = logging.getLogger(__name__)

# Seconds for one call, of which a trigger that begins makes a few, with a pause between them; and until
# another is made after one that failed: meanwhile the trigger doesn't look out.
_LONGEST_CALL = 5.0
_PAUSE = 5.0
_TRIES = 3
_TRIED_AGAIN_AFTER = 60.0


class Store(Protocol):
    """The asset state store, as Airflow 3.3 gives it to an event trigger."""

    async def aget(self, key: str) -> Any:
        """Read a value; None if there is none."""

    async def aset(self, key: str, value: Any) -> None:
        """Write a value."""


class EdgeMemory:
    """
    Remembers with the asset whether a trigger has fired since too few slots were free.

    A trigger that can't reach it fires all the same: rather twice than never. One of another id is not the
    same trigger restarted: Airflow makes a new one when the DAG is unpaused, and that begins anew.

    :param store: the asset state store; None where Airflow has none (before 3.3).
    :param key: what to remember it by.
    :param trigger_id: the id of the trigger's row in Airflow's database.
    :param name: what the trigger looks out for, for the log.
    """

    def __init__(self, store: Store | None, key: str, trigger_id: int | None, name: str) -> None:
        self._store = store
        self._key = key
        self._fired = f"fired by trigger {trigger_id}"
        self._name = name
        self._kept: str | None = None
        self._not_before = float("-inf")
        self._in_trouble = False

    async def recall(self) -> bool:
        """Return whether the trigger may fire."""
        if self._store is None:
            return True
        for _ in range(_TRIES):
            try:
                async with asyncio.timeout(_LONGEST_CALL):
                    self._kept = await self._store.aget(self._key)
            except Exception as error:  # noqa: BLE001 - a store may be of any kind
                self._failed(error)
                await asyncio.sleep(_PAUSE)
            else:
                self._worked()
                break
        return self._kept != self._fired

    async def keep(self, armed: bool) -> None:
        """
        Remember it, if it has changed; what could not be stored is tried again a minute later.

        :param armed: whether the trigger may fire.
        """
        state = "armed" if armed else self._fired
        now = asyncio.get_running_loop().time()
        if self._store is None or state == self._kept or now < self._not_before:
            return
        try:
            async with asyncio.timeout(_LONGEST_CALL):
                await self._store.aset(self._key, state)
        except Exception as error:  # noqa: BLE001 - a store may be of any kind
            self._kept = None  # It may have arrived all the same.
            self._not_before = now + _TRIED_AGAIN_AFTER
            self._failed(error)
        else:
            self._kept = state
            self._worked()

    def _failed(self, error: Exception) -> None:
        if not self._in_trouble:
            log.warning(
                "Whether there was an event of %s can't be remembered with the asset (%r): a triggerer that "
                "is restarted meanwhile may repeat it.",
                self._name,
                error,
            )
        self._in_trouble = True

    def _worked(self) -> None:
        if self._in_trouble:
            log.info("Events of %s are remembered again.", self._name)
        self._in_trouble = False
