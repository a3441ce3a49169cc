"""Child processes that leave nothing behind, whatever ends the program that started them."""

from __future__ import annotations

import os
import signal
import threading
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING

import psutil

from dev.airflow_client import attempts

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Collection, Iterator

_INTERRUPTS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def has_ended(process: subprocess.Popen[bytes]) -> bool:
    """Tell whether a child has ended, without taking note of its end."""
    # Not poll(): that would free the process's number, which may then become somebody else's session.
    return psutil.Process(process.pid).status() == psutil.STATUS_ZOMBIE


def kill(leaders: Collection[subprocess.Popen[bytes]]) -> None:
    """Kill session leaders and all that they started, even what has a session of its own by now."""
    sessions = {leader.pid for leader in leaders if leader.returncode is None}
    family: set[psutil.Process] = set()
    with interrupts_wait():
        # A process that is stopped can't start another one between being found and being killed.
        for _ in attempts(10, interval=0.01):
            found = _family(sessions) - family
            if not found:
                break
            family |= found
            for process in found:
                with suppress(psutil.Error):
                    process.suspend()
        for process in family:
            with suppress(psutil.Error):
                process.kill()
        for leader in leaders:
            leader.wait(timeout=10)
        for _ in attempts(10, interval=0.01):
            if not _family(sessions):
                break


def suspend(leader: subprocess.Popen[bytes]) -> None:
    """Stop a session leader and all that it started, as a machine that stalls does."""
    for process in _family({leader.pid}):
        with suppress(psutil.NoSuchProcess):
            process.suspend()


def resume(leader: subprocess.Popen[bytes]) -> None:
    """Let what was stopped go on."""
    for process in _family({leader.pid}):
        with suppress(psutil.NoSuchProcess):
            process.resume()


def _family(sessions: set[int]) -> set[psutil.Process]:
    everyone = psutil.process_iter(["ppid", "status"])
    parents = {one: one.info["ppid"] for one in everyone if one.info["status"] != psutil.STATUS_ZOMBIE}
    pids = {one.pid for one in parents if _session(one.pid) in sessions}
    while children := {one.pid for one, parent in parents.items() if parent in pids} - pids:
        pids |= children
    return {one for one in parents if one.pid in pids}


def _session(pid: int) -> int | None:
    with suppress(OSError):
        return os.getsid(pid)
    return None


@contextmanager
def interrupts_unwind() -> Iterator[None]:
    """Let SIGTERM and SIGHUP do what Ctrl-C does, where they would end the program without any clean-up."""
    with ExitStack() as restore:
        if threading.current_thread() is threading.main_thread():
            for number in _INTERRUPTS:
                if signal.getsignal(number) is signal.SIG_DFL:
                    signal.signal(number, signal.default_int_handler)
                    restore.callback(signal.signal, number, signal.SIG_DFL)
        yield


@contextmanager
def interrupts_wait() -> Iterator[None]:
    """Put off signals until the block has run: no process is started unnoticed or left half killed."""
    held: list[int] = []
    with ExitStack() as at_end:
        at_end.callback(lambda: [*map(signal.raise_signal, held)])
        if threading.current_thread() is threading.main_thread():
            for number in _INTERRUPTS:
                before = signal.signal(number, lambda number, _: held.append(number))
                at_end.callback(signal.signal, number, before)
        yield
