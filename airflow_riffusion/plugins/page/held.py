"""
Which slots are held, as far as an observer can tell.

Pure: no Airflow, no clock, no I/O.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_riffusion.core.capacity import Capacity, ExecutingJob
from airflow_riffusion.core.peers import Peers

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Mapping

    from airflow_riffusion.core.peers import PeerState
    from airflow_riffusion.plugins.page.reading import Reading


class HeldByGates:
    """What the gates of one connection hold, by the states that they leave for each other."""

    def __init__(self) -> None:
        self._gates = Peers()
        self._told: set[str] = set()
        self._seen: set[str] = set()

    def observe(self, states: Mapping[str, PeerState], now: float) -> None:
        """
        Take in what the gates say.

        :param states: the last state of each, by the gate's id.
        :param now: seconds on any clock that never goes back.
        """
        self._gates.observe(states, now)
        self._told = {held.reply_ref for state in states.values() for held in state.holds}

    def slots(self, reading: Reading, now: float) -> Counter[str]:
        """
        Return how many slots are held whose jobs are not seen executing, by account.

        A gate without peers says only once a minute what it no longer holds. So a job that was seen once
        counts as seen from then on: its slot is free again when it is over.

        :param reading: what the service says.
        :param now: seconds on the clock that states are observed by.
        """
        self._seen = {each for each in self._told if each in self._seen or each in reading.references}
        seen = tuple(ExecutingJob(reply_ref=reference) for reference in self._seen)
        of_gates = Capacity(service=reading.service, observed_at=reading.observed_at, accounts=(), jobs=seen)
        return self._gates.taken(of_gates, now)
