"""Those who look at a gate's readings, and want nothing of it."""

from __future__ import annotations

import asyncio
import copy
from typing import TYPE_CHECKING, NamedTuple

from airflow_riffusion.core.demand import Shape

if TYPE_CHECKING:
    from collections.abc import Mapping

    from airflow_riffusion.core.availability import Room
    from airflow_riffusion.core.request import SlotRequest
    from airflow_riffusion.exceptions import RiffusionRejected


class _Onlooker(NamedTuple):
    poke_interval: float
    shape: Shape | None
    needs_accounts: bool


class Onlookers:
    """Everybody who waits for the next reading of one gate; who wants that after it, too, comes again."""

    def __init__(self) -> None:
        self._onlookers: dict[asyncio.Future[Room], _Onlooker] = {}

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self._onlookers)

    @property
    def poke_interval(self) -> float:
        """The smallest interval that somebody asked for, in seconds."""
        return min(onlooker.poke_interval for onlooker in self._onlookers.values())

    @property
    def need_accounts(self) -> bool:
        """Whether one of them must know which accounts the service has."""
        return any(onlooker.needs_accounts for onlooker in self._onlookers.values())

    def may_have_room(self, free: Mapping[str, int]) -> bool:
        """
        Return whether there may be what somebody looks out for.

        :param free: how many slots of which account are left for newcomers, if nobody else wants them.
        """
        shapes = {onlooker.shape for onlooker in self._onlookers.values() if onlooker.shape is not None}
        return any(shape.pick(free) is not None for shape in shapes)

    def add(
        self, poke_interval: float, request: SlotRequest | None = None, *, needs_accounts: bool = False
    ) -> asyncio.Future[Room]:
        """
        Take one in.

        :param poke_interval: seconds between readings that it asks for.
        :param request: what it looks out for; None if it knows that there is.
        :param needs_accounts: whether it must know which accounts the service has.
        :return: what it is to wait for.
        """
        told: asyncio.Future[Room] = asyncio.get_running_loop().create_future()
        shape = None if request is None else Shape.of(request)
        self._onlookers[told] = _Onlooker(poke_interval, shape, needs_accounts)
        return told

    def remove(self, told: asyncio.Future[Room]) -> None:
        """
        Forget one that was told, or looks no longer.

        :param told: what it waited for.
        """
        self._onlookers.pop(told, None)

    def tell(self, room: Room) -> None:
        """
        Tell everybody.

        :param room: what the reading leaves for newcomers.
        """
        for told in self._leaving():
            told.set_result(room)

    def reject(self, error: RiffusionRejected) -> None:
        """
        Tell everybody that there is no reading.

        :param error: why waiting won't help; each gets a copy.
        """
        for told in self._leaving():
            told.set_exception(copy.copy(error))

    def _leaving(self) -> list[asyncio.Future[Room]]:
        leaving = [told for told in self._onlookers if not told.done()]
        self._onlookers.clear()
        return leaving
