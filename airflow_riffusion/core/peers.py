"""
What the gates of several triggerers tell each other, and what a gate makes of it.

Pure: no Airflow, no clock, no I/O. The clocks of two machines differ, so no time of day is ever published:
what a peer says counts from the moment at which a gate first reads it, which is never too early.
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
"""Seconds after which a peer's intent no longer counts: it has died, or its turn has come to nothing."""

LONGEST_TURN = 25.0
"""Seconds after which a gate's own turn comes to nothing; far less than its intent lasts for its peers."""

PUBLISH_EVERY = 60.0
"""Seconds after which a gate publishes its state again at its next reading, also if nothing has changed."""

NEWCOMER_FOR = 10.0
"""Seconds for which peers may not have read a new gate's state, and grant as if alone."""

FADING_AFTER = 100.0
"""Seconds of silence after which a gate counts as new: its peers may soon take it for gone."""

GONE_AFTER = 150.0
"""Seconds of silence after which a peer no longer counts, but for what it held."""

RENAMED_AFTER = 300.0
"""Seconds of silence after which a gate takes another id: a peer may be deleting its old state."""

FORGOTTEN_AFTER = 600.0
"""Seconds of silence after which a peer's state is deleted."""

_NEVER = float("-inf")


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, allow_inf_nan=False)


class HeldSlots(_Frozen):
    """
    One hold, as peers need to know it.

    :param reply_ref: the reference of its jobs.
    :param slots: how many of its slots on which account are not in use yet.
    :param one_job: whether they are all for one job, which settles it wherever it is seen.
    :param lasts: seconds for which it would still last when it was published.
    """

    reply_ref: str
    slots: dict[str, PositiveInt]
    one_job: bool
    lasts: NonNegativeFloat

    @classmethod
    def of(cls, hold: Hold, now: float) -> HeldSlots:
        """Return how a hold is published."""
        return cls(
            reply_ref=hold.grant.reply_ref,
            slots=hold.left,
            one_job=hold.is_for_one_job,
            lasts=max(0.0, hold.expires - now),
        )


class WantedSlots(_Frozen):
    """
    What waiters want that can use the same accounts.

    :param slots: how many slots.
    :param user_ids: the accounts; None for all.
    """

    slots: PositiveInt
    user_ids: frozenset[str] | None


class PeerState(_Frozen):
    """
    What one gate publishes for its peers: all of it anew each time.

    :param sequence: counts its states, so that no two are alike.
    :param intent: whether it is about to grant something: then no peer may.
    :param held: what it has granted and not yet seen in use.
    :param wanted: what its waiters want.
    """

    sequence: int
    intent: bool
    held: tuple[HeldSlots, ...]
    wanted: tuple[WantedSlots, ...] = ()

    @classmethod
    def of(
        cls,
        holds: Holds,
        now: float,
        *,
        sequence: int,
        intent: bool,
        wanted: Mapping[frozenset[str] | None, int] | None = None,
    ) -> PeerState:
        """Return what a gate has to publish; ``now`` is on the clock that its holds expire by."""
        return cls(
            sequence=sequence,
            intent=intent,
            held=tuple(HeldSlots.of(hold, now) for hold in holds),
            wanted=tuple(WantedSlots(slots=n, user_ids=user_ids) for user_ids, n in (wanted or {}).items()),
        )

    @classmethod
    def read(cls, text: str) -> tuple[PeerState, bool]:
        """
        Read a peer's state; return it, and whether it was understood.

        One that was not, of another version perhaps, counts as an intent: it is safer to grant nothing.
        """
        try:
            return cls.model_validate_json(text), True
        except ValidationError:
            return cls(sequence=crc32(text.encode()), intent=True, held=()), False


@dataclass(slots=True)
class Membership:
    """
    What peers know of this gate, by what it published last.

    :ivar intent: whether they may believe that it is about to grant; also if publishing that has failed.
    :ivar published_at: when the last state was made; never, if there is none.
    :ivar newcomer_until: until when peers may not know of this gate.
    """

    gate_id: str = ""
    intent: bool = False
    published_at: float = _NEVER
    newcomer_until: float = _NEVER
    _sequence: int = 0
    _held: int = 0
    _wanted: int = 0

    @property
    def is_published(self) -> bool:
        """Whether peers can read a state of this gate."""
        return self.published_at != _NEVER

    def is_fading(self, now: float) -> bool:
        """Return whether peers may soon take this gate for gone."""
        return now - self.published_at >= FADING_AFTER

    def has_news(self, held: int, wanted: int, *, alone: bool) -> bool:
        """
        Return whether peers have to hear what has changed.

        They count slots as held that no longer are. An event trigger elsewhere, which publishes nothing
        itself, must not take for free what tasks want here. Without peers, only large changes are news.
        """
        released = held < self._held
        if alone:
            return (released and not held) or wanted > 2 * self._wanted or (not wanted and self._wanted > 0)
        return released or wanted != self._wanted

    def next_sequence(self, *, intent: bool) -> int:
        """Return the number of a state that is about to be published."""
        self._sequence += 1
        self.intent = self.intent or intent  # An attempt that fails may have published it all the same.
        return self._sequence

    def published(self, began: float, now: float, *, held: int, wanted: int, intent: bool) -> None:
        """Note that the state made at ``began`` can be read by peers now."""
        if self.is_fading(began):
            self.newcomer_until = now + NEWCOMER_FOR
        self.intent, self._held, self._wanted, self.published_at = intent, held, wanted, began

    def deleted(self, now: float) -> None:
        """Note that the state is gone: this gate is new to its peers."""
        self.published_at, self.newcomer_until = _NEVER, now + NEWCOMER_FOR

    def rest(self) -> None:
        """Forget what was published, so that all is news once there are waiters again."""
        self._held = self._wanted = 0


@dataclass(frozen=True, slots=True)
class _Heard:
    """A state, and when it was read first."""

    state: PeerState
    since: float

    def held(self, now: float) -> list[HeldSlots]:
        """List those of its holds that may still last."""
        return [held for held in self.state.held if now - self.since < held.lasts]


class Peers:
    """What a gate knows of its peers, by the states that it has read; all times are on one clock."""

    def __init__(self) -> None:
        self._heard: dict[str, _Heard] = {}

    def observe(self, states: Mapping[str, PeerState], now: float) -> None:
        """Take in the last state of each peer, by the gate's id; a peer that is missing is gone."""
        heard = {}
        for gate_id, state in states.items():
            before = self._heard.get(gate_id)
            heard[gate_id] = before if before and before.state == state else _Heard(state, now)
        self._heard = heard

    def alive(self, now: float) -> int:
        """Return how many peers there may be."""
        return len(self._alive(now))

    def wanted(self, now: float) -> Counter[frozenset[str] | None]:
        """Return how many slots the waiters of peers want, by the accounts they can use; None for all."""
        wanted: Counter[frozenset[str] | None] = Counter()
        for heard in self._alive(now):
            for each in heard.state.wanted:
                wanted[each.user_ids] += each.slots
        return wanted

    def intend_to_grant(self, now: float) -> bool:
        """Return whether a peer is about to grant something."""
        intents = (heard for heard in self._heard.values() if heard.state.intent)
        return any(now - heard.since < INTENT_EXPIRES for heard in intents)

    def held(self, reading: Capacity, now: float, *, seen: Collection[str] = ()) -> Counter[str]:
        """Return how many slots that a reading shows as free are held by peers, by account."""
        executing = {*seen, *(job.reply_ref for job in reading.jobs)}
        slots: Counter[str] = Counter()
        for heard in self._heard.values():
            for held in heard.held(now):
                if not (held.one_job and held.reply_ref in executing):
                    slots.update(held.slots)
        return slots

    def forgotten(self, now: float) -> list[str]:
        """Return the ids of the peers whose states are no longer needed."""
        return [
            gate_id
            for gate_id, heard in self._heard.items()
            if now - heard.since >= FORGOTTEN_AFTER and not heard.held(now)
        ]

    def _alive(self, now: float) -> list[_Heard]:
        return [heard for heard in self._heard.values() if now - heard.since < GONE_AFTER]
