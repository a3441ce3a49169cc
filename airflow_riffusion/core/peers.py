"""
What the gates of several triggerers publish for each other, and how a gate understands it.

Pure: no Airflow, no clock, no I/O. The clocks of two machines differ, so no time of day is published: a
state counts from the moment a gate first reads it, so that it never expires too early.
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
"""Seconds after which a peer's intent no longer counts: it has died, or its turn has timed out."""

LONGEST_TURN = 25.0
"""Seconds after which a gate's own turn times out; far less than its intent lasts for its peers."""

PUBLISH_EVERY = 60.0
"""Seconds after which a gate publishes its state again, also if nothing has changed."""

NEWCOMER_FOR = 10.0
"""Seconds for which peers may not have read a new gate's state yet, and grant as if alone."""

FADING_AFTER = 100.0
"""Seconds of silence after which a gate counts as new: its peers may soon count it as gone."""

GONE_AFTER = 150.0
"""Seconds of silence after which a peer counts as gone; its holds last on."""

RENAMED_AFTER = 300.0
"""Seconds of silence after which a gate takes another id: a peer may be deleting its old state."""

FORGOTTEN_AFTER = 600.0
"""Seconds of silence after which a peer's state is deleted."""

_NEVER = float("-inf")


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, allow_inf_nan=False)


class HeldSlots(_Frozen):
    """
    A hold as it is published.

    :param slots: its slots that are not in use yet, by account.
    :param one_job: whether they are all for one job, which settles it wherever it is seen.
    :param lasts: seconds that were left of it when it was published.
    """

    reply_ref: str
    slots: dict[str, PositiveInt]
    one_job: bool
    lasts: NonNegativeFloat

    @classmethod
    def of(cls, hold: Hold, now: float) -> HeldSlots:
        """Return a hold as it is published at ``now``."""
        return cls(
            reply_ref=hold.grant.reply_ref,
            slots=hold.left,
            one_job=hold.is_for_one_job,
            lasts=max(0.0, hold.expires - now),
        )


class WantedSlots(_Frozen):
    """How many slots are wanted on the same accounts, or on any (None)."""

    slots: PositiveInt
    user_ids: frozenset[str] | None


class PeerState(_Frozen):
    """
    What one gate publishes for its peers, all of it each time.

    :param sequence: counts its states, so that no two are equal.
    :param intent: whether it is about to grant something; then no peer may.
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
        """Return the state to publish; ``now`` is on the clock that holds expire by."""
        return cls(
            sequence=sequence,
            intent=intent,
            held=tuple(HeldSlots.of(hold, now) for hold in holds),
            wanted=tuple(WantedSlots(slots=n, user_ids=user_ids) for user_ids, n in (wanted or {}).items()),
        )

    @classmethod
    def read(cls, text: str) -> tuple[PeerState, bool]:
        """
        Parse a peer's state; return it, and whether it could be parsed.

        One that can't be, perhaps of another version, counts as an intent: then nothing is granted here.
        """
        try:
            return cls.model_validate_json(text), True
        except ValidationError:
            return cls(sequence=crc32(text.encode()), intent=True, held=()), False


@dataclass(slots=True)
class Membership:
    """
    What peers know of this gate by its last published state.

    :ivar intent: whether they may see an intent of it; also if publishing that has failed.
    :ivar published_at: when the last state was made; -inf if there is none.
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
        """Return whether peers may soon count this gate as gone."""
        return now - self.published_at >= FADING_AFTER

    def has_news(self, held: int, wanted: int, *, alone: bool) -> bool:
        """
        Return whether a change has to be published.

        Peers must not count released slots as held. Event triggers elsewhere, whose gates publish nothing,
        must not count slots as unclaimed that tasks want here. Without peers, only large changes are news.
        """
        released = held < self._held
        if alone:
            return (released and not held) or wanted > 2 * self._wanted or (not wanted and self._wanted > 0)
        return released or wanted != self._wanted

    def next_sequence(self, *, intent: bool) -> int:
        """Return the number of a state that is about to be published."""
        self._sequence += 1
        self.intent = self.intent or intent  # A write that fails may have arrived all the same.
        return self._sequence

    def published(self, began: float, now: float, *, held: int, wanted: int, intent: bool) -> None:
        """Note that peers can read the state made at ``began`` now."""
        if self.is_fading(began):
            self.newcomer_until = now + NEWCOMER_FOR
        self.intent, self._held, self._wanted, self.published_at = intent, held, wanted, began

    def deleted(self, now: float) -> None:
        """Note that the state is gone: this gate is new to its peers."""
        self.published_at, self.newcomer_until = _NEVER, now + NEWCOMER_FOR

    def on_idle(self) -> None:
        """Forget what was published, so that it is news once there are waiters again."""
        self._held = self._wanted = 0


@dataclass(frozen=True, slots=True)
class _Known:
    """A state, and when it was first read."""

    state: PeerState
    since: float

    def held(self, now: float) -> list[HeldSlots]:
        """List the holds that have not expired."""
        return [held for held in self.state.held if now - self.since < held.lasts]


class Peers:
    """What a gate knows of its peers by their states; all times are on one clock."""

    def __init__(self) -> None:
        self._states: dict[str, _Known] = {}

    def observe(self, states: Mapping[str, PeerState], now: float) -> None:
        """Take in the states of all peers, by gate id; a peer that is missing is gone."""
        known = {}
        for gate_id, state in states.items():
            before = self._states.get(gate_id)
            known[gate_id] = before if before and before.state == state else _Known(state, now)
        self._states = known

    def alive(self, now: float) -> int:
        """Return how many peers are not gone."""
        return len(self._alive(now))

    def wanted(self, now: float) -> Counter[frozenset[str] | None]:
        """Return how many slots the waiters of peers want, by the accounts they can use; None for all."""
        wanted: Counter[frozenset[str] | None] = Counter()
        for known in self._alive(now):
            for each in known.state.wanted:
                wanted[each.user_ids] += each.slots
        return wanted

    def intend_to_grant(self, now: float) -> bool:
        """Return whether a peer may be about to grant something."""
        intents = (known for known in self._states.values() if known.state.intent)
        return any(now - known.since < INTENT_EXPIRES for known in intents)

    def held(self, reading: Capacity, now: float, *, seen: Collection[str] = ()) -> Counter[str]:
        """Return how many of the slots that a reading shows as free are held by peers, by account."""
        executing = {*seen, *(job.reply_ref for job in reading.jobs)}
        slots: Counter[str] = Counter()
        for known in self._states.values():
            for held in known.held(now):
                if not (held.one_job and held.reply_ref in executing):
                    slots.update(held.slots)
        return slots

    def forgotten(self, now: float) -> list[str]:
        """Return the ids of the peers whose states can be deleted."""
        return [
            gate_id
            for gate_id, known in self._states.items()
            if now - known.since >= FORGOTTEN_AFTER and not known.held(now)
        ]

    def _alive(self, now: float) -> list[_Known]:
        return [known for known in self._states.values() if now - known.since < GONE_AFTER]
