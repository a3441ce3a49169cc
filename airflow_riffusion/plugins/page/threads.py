"""Threads that hold up neither Airflow's own pages nor its shutdown."""

from __future__ import annotations

import logging
import threading
from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

log = logging.getLogger(__name__)


class Threads:
    """
    Daemon threads, no more than so many at once; what is more waits for its turn.

    Those of an executor are no daemons: a service that doesn't answer would keep Airflow from shutting down.

    :param most: how many there may be at once.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._running = 0
        self._waiting: deque[Callable[[], None]] = deque()
        self._lock = threading.Lock()

    def run(self, work: Callable[[], None]) -> None:
        """
        Let a thread do something, now or when one is free.

        :param work: blocks. If it raises, that is logged.
        :raises RuntimeError: if no thread can be started.
        """
        with self._lock:
            if self._running == self._most:
                self._waiting.append(work)
                return
            thread = threading.Thread(
                target=self._work, args=(work,), name="riffusion-capacity-page", daemon=True
            )
            thread.start()
            self._running += 1

    def _work(self, work: Callable[[], None] | None) -> None:
        while work is not None:
            try:
                work()
            except BaseException:
                log.exception("The capacity page's work in a thread has failed.")
            with self._lock:
                work = self._waiting.popleft() if self._waiting else None
                if work is None:
                    self._running -= 1
