"""
Which accounts there are, also those that a reading does not list.

A reading may list only "the healthy accounts with a free slot" (https://useapi.net/docs/api-tempolor-v1): an
account that is missing from it is full, or needs its login renewed, or is not configured. With other
services it lists only those with running jobs, and the others are idle. ``GET accounts`` says which there
are. Pure, as :mod:`airflow_riffusion.core.ledger` is.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pydantic_core import from_json

from airflow_riffusion.core.capacity import CapacityFormatError
from airflow_riffusion.core.coerce import count, text

if TYPE_CHECKING:
    from airflow_riffusion.core.capacity import Capacity

_ID_FIELDS = {"user_id", "email", "account"}


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
    def from_json(cls, body: bytes, *, account_field: str, max_jobs: int | None = None) -> ConfiguredAccounts:
        """
        Read an answer's body; ``max_jobs``: the slots of accounts that don't say.

        :raises CapacityFormatError: if it is no list of accounts. The error quotes nothing of the body.
        """
        try:
            payload = from_json(body, cache_strings="keys")  # not ids, of which there are ever more
        except ValueError:
            raise CapacityFormatError("not JSON") from None
        if not isinstance(payload, dict):
            raise CapacityFormatError("no JSON object")
        # Or an error inside a 200 would count as proof that an account is missing.
        entries = [entry for entry in payload.values() if isinstance(entry, dict)]
        if "error" in payload or len(entries) < len(payload):
            raise CapacityFormatError("an object that holds something other than accounts")
        slots: dict[str, int | None] = {}
        logged_out: list[str] = []
        for key, entry in payload.items():
            user_id = text(entry.get(account_field)) or text(key)
            if user_id is None or not entry.keys() & {*_ID_FIELDS, "maxJobs"}:
                raise CapacityFormatError("an object that holds something other than accounts")
            if entry.get("error"):
                logged_out.append(user_id)
            else:
                own = entry.get("maxJobs")
                slots.setdefault(user_id, count(max_jobs if own is None else own))
        return cls(slots, tuple(logged_out))


class KnownAccounts:
    """
    Remembers the accounts of one connection, and adds those to a reading that it does not list.

    :param are_idle: whether accounts that are not listed are idle; otherwise they count as full.
    """

    def __init__(self, *, are_idle: bool = False) -> None:
        self._are_idle = are_idle
        self._slots: dict[str, int | None] = {}
        self._logged_out: tuple[str, ...] = ()
        self._last_answer: ConfiguredAccounts | None = None

    def learn(self, answer: ConfiguredAccounts) -> ConfiguredAccounts | None:
        """
        Take in an answer of ``GET accounts``; return the accounts that there are, None if that is open.

        One answer may be blank. So an account is dropped only if two answers in a row lack it, and it takes
        two to believe that there is no account at all.
        """
        last, self._last_answer = self._last_answer, answer
        kept = {
            name
            for name in self._slots
            if name not in answer.logged_out and (last is None or name in last.slots)
        }
        # Keep their order, or the rows of a table would change places as accounts fill up.
        known = {name: most for name, most in self._slots.items() if name in answer.slots or name in kept}
        self._slots, self._logged_out = known | answer.slots, answer.logged_out
        if answer == ConfiguredAccounts() != last:
            return None
        return ConfiguredAccounts(dict(self._slots), answer.logged_out)

    @property
    def is_empty(self) -> bool:
        """Whether no account is known, not even one that takes no jobs."""
        return not self._slots and not self._logged_out

    def unknown(self, reading: Capacity) -> set[str]:
        """Return the accounts that a reading shows and that are not known."""
        shown = {*reading.slots, *(job.user_id for job in reading.jobs if job.user_id is not None)}
        return shown - self._slots.keys() - set(self._logged_out)

    def complete(self, reading: Capacity) -> Capacity:
        """Return a reading with the known accounts that it does not list."""
        if self._are_idle:
            return reading.with_idle_accounts(self._slots, logged_out=self._logged_out)
        listed = reading.listed_slots
        for name, most in listed.items():
            self._slots[name] = most if most is not None else self._slots.get(name)
        self._logged_out = tuple(user_id for user_id in self._logged_out if user_id not in listed)
        if reading.slots.keys() == self._slots.keys() and reading.logged_out == self._logged_out:
            return reading
        return reading.with_full_accounts(self._slots, logged_out=self._logged_out)
