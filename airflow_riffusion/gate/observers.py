"""Those who look at a gate's readings, and want nothing of it."""

from __future__ import annotations

import asyncio
import copy
from typing import TYPE_CHECKING, NamedTuple

from airflow_riffusion.core.demand import SlotDemand

if TYPE_CHECKING:
    from collections.abc import Mapping

    from airflow_riffusion.core.availability import Availability
    from airflow_riffusion.core.request import SlotRequest
    from airflow_riffusion.exceptions import RiffusionRejected


class _Observer(NamedTuple):
    poke_interval: float
    demand: SlotDemand | None
    needs_accounts: bool


class Observers:
    """Everybody who waits for the next reading of one gate; who wants that after it, too, comes again."""

    def __init__(self) -> None:
        self._observers: dict[asyncio.Future[Availability], _Observer] = {}

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self._observers)

    @property
    def poke_interval(self) -> float:
        """The smallest interval that somebody asked for, in seconds."""
        return min(observer.poke_interval for observer in self._observers.values())

    @property
    def need_accounts(self) -> bool:
        """Whether one of them must know which accounts the service has."""
        return any(observer.needs_accounts for observer in self._observers.values())

    def may_have_room(self, free: Mapping[str, int]) -> bool:
        """
        Return whether there may be what somebody looks out for.

        :param free: how many slots of which account are left for newcomers, if nobody else wants them.
        """
        demands = {observer.demand for observer in self._observers.values() if observer.demand is not None}
        return any(demand.pick(free) is not None for demand in demands)

    def add(
        self, poke_interval: float, request: SlotRequest | None = None, *, needs_accounts: bool = False
    ) -> asyncio.Future[Availability]:
        """
        Take one in.

        :param poke_interval: seconds between readings that it asks for.
        :param request: what it looks out for; None if it knows that there is.
        :param needs_accounts: whether it must know which accounts the service has.
        :return: what it is to wait for.
        """
        told: asyncio.Future[Availability] = asyncio.get_running_loop().create_future()
        demand = None if request is None else SlotDemand.of(request)
        self._observers[told] = _Observer(poke_interval, demand, needs_accounts)
        return told

    def remove(self, told: asyncio.Future[Availability]) -> None:
        """
        Forget one that was told, or looks no longer.

        :param told: what it waited for.
        """
        self._observers.pop(told, None)

    def tell(self, room: Availability) -> None:
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

    def _leaving(self) -> list[asyncio.Future[Availability]]:
        leaving = [told for told in self._observers if not told.done()]
        self._observers.clear()
        return leaving
