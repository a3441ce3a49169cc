from __future__ import annotations

import sys
import threading
from queue import Queue

from airflow_riffusion.plugins.page.threads import Threads

TIMEOUT = 30.0


def test_threads_more_work_than_threads_is_queued():
    before = set(threading.enumerate())
    began: Queue[int] = Queue()
    may_end = threading.Event()
    threads = Threads(2)
    for number in range(5):
        threads.run(lambda number=number: (began.put(number), may_end.wait(TIMEOUT)))

    assert len(set(threading.enumerate()) - before) == 2
    may_end.set()
    assert sorted(began.get(timeout=TIMEOUT) for _ in range(5)) == [0, 1, 2, 3, 4]


def test_threads_after_failed_work_run_the_next():
    done = threading.Event()
    threads = Threads(1)
    threads.run(lambda: sys.exit("failed"))
    threads.run(done.set)

    assert done.wait(TIMEOUT)
