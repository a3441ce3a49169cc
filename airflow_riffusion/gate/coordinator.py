"""
One queue of free slots for the gates of several triggerers, each in a process or on a machine of its own.

Airflow offers a trigger no lock and no compare-and-set, only Variables that overwrite each other. So each
gate writes one of its own and reads the others'. Who finds something to grant raises a flag, and only then
looks at the others: of two that do so at the same time, at least one sees the other's flag and steps back.
"""

from __future__ import annotations

import asyncio
import logging
import random
import uuid
from typing import TYPE_CHECKING

from airflow_riffusion.core.peers import (
    GONE_AFTER,
    INTENT_EXPIRES,
    LONGEST_TURN,
    PUBLISH_EVERY,
    Peers,
    PeerState,
)
from airflow_riffusion.gate.peer_store import PeersUnreachable

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Awaitable, Callable

    from airflow_riffusion.core.capacity import Capacity
    from airflow_riffusion.core.ledger import SlotLedger
    from airflow_riffusion.core.request import Grant
    from airflow_riffusion.gate.peer_store import PeerStore

log = logging.getLogger(__name__)

# All in seconds. A look at the board is good for so long; what is granted because it shows nobody is
# published by then; and who has just come, and does see somebody, first lets more than that pass.
_LOOK_LASTS = 5.0
_PUBLISHED_WITHIN = 8.0
_NEWCOMER_FOR = 10.0
# After so long without a state of its own, a gate comes anew: its peers may soon take it for gone;
# and after so long under another name: one of them may be deleting the old state.
_FADING_AFTER = 100.0
_RENAMED_AFTER = 300.0

_BETWEEN_READINGS = 1.0
_TRIES = 5
_LONGEST_PAUSE = 1.0


class Coordinator:
    """
    Grants a gate's free slots so that no other triggerer's gate grants the same ones.

    Nothing is granted that was not published first, and nothing while peers can't be reached: unless
    that lasts so long that they would have gone anyway. Who is alone needs no flag: a newcomer waits until
    it must have been noticed.

    :param ledger: whose slots to grant.
    :param board: how to reach the peers.
    :param read_again: takes another reading, after which the ledger has taken it in.
    :param name: the connection, for the log.
    """

    def __init__(
        self,
        ledger: SlotLedger,
        board: PeerStore,
        read_again: Callable[[], Awaitable[Capacity]],
        name: str,
    ) -> None:
        self._gate_id = ""
        self._ledger = ledger
        self._board = board
        self._read_again = read_again
        self._name = name
        self._peers = Peers()
        self._sequence = 0
        self._flag = False
        self._told_held = self._told_wanted = 0
        self._told_at = self._came_at = self._looked_at = self._not_before = float("-inf")
        self._unreached_since: float | None = None
        self._logged_alive = 0
        self._logged_slow = False
        self._logged_odd: set[str] = set()

    def taken(self, reading: Capacity) -> Counter[str]:
        """
        Return how many slots are held by peers, by account, as far as this gate knows.

        :param reading: the last one.
        """
        return self._peers.taken(reading, _now())

    def wanted(self) -> Counter[frozenset[str] | None]:
        """Return how many slots those want that wait at peers, by the accounts they can use."""
        return self._peers.wanted(_now())

    @property
    def has_news(self) -> bool:
        """
        Whether anybody has to hear what has changed.

        Peers take slots for held that no longer are; so does who looks at the capacity page. And an
        event trigger elsewhere, which says nothing itself, must not take for room what tasks want here.
        """
        if self._unreached_since is not None and _now() - self._unreached_since >= GONE_AFTER:
            return False  # By now they have forgotten this gate.
        released = self._ledger.held < self._told_held
        wanted, told = self._ledger.wanted.total(), self._told_wanted
        if self._alone:
            return (released and not self._ledger.held) or wanted > 2 * told or (not wanted and told > 0)
        return released or wanted != told

    def rest(self) -> None:
        """Leave off until somebody waits again: peers are told all then, and trouble counts anew."""
        self._unreached_since = None
        self._told_held = self._told_wanted = 0

    def forget(self) -> None:
        """Share nothing any longer, or not yet."""
        self.rest()
        self._peers, self._looked_at = Peers(), float("-inf")
        self._ledger.holds.may_guess = True

    async def look_on(self) -> None:
        """Learn what peers hold and want, if that can be done; say nothing, as nothing is granted."""
        if _now() >= max(self._looked_at + _LOOK_LASTS, self._not_before):
            try:
                await self._look()
            except PeersUnreachable:
                self._not_before = _now() + PUBLISH_EVERY

    async def prepare(self) -> None:
        """
        Learn who is there before the ledger takes a reading in, and say what is held if that is due.

        A job without a known reference is a peer's, unless there is none: then the ledger may guess.
        """
        self._ledger.holds.may_guess = False
        try:
            await self._keep_in_touch()
            guessing = self._ledger.held and not self._ledger.holds.references_seen
            if guessing and _now() - self._looked_at >= _LOOK_LASTS:
                await self._look()
        except PeersUnreachable as error:
            self._unreached(error)
        else:
            self._ledger.holds.may_guess = self._alone

    async def grant(self, reading: Capacity) -> list[Grant]:
        """
        Grant what is free, if that can be done without anybody else granting the same.

        :param reading: what the ledger has taken in just now.
        :return: what may be told to the waiters.
        :raises RiffusionError: if a second reading that was needed can't be had.
        """
        try:
            if self.has_news or self._flag:
                await self._publish()
            return await self._grant_in_turn(reading) if self._ledger.wants(reading) else []
        except PeersUnreachable as error:
            self._unreached(error)
        if self._unreached_since is None or _now() - self._unreached_since < GONE_AFTER:
            return []
        # By now they are gone, or can't reach this gate either.
        return self._ledger.grant(reading, _now(), self.taken(reading))

    async def _grant_in_turn(self, reading: Capacity) -> list[Grant]:
        next_reading_at = _now() + _BETWEEN_READINGS
        if _now() - self._looked_at >= _LOOK_LASTS:
            await self._look()
        if self._looked_at - self._told_at >= _FADING_AFTER:
            # Who came meanwhile has not noticed this gate: it has to say first that it is there.
            raise PeersUnreachable("they may take this triggerer for gone")
        if self._alone:
            return await self._grant(reading, until=self._looked_at + _PUBLISHED_WITHIN)
        for _ in range(_TRIES):
            await _sleep_until(max(next_reading_at, self._came_at + _NEWCOMER_FOR))
            if not self._ledger.wants(reading, self.taken(reading)):
                break
            if (granted := await self._take_turn()) is not None:
                return granted
            await asyncio.sleep(random.uniform(0.0, _LONGEST_PAUSE))
        return []

    async def _keep_in_touch(self) -> None:
        """Say now and then what is held, so that nobody counts what is not; and learn who is there."""
        if _now() - self._told_at >= PUBLISH_EVERY:
            await self._publish()
            await self._look()
            if self._told_at == float("-inf"):
                raise PeersUnreachable("what this triggerer has just written is not there")
            self._reached()

    async def _take_turn(self) -> list[Grant] | None:
        """Grant under a raised flag, by a reading that is newer than what the peers say; None: not now."""
        until = _now() + LONGEST_TURN
        try:
            await self._publish(flag=True)
            await self._look()
            if self._is_newcomer or self._peers.intends_to_grant(_now()):
                return None
            return await self._grant(await self._read_again(), until)
        finally:
            if self._flag or self.has_news:
                await self._publish()

    async def _grant(self, reading: Capacity, until: float) -> list[Grant]:
        """Grant and publish that before the time is over, or do neither."""
        granted = self._ledger.grant(reading, _now(), self.taken(reading))
        if not granted:
            return []
        in_time = False
        try:
            await self._publish()
            in_time = _now() < until
        finally:
            if not in_time:
                for grant in granted:
                    self._ledger.take_back(grant)
        self._log_pace(in_time)
        self._reached()
        return granted if in_time else []

    def _unreached(self, error: PeersUnreachable) -> None:
        if self._unreached_since is None:
            self._unreached_since = _now()
            log.warning(
                "Connection '%s': what other triggerers have granted can't be found out (%s). "
                "Nothing is granted here until it can, or for %.0f s; then as if there were none.",
                self._name,
                error,
                GONE_AFTER,
            )

    def _reached(self) -> None:
        if self._unreached_since is not None:
            self._unreached_since = None
            log.info("Connection '%s': the other triggerers can be reached again.", self._name)

    def _log_pace(self, in_time: bool) -> None:
        if self._logged_slow == in_time:
            self._logged_slow = not in_time
            log.warning(
                "Connection '%s': %s",
                self._name,
                "granting is in time again."
                if in_time
                else "granting took so long that other triggerers may have granted the same slots, so it "
                "came to nothing: the service, or Airflow's API server, answers too slowly.",
            )

    @property
    def _alone(self) -> bool:
        return not self._peers.alive(_now())

    @property
    def _is_newcomer(self) -> bool:
        """Whether a peer may not have noticed this gate yet, and so be granting as if it were alone."""
        return _now() - self._came_at < _NEWCOMER_FOR

    async def _publish(self, *, flag: bool = False) -> None:
        self._sequence += 1
        self._flag = self._flag or flag  # An attempt that fails may have raised it all the same.
        now = _now()
        held, wanted = self._ledger.held, self._ledger.wanted
        state = PeerState.of(self._ledger.holds, now, sequence=self._sequence, flag=flag, wanted=wanted)
        if now - self._told_at >= _RENAMED_AFTER:
            await self._take_name()
        await self._board.put(self._gate_id, state.model_dump_json())
        if now - self._told_at >= _FADING_AFTER:
            self._came_at = _now()
        self._flag, self._told_held, self._told_wanted, self._told_at = flag, held, wanted.total(), now

    async def _take_name(self) -> None:
        if self._gate_id:
            await self._board.delete(self._gate_id)
        self._gate_id = uuid.uuid4().hex[:12]

    async def _look(self) -> None:
        """Read what the peers say."""
        began = _now()  # who has come since then may not be seen
        ids = await self._board.ids()
        texts = {gate_id: await self._board.get(gate_id) for gate_id in ids if gate_id != self._gate_id}
        if None in texts.values():
            # Airflow says so, too, if a Variable can't be read.
            ids = await self._board.ids()
            if any(texts[gate_id] is None for gate_id in texts.keys() & set(ids)):
                raise PeersUnreachable("a state is there, but can't be read")
        states = {gate_id: self._read(gate_id, text) for gate_id, text in texts.items() if text}
        self._peers.observe(states, _now())
        self._looked_at = began
        if self._gate_id not in ids:
            self._told_at, self._came_at = float("-inf"), _now()  # Somebody has deleted it: it comes anew.
        for gate_id in self._peers.forgotten(_now()):
            await self._board.delete(gate_id)
        self._log_peers()

    def _read(self, gate_id: str, text: str) -> PeerState:
        state, understood = PeerState.read(text)
        if not understood and gate_id not in self._logged_odd:
            self._logged_odd.add(gate_id)
            log.warning(
                "Connection '%s': the state of another triggerer's gate (%s) makes no sense. Until it does, "
                "or stays as it is for %.0f s, nothing is granted here.",
                self._name,
                gate_id,
                INTENT_EXPIRES,
            )
        return state

    def _log_peers(self) -> None:
        alive = self._peers.alive(_now())
        if alive != self._logged_alive:
            self._logged_alive = alive
            others = "1 other triggerer" if alive == 1 else f"{alive or 'no'} other triggerers"
            log.info("Connection '%s': its slots are shared with %s.", self._name, others)


async def _sleep_until(moment: float) -> None:
    await asyncio.sleep(max(0.0, moment - _now()))


def _now() -> float:
    return asyncio.get_running_loop().time()
