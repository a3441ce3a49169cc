"""
Grants the free slots of one connection in several triggerers, each slot once.

Airflow offers a trigger no lock and no compare-and-set, only Variables that overwrite each other. So each
gate writes one of its own and reads those of its peers. A gate with something to grant publishes its intent
first and reads its peers then: of two that do so at the same time, at least one sees the other's intent and
steps back.
"""

from __future__ import annotations

import asyncio
import logging
import random
import uuid
from collections import Counter
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from airflow_riffusion.core.peers import (
    GONE_AFTER,
    INTENT_EXPIRES,
    LONGEST_TURN,
    PUBLISH_EVERY,
    RENAMED_AFTER,
    Membership,
    Peers,
    PeerState,
)
from airflow_riffusion.gate.peer_store import PeersUnreachable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from airflow_riffusion.core.capacity import Capacity
    from airflow_riffusion.core.ledger import SlotLedger
    from airflow_riffusion.core.request import Grant
    from airflow_riffusion.gate.peer_store import PeerStore

log = logging.getLogger(__name__)

# Seconds for which the peers need not be read again, and within which a grant must be published after a
# reading of the peers that showed none. Both are shorter than the time a newcomer waits (NEWCOMER_FOR).
_PEERS_FRESH_FOR = 5.0
_PUBLISHED_WITHIN = 8.0

_BETWEEN_READINGS = 1.0
_TRIES = 5
_LONGEST_PAUSE = 1.0


@dataclass(frozen=True, slots=True)
class Turn:
    """
    A turn at granting free slots.

    :param held_elsewhere: returns the free slots of a reading that peers hold, by account.
    :param commit: publishes grants; returns those to tell to the waiters: all, or none that are undone.
    :param is_open: whether anything may be granted.
    :param needs_reading: whether to grant by another reading, newer than what the peers say.
    """

    held_elsewhere: Callable[[Capacity], Counter[str]]
    commit: Callable[[list[Grant]], Awaitable[list[Grant]]]
    is_open: bool = True
    needs_reading: bool = False


class Coordinator:
    """
    Decides whether a gate may grant: never what a gate in another triggerer may grant, too.

    Every grant is published before its waiter learns of it. While peers can't be reached, nothing is granted;
    after so long that they count as gone, the gate grants as if alone. A gate without peers needs no intent:
    a newcomer waits until its state must have been read.
    """

    def __init__(self, ledger: SlotLedger, store: PeerStore, name: str) -> None:
        self._ledger = ledger
        self._store = store
        self._name = name
        self._own = Membership()
        self._peers = Peers()
        self._peers_read_at = self._observed_again_at = float("-inf")
        self._unreachable_since: float | None = None
        self._logged: dict[str, object] = {}

    def held_elsewhere(self, reading: Capacity) -> Counter[str]:
        """Return how many free slots of a reading peers hold, by account."""
        return self._peers.held(reading, _now())

    def wanted_elsewhere(self) -> Counter[frozenset[str] | None]:
        """Return how many slots the waiters of peers want, by the accounts they can use."""
        return self._peers.wanted(_now())

    @property
    def has_news(self) -> bool:
        """Whether the ledger differs from what peers, and the capacity page, were told of it."""
        if self._counts_peers_as_gone:
            return False  # By now they have forgotten this gate.
        return self._own.has_news(self._ledger.held, self._ledger.wanted.total(), alone=self._is_alone)

    def rest(self) -> None:
        """Pause until the next waiter; then everything is news, and unreachable peers count anew."""
        self._unreachable_since = None
        self._own.rest()

    def forget(self) -> None:
        """Share no slots, or not yet."""
        self.rest()
        self._peers, self._peers_read_at = Peers(), float("-inf")

    async def observe_peers(self) -> None:
        """Read the peers for observers, if possible; publish nothing, as nothing is granted."""
        if _now() >= max(self._peers_read_at + _PEERS_FRESH_FOR, self._observed_again_at):
            try:
                await self._read_peers()
            except PeersUnreachable:
                self._observed_again_at = _now() + PUBLISH_EVERY

    async def prepare(self) -> bool:
        """
        Publish and read the peers if that is due, before a reading is taken in.

        :return: whether a job without a known reference may settle a hold here: a peer's job must not.
        """
        try:
            await self._keep_in_touch()
            if self._ledger.guesses and _now() - self._peers_read_at >= _PEERS_FRESH_FOR:
                await self._read_peers()
        except PeersUnreachable as error:
            self._lost(error)
            return False
        return self._is_alone

    @asynccontextmanager
    async def turn(self, reading: Capacity, *, shared: bool = True) -> AsyncIterator[Turn]:
        """Take a turn at granting what a reading shows as free; without ``shared``, at no cost."""
        if not shared:
            yield Turn(lambda _: Counter(), _keep)
            return
        turn = await self._begin(reading)
        try:
            yield turn
        finally:
            if turn.needs_reading and self._own.intent:
                await self._withdraw()

    async def _begin(self, reading: Capacity) -> Turn:
        try:
            if self.has_news or self._own.intent:
                await self._publish()
            turn = await self._take_turn(reading) if self._ledger.wants(reading) else None
        except PeersUnreachable as error:
            self._lost(error)
            # After long enough they are gone, or can't reach this gate either.
            turn = Turn(self.held_elsewhere, _keep) if self._counts_peers_as_gone else None
        return turn or Turn(self.held_elsewhere, _keep, is_open=False)

    async def _take_turn(self, reading: Capacity) -> Turn | None:
        """Wait until this gate may grant; None if it may not this time."""
        next_reading_at = _now() + _BETWEEN_READINGS
        if _now() - self._peers_read_at >= _PEERS_FRESH_FOR:
            await self._read_peers()
        if self._own.is_fading(self._peers_read_at):
            # Peers that came meanwhile don't know of this gate: it has to publish first.
            raise PeersUnreachable("they may take this triggerer for gone")
        if self._is_alone:
            until = self._peers_read_at + _PUBLISHED_WITHIN
            return Turn(self.held_elsewhere, partial(self._commit, until=until))
        for _ in range(_TRIES):
            await _sleep_until(max(next_reading_at, self._own.newcomer_until))
            if not self._ledger.wants(reading, self.held_elsewhere(reading)):
                break
            until = _now() + LONGEST_TURN
            if await self._intend():
                commit = partial(self._commit, until=until)
                return Turn(self.held_elsewhere, commit, needs_reading=True)
            await asyncio.sleep(random.uniform(0.0, _LONGEST_PAUSE))
        return None

    async def _intend(self) -> bool:
        """Publish the intent to grant; withdraw it, and return False, if a peer may be granting."""
        is_clear = False
        try:
            await self._publish(intent=True)
            await self._read_peers()
            is_clear = _now() >= self._own.newcomer_until and not self._peers.intend_to_grant(_now())
        finally:
            if not is_clear:
                await self._publish()
        return is_clear

    async def _withdraw(self) -> None:
        try:
            await self._publish()
        except PeersUnreachable as error:
            self._lost(error)

    async def _commit(self, grants: list[Grant], until: float) -> list[Grant]:
        """Publish grants in time, or undo them."""
        if not grants:
            return []
        in_time = False
        try:
            await self._publish()
            in_time = _now() < until
        except PeersUnreachable as error:
            self._lost(error)
            return []
        finally:
            if not in_time:
                for grant in grants:
                    self._ledger.take_back(grant)
        self._log_pace(in_time)
        self._reached()
        return grants if in_time else []

    async def _keep_in_touch(self) -> None:
        """Publish now and then, so that peers don't count what is no longer held; learn of new peers."""
        if _now() - self._own.published_at >= PUBLISH_EVERY:
            await self._publish()
            await self._read_peers()
            if not self._own.is_published:
                raise PeersUnreachable("what this triggerer has just written is not there")
            self._reached()

    async def _publish(self, *, intent: bool = False) -> None:
        began = _now()
        held, wanted = self._ledger.held, self._ledger.wanted
        sequence = self._own.next_sequence(intent=intent)
        state = PeerState.of(self._ledger.holds, began, sequence=sequence, intent=intent, wanted=wanted)
        if began - self._own.published_at >= RENAMED_AFTER:
            # A peer may be deleting the state under the old name right now.
            if self._own.gate_id:
                await self._store.delete(self._own.gate_id)
            self._own.gate_id = uuid.uuid4().hex[:12]
        await self._store.put(self._own.gate_id, state.model_dump_json())
        self._own.published(began, _now(), held=held, wanted=wanted.total(), intent=intent)

    async def _read_peers(self) -> None:
        began = _now()  # A peer that has come since then may be missing.
        own_id = self._own.gate_id
        ids = await self._store.ids()
        texts = {gate_id: await self._store.get(gate_id) for gate_id in ids if gate_id != own_id}
        if None in texts.values():
            # Airflow returns None for a deleted Variable, and for one that can't be read.
            ids = await self._store.ids()
            if any(texts[gate_id] is None for gate_id in texts.keys() & set(ids)):
                raise PeersUnreachable("a state is there, but can't be read")
        states = {gate_id: self._parse(gate_id, text) for gate_id, text in texts.items() if text}
        self._peers.observe(states, _now())
        self._peers_read_at = began
        if own_id not in ids:
            self._own.deleted(_now())
        for gate_id in self._peers.forgotten(_now()):
            await self._store.delete(gate_id)
        self._log_peers()

    def _parse(self, gate_id: str, text: str) -> PeerState:
        state, understood = PeerState.read(text)
        if not understood and self._changed(f"state of {gate_id}", "not understood"):
            log.warning(
                "Connection '%s': the state of another triggerer's gate (%s) makes no sense. Until it does, "
                "or stays as it is for %.0f s, nothing is granted here.",
                self._name,
                gate_id,
                INTENT_EXPIRES,
            )
        return state

    @property
    def _is_alone(self) -> bool:
        return not self._peers.alive(_now())

    @property
    def _counts_peers_as_gone(self) -> bool:
        return self._unreachable_since is not None and _now() - self._unreachable_since >= GONE_AFTER

    def _lost(self, error: PeersUnreachable) -> None:
        if self._unreachable_since is None:
            self._unreachable_since = _now()
            log.warning(
                "Connection '%s': can't find out what other triggerers have granted (%s). Nothing is granted "
                "here until that works again, or for %.0f s; then as if there were no others.",
                self._name,
                error,
                GONE_AFTER,
            )

    def _reached(self) -> None:
        if self._unreachable_since is not None:
            self._unreachable_since = None
            log.info("Connection '%s': the other triggerers can be reached again.", self._name)

    def _log_pace(self, in_time: bool) -> None:
        if self._changed("grants in time", in_time, at_first=True):
            log.warning(
                "Connection '%s': %s",
                self._name,
                "grants are published in time again."
                if in_time
                else "a grant was undone, as publishing it took so long that another triggerer may have "
                "granted the same slots: the service, or Airflow's API server, answers too slowly.",
            )

    def _log_peers(self) -> None:
        alive = self._peers.alive(_now())
        if self._changed("peers", alive, at_first=0):
            others = "1 other triggerer" if alive == 1 else f"{alive or 'no'} other triggerers"
            log.info("Connection '%s': its slots are shared with %s.", self._name, others)

    def _changed(self, topic: str, value: object, *, at_first: object = None) -> bool:
        """Return whether a topic is to be logged: its value is not the one of the last time."""
        before = self._logged.get(topic, at_first)
        self._logged[topic] = value
        return value != before


async def _keep(grants: list[Grant]) -> list[Grant]:
    """Commit grants that no peer has to know of."""
    return grants


async def _sleep_until(moment: float) -> None:
    await asyncio.sleep(max(0.0, moment - _now()))


def _now() -> float:
    return asyncio.get_running_loop().time()
