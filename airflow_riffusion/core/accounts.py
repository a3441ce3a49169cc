"""
Which accounts there are, also those that a reading does not list.

A reading may list only "the healthy accounts with a free slot" (https://useapi.net/docs/api-tempolor-v1): an
account that is missing from it is full, or needs its login renewed, or is not configured. ``GET accounts``
tells which. Pure, as :mod:`airflow_riffusion.core.ledger` is.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pydantic_core import from_json

from airflow_riffusion.core.capacity import CapacityFormatError
from airflow_riffusion.core.coerce import count, text

if TYPE_CHECKING:
    from airflow_riffusion.core.capacity import Capacity

_ID_FIELDS = ("user_id", "email", "account")


@dataclass(frozen=True, slots=True)
class ConfiguredAccounts:
    """
    What ``GET accounts`` says. The rest of that answer is secret, so nothing else is taken from it.

    :param slots: how many slots each account has that can take jobs; None where the service does not say.
    :param logged_out: accounts that take no jobs until their login is renewed.
    """

    slots: dict[str, int | None] = field(default_factory=dict)
    logged_out: tuple[str, ...] = ()

    @classmethod
    def from_json(cls, body: bytes) -> ConfiguredAccounts:
        """
        Read an answer's body.

        :param body: the body as it came.
        :raises CapacityFormatError: if it is no list of accounts. The error quotes nothing of the body.
        """
        try:
            payload = from_json(body)
        except ValueError:
            raise CapacityFormatError("not JSON") from None
        if not isinstance(payload, dict):
            raise CapacityFormatError("no JSON object")
        slots: dict[str, int | None] = {}
        logged_out: list[str] = []
        for key, entry in payload.items():
            # Anything else (an error inside a 200, say) must not count as a proof that an account is missing.
            if not isinstance(entry, dict) or not (entry.keys() & {*_ID_FIELDS, "maxJobs"}):
                raise CapacityFormatError("an object that holds something other than accounts")
            user_id = next((found for name in _ID_FIELDS if (found := text(entry.get(name)))), text(key))
            if user_id is None:
                raise CapacityFormatError("an object with an account that has no id")
            if entry.get("error"):
                logged_out.append(user_id)
            else:
                slots.setdefault(user_id, count(entry.get("maxJobs")))
        return cls(slots, tuple(logged_out))


class KnownAccounts:
    """Remembers the accounts of one connection, and adds those to a reading that it does not list."""

    def __init__(self) -> None:
        self._slots: dict[str, int | None] = {}
        self._logged_out: tuple[str, ...] = ()

    def learn(self, configured: ConfiguredAccounts) -> None:
        """
        Replace what is known.

        :param configured: what ``GET accounts`` says.
        """
        # In the order that is known: the rows of a table must not change places as accounts fill up.
        known = {user_id: configured.slots[user_id] for user_id in self._slots if user_id in configured.slots}
        self._slots = known | configured.slots
        self._logged_out = configured.logged_out

    def complete(self, reading: Capacity) -> Capacity:
        """
        Return a reading with the known accounts that it does not list, as full ones.

        :param reading: what the service says; it is returned itself if it lacks none.
        """
        listed = reading.listed_slots
        self._slots.update(listed)
        self._logged_out = tuple(user_id for user_id in self._logged_out if user_id not in listed)
        if (reading.slots, reading.logged_out) == (self._slots, self._logged_out):
            return reading
        return reading.with_full_accounts(self._slots, logged_out=self._logged_out)
