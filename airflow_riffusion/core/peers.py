"""
What the gates of several triggerers tell each other, and what a gate makes of it.

Pure: no Airflow, no clock, no I/O. A gate's clock says nothing to another machine's, so no time of day is
ever told: what a peer says counts from the moment at which a gate first sees it, which is never too early.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING
from zlib import crc32

from pydantic import BaseModel, ConfigDict, NonNegativeFloat, PositiveInt, ValidationError

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from airflow_riffusion.core.capacity import Capacity
    from airflow_riffusion.core.holds import Hold, Holds

INTENT_EXPIRES = 45.0
"""Seconds after which a peer's flag no longer counts: it has died, or its turn has come to nothing."""

LONGEST_TURN = 25.0
"""Seconds after which a gate's own turn comes to nothing; much less than its flag lasts for the others."""

PUBLISH_EVERY = 60.0
"""Seconds after which a gate says anew at its next reading what it holds, also if nothing has changed."""

GONE_AFTER = 150.0
"""Seconds of silence after which a peer no longer counts, but for what it held."""

FORGOTTEN_AFTER = 600.0
"""Seconds of silence after which what a peer said is deleted."""


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, allow_inf_nan=False)


class HeldSlots(_Frozen):
    """
    One hold, as peers need to know it.

    :param reply_ref: the reference of its jobs.
    :param slots: how many of its slots on which account are not in use yet.
    :param one_job: whether they are all for one job, which settles it wherever it is seen.
    :param lasts: seconds for which it would still last when it was told.
    """

    reply_ref: str
    slots: dict[str, PositiveInt]
    one_job: bool
    lasts: NonNegativeFloat

    @classmethod
    def of(cls, hold: Hold, now: float) -> HeldSlots:
        """
        Return how a hold is told.

        :param hold: the hold.
        :param now: seconds on the clock that it expires by.
        """
        return cls(
            reply_ref=hold.grant.reply_ref,
            slots=hold.left,
            one_job=hold.is_for_one_job,
            lasts=max(0.0, hold.expires - now),
        )


class WantedSlots(_Frozen):
    """
    What tasks want that can use the same accounts.

    :param slots: how many slots.
    :param user_ids: the accounts; None for all.
    """

    slots: PositiveInt
    user_ids: frozenset[str] | None


class PeerState(_Frozen):
    """
    What one gate tells its peers: all of it anew each time.

    :param sequence: counts its states, so that no two are alike.
    :param flag: whether it is about to grant something: then nobody else may.
    :param holds: what it has granted and not yet seen in use.
    :param wanted: what those want that wait at it.
    """

    sequence: int
    flag: bool
    holds: tuple[HeldSlots, ...]
    wanted: tuple[WantedSlots, ...] = ()

    @classmethod
    def of(
        cls,
        holds: Holds,
        now: float,
        *,
        sequence: int,
        flag: bool,
        wanted: Mapping[frozenset[str] | None, int] | None = None,
    ) -> PeerState:
        """
        Return what a gate has to tell.

        :param holds: its holds.
        :param now: seconds on the clock that they expire by.
        :param sequence: the number of this state.
        :param flag: whether it is about to grant something.
        :param wanted: how many slots those want that wait at it, by the accounts they can use.
        """
        return cls(
            sequence=sequence,
            flag=flag,
            holds=tuple(HeldSlots.of(hold, now) for hold in holds),
            wanted=tuple(WantedSlots(slots=n, user_ids=user_ids) for user_ids, n in (wanted or {}).items()),
        )

    @classmethod
    def read(cls, text: str) -> tuple[PeerState, bool]:
        """
        Read what a peer has written.

        :param text: its state.
        :return: the state, and whether it was understood. One that was not, of another version perhaps,
            counts as a raised flag: whatever it says, this gate had better grant nothing.
        """
        try:
            return cls.model_validate_json(text), True
        except ValidationError:
            return cls(sequence=crc32(text.encode()), flag=True, holds=()), False


@dataclass(frozen=True, slots=True)
class _Heard:
    """A state, and when it was seen first."""

    state: PeerState
    since: float

    def holds(self, now: float) -> list[HeldSlots]:
        """List those of its holds that may still last."""
        return [held for held in self.state.holds if now - self.since < held.lasts]


class Peers:
    """What a gate knows of the others, by the states that it has read."""

    def __init__(self) -> None:
        self._heard: dict[str, _Heard] = {}

    def observe(self, states: Mapping[str, PeerState], now: float) -> None:
        """
        Take in what the peers say.

        :param states: the last state of each, by the gate's id; who is not among them is gone.
        :param now: seconds on any clock that never goes back.
        """
        heard = {}
        for gate_id, state in states.items():
            before = self._heard.get(gate_id)
            heard[gate_id] = before if before and before.state == state else _Heard(state, now)
        self._heard = heard

    def alive(self, now: float) -> int:
        """
        Return how many peers there may be.

        :param now: seconds on the clock that states are observed by.
        """
        return len(self._alive(now))

    def wanted(self, now: float) -> Counter[frozenset[str] | None]:
        """
        Return how many slots those want that wait at peers, by the accounts they can use; None for all.

        :param now: seconds on the clock that states are observed by.
        """
        wanted: Counter[frozenset[str] | None] = Counter()
        for heard in self._alive(now):
            for each in heard.state.wanted:
                wanted[each.user_ids] += each.slots
        return wanted

    def intends_to_grant(self, now: float) -> bool:
        """
        Return whether a peer is about to grant something.

        :param now: seconds on the clock that states are observed by.
        """
        flags = (heard for heard in self._heard.values() if heard.state.flag)
        return any(now - heard.since < INTENT_EXPIRES for heard in flags)

    def taken(self, reading: Capacity, now: float, *, seen: Collection[str] = ()) -> Counter[str]:
        """
        Return how many slots that a reading shows as free are held by peers, by account.

        :param reading: what the service says.
        :param now: seconds on the clock that states are observed by.
        :param seen: references of jobs that were seen executing before.
        """
        executing = {*seen, *(job.reply_ref for job in reading.jobs)}
        taken: Counter[str] = Counter()
        for heard in self._heard.values():
            for held in heard.holds(now):
                if not (held.one_job and held.reply_ref in executing):
                    taken.update(held.slots)
        return taken

    def forgotten(self, now: float) -> list[str]:
        """
        Return the ids of those whose states nobody needs any longer.

        :param now: seconds on the clock that states are observed by.
        """
        return [
            gate_id
            for gate_id, heard in self._heard.items()
            if now - heard.since >= FORGOTTEN_AFTER and not heard.holds(now)
        ]

    def _alive(self, now: float) -> list[_Heard]:
        return [heard for heard in self._heard.values() if now - heard.since < GONE_AFTER]
