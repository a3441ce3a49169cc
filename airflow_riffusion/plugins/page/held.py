"""
Which slots are held, as far as an onlooker can tell.

Pure: no Airflow, no clock, no I/O.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_riffusion.capacity import ExecutingJob
from airflow_riffusion.siblings import Siblings

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Mapping

    from airflow_riffusion.capacity import Capacity
    from airflow_riffusion.siblings import Notice


class HeldByGates:
    """What the gates of one connection hold, by the notices that they leave for each other."""

    def __init__(self) -> None:
        self._gates = Siblings()
        self._told: set[str] = set()
        self._seen: set[str] = set()

    def observe(self, notices: Mapping[str, Notice], now: float) -> None:
        """
        Take in what the gates say.

        :param notices: the last notice of each, by the gate's id.
        :param now: seconds on any clock that never goes back.
        """
        self._gates.observe(notices, now)
        self._told = {held.reply_ref for notice in notices.values() for held in notice.holds}

    def slots(self, reading: Capacity, now: float) -> Counter[str]:
        """
        Return how many of the slots that a reading shows as free are held, by account.

        A gate without siblings says only once a minute what it no longer holds. So a job that was seen once
        counts as seen from then on: its slot is free again when it is over.

        :param reading: what the service says.
        :param now: seconds on the clock that notices are observed by.
        """
        executing = {job.reply_ref for job in reading.jobs if job.reply_ref}
        self._seen = (self._seen | executing) & self._told
        seen = tuple(ExecutingJob(reply_ref=reference) for reference in self._seen)
        taken = self._gates.taken(reading.model_copy(update={"jobs": (*reading.jobs, *seen)}), now)
        for account in reading.accounts:
            taken[account.user_id] = min(taken[account.user_id], account.available)
        return taken
