"""Those who look at a gate's readings, and want nothing of it."""

from __future__ import annotations

import asyncio
import copy
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from airflow_riffusion.exceptions import RiffusionRejected
    from airflow_riffusion.room import Room


class Onlookers:
    """Everybody who waits for the next reading of one gate; who wants that after it, too, comes again."""

    def __init__(self) -> None:
        self._intervals: dict[asyncio.Future[Room], float] = {}

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self._intervals)

    @property
    def poke_interval(self) -> float:
        """The smallest interval that somebody asked for, in seconds."""
        return min(self._intervals.values())

    def add(self, poke_interval: float) -> asyncio.Future[Room]:
        """
        Take one in.

        :param poke_interval: seconds between readings that it asks for.
        :return: what it is to wait for.
        """
        onlooker: asyncio.Future[Room] = asyncio.get_running_loop().create_future()
        self._intervals[onlooker] = poke_interval
        return onlooker

    def remove(self, onlooker: asyncio.Future[Room]) -> None:
        """
        Forget one that was told, or looks no longer.

        :param onlooker: what it waited for.
        """
        self._intervals.pop(onlooker, None)

    def tell(self, room: Room) -> None:
        """
        Tell everybody.

        :param room: what the reading leaves for newcomers.
        """
        for onlooker in self._leaving():
            onlooker.set_result(room)

    def reject(self, error: RiffusionRejected) -> None:
        """
        Tell everybody that there is no reading.

        :param error: why waiting won't help; each gets a copy.
        """
        for onlooker in self._leaving():
            onlooker.set_exception(copy.copy(error))

    def _leaving(self) -> list[asyncio.Future[Room]]:
        leaving = [onlooker for onlooker in self._intervals if not onlooker.done()]
        self._intervals.clear()
        return leaving
