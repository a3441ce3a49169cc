"""
Grants the free slots of one connection in several triggerers, each slot once.

Airflow offers a trigger no lock and no compare-and-set, only Variables that overwrite each other. So each
gate writes one of its own and reads those of its peers. A gate with something to grant publishes its intent
first and reads its peers then. Of two that do so at the same time, at least one sees the other's intent and
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

# Seconds for which a look at the peers is good, and within which a grant must be published after a look that
# showed none. Both are shorter than the time a newcomer waits (NEWCOMER_FOR).
_PEERS_FRESH_FOR = 5.0
_PUBLISHED_WITHIN = 8.0

_BETWEEN_READINGS = 1.0
_TRIES = 5
_LONGEST_PAUSE = 1.0


@dataclass(frozen=True, slots=True)
class Turn:
    """
    A turn at granting free slots.

    :param held_elsewhere: returns how many slots that a reading shows as free peers hold, by account.
    :param commit: publishes grants and returns them; if that fails or is late, undoes them and returns none.
    :param is_open: whether anything may be granted.
    :param needs_reading: whether to grant by a new reading, which must be newer than the peers' states.
    """

    held_elsewhere: Callable[[Capacity], Counter[str]]
    commit: Callable[[list[Grant]], Awaitable[list[Grant]]]
    is_open: bool = True
    needs_reading: bool = False


class Coordinator:
    """
    Decides whether a gate may grant, so that no gate in another triggerer grants the same slots.

    Every grant is published before its waiter learns of it. While peers can't be reached, nothing is granted,
    until they count as gone; then the gate grants as if alone. A gate without peers publishes no intent: a
    newcomer waits until the others must have read its state.
    """

    def __init__(self, ledger: SlotLedger, store: PeerStore, name: str) -> None:
        self._ledger = ledger
        self._store = store
        self._name = name
        self._own = Membership()
        self._peers = Peers()
        self._peers_read_at = self._observe_not_before = float("-inf")
        self._unreachable_since: float | None = None
        self._logged: dict[str, object] = {}

    def held_elsewhere(self, reading: Capacity) -> Counter[str]:
        """Return how many of the slots that a reading shows as free are held by peers, by account."""
        return self._peers.held(reading, _now())

    def wanted_elsewhere(self) -> Counter[frozenset[str] | None]:
        """Return how many slots the waiters of peers want, by the accounts they can use."""
        return self._peers.wanted(_now())

    @property
    def has_news(self) -> bool:
        """Whether the ledger has changed so that peers, and the capacity page, must know."""
        if self._counts_peers_as_gone:
            return False  # They count this gate as gone, too.
        return self._own.has_news(self._ledger.held, self._ledger.wanted.total(), alone=self._is_alone)

    def on_idle(self) -> None:
        """Pause until the next waiter: then all is news, and the time without peers starts again."""
        self._unreachable_since = None
        self._own.on_idle()

    def forget(self) -> None:
        """Forget all peers, as slots are not shared with them."""
        self.on_idle()
        self._peers, self._peers_read_at = Peers(), float("-inf")

    async def observe_peers(self) -> None:
        """Read the peers for observers, if they can be reached; nothing is published."""
        if _now() >= max(self._peers_read_at + _PEERS_FRESH_FOR, self._observe_not_before):
            try:
                await self._read_peers()
            except PeersUnreachable:
                self._observe_not_before = _now() + PUBLISH_EVERY

    async def prepare(self) -> bool:
        """
        Publish, and read the peers, if that is due, before a reading is taken in.

        Return whether a job without a known reference may settle a hold: not if it may be a peer's job.
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
        """Take a turn at granting a reading's free slots; if they are not shared, at no cost."""
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
            # Unreachable for so long, they are gone, or count this gate as gone.
            turn = Turn(self.held_elsewhere, _keep) if self._counts_peers_as_gone else None
        return turn or Turn(self.held_elsewhere, _keep, is_open=False)

    async def _take_turn(self, reading: Capacity) -> Turn | None:
        """Wait until this gate may grant; None if it may not this time."""
        next_reading_at = _now() + _BETWEEN_READINGS
        if _now() - self._peers_read_at >= _PEERS_FRESH_FOR:
            await self._read_peers()
        if self._own.is_fading(self._peers_read_at):
            # Peers that came meanwhile don't know of this gate, so it has to publish first.
            raise PeersUnreachable("they may count this triggerer as gone")
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
        """Publish the intent to grant; if a peer may be granting, withdraw it and return False."""
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
        """Publish grants; undo them if that fails, or is late."""
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
        """Publish once a minute what is held, also as a sign of life; find new peers."""
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
        began = _now()  # A peer that comes from now on may be missing.
        own_id = self._own.gate_id
        ids = await self._store.ids()
        texts = {gate_id: await self._store.get(gate_id) for gate_id in ids if gate_id != own_id}
        if None in texts.values():
            # Airflow returns None for a deleted Variable, and also for one that can't be read.
            ids = await self._store.ids()
            if any(texts[gate_id] is None for gate_id in texts.keys() & set(ids)):
                raise PeersUnreachable("a state exists, but can't be read")
        states = {gate_id: self._parse(gate_id, text) for gate_id, text in texts.items() if text}
        self._peers.observe(states, _now())
        self._peers_read_at = began
        if own_id not in ids:
            self._own.deleted(_now())
        for gate_id in self._peers.forgotten(_now()):
            await self._store.delete(gate_id)
        self._log_peers()

    def _parse(self, gate_id: str, text: str) -> PeerState:
        state, is_valid = PeerState.read(text)
        if not is_valid and self._changed(f"state of {gate_id}", "invalid"):
            log.warning(
                "Connection '%s': the state of another triggerer's gate (%s) can't be parsed. Nothing is "
                "granted here until it can be, or until it has not changed for %.0f s.",
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
                "here until that works again; after %.0f s, slots are granted as if there were no others.",
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
                else "a grant was undone, because it was published too late: another triggerer may have "
                "granted the same slots. The service, or Airflow's API server, answers too slowly.",
            )

    def _log_peers(self) -> None:
        alive = self._peers.alive(_now())
        if self._changed("peers", alive, at_first=0):
            others = "1 other triggerer" if alive == 1 else f"{alive or 'no'} other triggerers"
            log.info("Connection '%s': its slots are shared with %s.", self._name, others)

    def _changed(self, topic: str, value: object, *, at_first: object = None) -> bool:
        """Return whether a topic's value differs from the last time, so that it is logged."""
        before = self._logged.get(topic, at_first)
        self._logged[topic] = value
        return value != before


async def _keep(grants: list[Grant]) -> list[Grant]:
    """Commit grants without publishing them."""
    return grants


async def _sleep_until(moment: float) -> None:
    await asyncio.sleep(max(0.0, moment - _now()))


def _now() -> float:
    return asyncio.get_running_loop().time()
