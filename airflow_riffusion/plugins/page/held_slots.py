"""The slots that the gates hold, as far as an observer can tell. Pure: no Airflow, no clock, no I/O."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_riffusion.core.peers import Peers

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Mapping

    from airflow_riffusion.core.capacity import Capacity
    from airflow_riffusion.core.peers import PeerState


class GateHolds:
    """The holds of one connection's gates, by the states that they publish for each other."""

    def __init__(self) -> None:
        self._gates = Peers()
        self._seen: set[str] = set()

    def held_slots(self, states: Mapping[str, PeerState], reading: Capacity, now: float) -> Counter[str]:
        """Return how many slots are held whose jobs have not been seen executing, by account."""
        self._gates.observe(states, now)
        published = {held.reply_ref for state in states.values() for held in state.held}
        # A gate without peers publishes its holds only once a minute. A job that was seen once counts as seen
        # from then on: its slot is free again when the job is over.
        self._seen = published & (self._seen | {job.reply_ref for job in reading.jobs if job.reply_ref})
        return self._gates.held(reading, now, seen=self._seen)
