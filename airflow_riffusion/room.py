"""
Whether there is room for another task, and since when.

Pure, as :mod:`airflow_riffusion.slots` is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from airflow_riffusion.shape import Shape
from airflow_riffusion.slots import READINGS_UNTIL_HOPELESS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from airflow_riffusion.capacity import Capacity
    from airflow_riffusion.request import SlotRequest


@dataclass(frozen=True, slots=True)
class Room:
    """
    What a reading leaves for newcomers.

    :param reading: what the service says.
    :param slots: how many free slots of which account are neither held nor waited for.
    """

    reading: Capacity
    slots: Mapping[str, int]

    def to_xcom(self, user_ids: frozenset[str] | None = None) -> dict[str, Any]:
        """
        Return the reading as plain JSON, and with it the room: how many slots a newcomer could have.

        :param user_ids: only these accounts count; None for all.
        """
        usable = (slots for user_id, slots in self.slots.items() if user_ids is None or user_id in user_ids)
        return {**self.reading.for_users(user_ids).to_xcom(), "room": sum(usable)}


class RisingEdge:
    """
    Tells when there comes to be room for a request: once, until there was none again.

    :param request: what there is to be room for.
    :param armed: whether there was none when last looked.
    """

    def __init__(self, request: SlotRequest, *, armed: bool = True) -> None:
        self.armed = armed
        self.hopeless: str | None = None
        self._shape = Shape.of(request)
        self._doubts = 0

    def observe(self, room: Room) -> bool:
        """
        Take in what a reading leaves, and return whether there has come to be enough.

        One reading may be blank or stale. So one that could never serve the request says nothing, until
        several in a row agree: then :attr:`hopeless` says why.

        :param room: what the reading leaves.
        """
        reason = self._shape.impossible(room.reading)
        self._doubts = self._doubts + 1 if reason else 0
        if 0 < self._doubts < READINGS_UNTIL_HOPELESS:
            return False
        self.hopeless = reason
        enough = self._shape.pick(room.slots) is not None
        risen = enough and self.armed
        self.armed = not enough
        return risen
