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
    """At most so many daemon threads at once; further work is queued."""

    # An executor's threads are not daemons: a service that hangs would keep Airflow from shutting down.

    def __init__(self, most: int) -> None:
        self._most = most
        self._running = 0
        self._queue: deque[Callable[[], None]] = deque()
        self._lock = threading.Lock()

    def run(self, work: Callable[[], None]) -> None:
        """Run a blocking function in a thread, now or when one is free; may raise RuntimeError."""
        with self._lock:
            if self._running == self._most:
                self._queue.append(work)
                return
            thread = threading.Thread(
                target=self._run, args=(work,), name="riffusion-capacity-page", daemon=True
            )
            thread.start()
            self._running += 1

    def _run(self, work: Callable[[], None] | None) -> None:
        while work is not None:
            try:
                work()
            except BaseException:
                log.exception("The capacity page's work in a thread has failed.")
            with self._lock:
                work = self._queue.popleft() if self._queue else None
                if work is None:
                    self._running -= 1
