"""Serving the emulator: in the background of a test, or as a program."""

from __future__ import annotations

import asyncio
import socket
import threading
from contextlib import contextmanager
from random import Random
from typing import TYPE_CHECKING, Self

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from airflow_riffusion.emulator import limits
from airflow_riffusion.emulator.app import create_app
from airflow_riffusion.emulator.clock import Clock, utc_now
from airflow_riffusion.emulator.dialects import TITLES, dialect_of
from airflow_riffusion.emulator.faults import FaultList
from airflow_riffusion.emulator.misbehaviour import CLOSE_CONNECTION
from airflow_riffusion.emulator.service import SchedulerService

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from fastapi import FastAPI
    from starlette.types import Receive, Scope, Send


class EmulatorServer:
    """
    The emulator on a port of its own.

    As a context manager it serves in a background thread, and has ended when the block has::

        with EmulatorServer(accounts=2, max_jobs=2, job_seconds=20) as emulator:
            requests.get(f"{emulator.url}/v1/riffusion/scheduler/available", headers=...)
            assert emulator.service.stats().refusals == 0

    Entered again, it is the same service at the same address, as after an outage. A test can use its state:
    ``service`` takes slots and has the counts, ``faults`` takes faults.

    :param accounts: how many accounts there are; or, for each account by name, its number of slots.
    :param max_jobs: the slots of each account, where ``accounts`` does not say it: 1 to 10, or to what the
        service allows (flowmusic 16, pixverse 8, acemusic 4).
    :param job_seconds: how long a job takes, in seconds, or a function that returns it for each job.
    :param other_clients_per_minute: how many other clients of the accounts come, on average. Each takes a
        free slot for a job of its own, or goes away if there is none.
    :param hide_full_accounts: whether ``GET scheduler/available`` lists only accounts with a free slot; by
        default where the service is known to do so (tempolor).
    :param jobs_per_submission: how many jobs a submission makes, and slots it takes: 2 on tempolor only.
    :param submission_pause: the least time between two submissions over HTTP, in seconds: one that comes
        sooner is answered with 429. By default what the service wants (mureka 3).
    :param audio_delay: how long after a job's end its audio is not there yet, in seconds, where audio has an
        endpoint of its own (tempolor).
    :param service: the service to speak like: ``riffusion``, ``flowmusic``, ``tempolor``, ``acemusic``,
        ``mureka``, ``pixverse`` or ``kling``.
    :param token: the one API token to accept; without it, any that is not empty.
    :param host: the address or name to listen on, in any spelling. Only with a token may it be another than
        loopback.
    :param port: the port to listen on; 0 picks a free one.
    :param seed: makes the choice of accounts, the ids of jobs and other clients repeat themselves.
    :param clock: returns the time, with a time zone; a test can pass a clock that it moves itself.
    :raises ValueError: if one of these makes no sense; its message begins with the name.
    """

    def __init__(
        self,
        *,
        accounts: int | Mapping[str, int] = 2,
        max_jobs: int = 2,
        job_seconds: float | Callable[[], float] = 20.0,
        other_clients_per_minute: float = 0.0,
        hide_full_accounts: bool | None = None,
        jobs_per_submission: int = 1,
        submission_pause: float | None = None,
        audio_delay: float = 0.0,
        service: str = "riffusion",
        token: str | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
        seed: int | None = None,
        clock: Clock = utc_now,
    ) -> None:
        if service not in TITLES:
            raise ValueError(f"service: must be one of {', '.join(TITLES)}, not {service!r}")
        self._dialect = dialect = dialect_of(service)
        self.token = token
        self._host = limits.plain_host(host)
        limits.check_reach(self._host, token)
        limits.check_between("port", port, 0, 65535)
        self._port = port
        number = accounts if isinstance(accounts, int) else len(accounts)
        limits.check_between("accounts", number, 1, limits.MAX_ACCOUNTS)
        if isinstance(accounts, int):
            accounts = {dialect.account_name(number): max_jobs for number in range(1, accounts + 1)}
        for slots in accounts.values():
            limits.check_between("max_jobs", slots, 1, dialect.most_slots)
        if not callable(job_seconds):
            limits.check_job_seconds(job_seconds)
        limits.check_between(
            "other_clients_per_minute", other_clients_per_minute, 0, limits.MAX_OTHER_CLIENTS
        )
        limits.check_between("jobs_per_submission", jobs_per_submission, 1, dialect.most_jobs_per_submission)
        self._jobs_per_submission = jobs_per_submission
        limits.check_between("audio_delay", audio_delay, 0, limits.MAX_JOB_SECONDS)
        self._audio_delay = audio_delay
        if submission_pause is None:
            submission_pause = dialect.submission_pause
        limits.check_between("submission_pause", submission_pause, 0, limits.MAX_PAUSE_SECONDS)
        if hide_full_accounts is None:
            hide_full_accounts = dialect.hides_full_accounts
        self.service = SchedulerService(
            accounts,
            new_job_id=dialect.new_job_id,
            job_seconds=job_seconds,
            other_clients_per_minute=other_clients_per_minute,
            hide_full_accounts=hide_full_accounts,
            submission_pause=submission_pause,
            clock=clock,
            random=Random(seed),
        )
        self.faults = FaultList()

    @property
    def token(self) -> str | None:
        """The one API token to accept; it can be replaced while it serves."""
        return self._token

    @token.setter
    def token(self, token: str | None) -> None:
        limits.check_token(token)
        self._token = token

    @property
    def url(self) -> str:
        """Its address, without a slash at the end, once it listens."""
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"http://{host}:{self._port}"

    def run(self, when_ready: Callable[[], object]) -> None:
        """
        Serve in this thread, until SIGINT or SIGTERM.

        :param when_ready: called when it answers requests.
        :raises OSError: if it can't listen on its address.
        """
        self._new_server(when_ready).run(sockets=[self._listen()])

    def __enter__(self) -> Self:
        listening = self._listen()
        ready_or_failed = threading.Event()
        self._server = self._new_server(ready_or_failed.set)

        def serve() -> None:
            try:
                self._server.run(sockets=[listening])
            finally:
                ready_or_failed.set()

        self._thread = threading.Thread(target=serve, name=f"emulator on port {self._port}", daemon=True)
        self._thread.start()
        ready_or_failed.wait()
        if not self._server.started:
            raise RuntimeError("the emulator did not start: see the log")
        return self

    def __exit__(self, *_error: object) -> None:
        self._server.should_exit = True
        self._thread.join()

    def _new_server(self, when_ready: Callable[[], object]) -> _Server:
        closing = asyncio.Event()
        app = create_app(
            self.service,
            self._dialect,
            token=lambda: self._token,
            base_url=lambda: self.url,
            faults=self.faults,
            closing=closing,
            jobs_per_submission=self._jobs_per_submission,
            audio_delay=self._audio_delay,
        )
        return _Server(app, closing, when_ready)

    def _listen(self) -> socket.socket:
        family = socket.AF_INET6 if ":" in self._host else socket.AF_INET
        listening = socket.create_server((self._host, self._port), family=family, backlog=2048)
        # asyncio does so only for sockets that name their protocol; without it each answer waits 40 ms.
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._port = listening.getsockname()[1]
        return listening


class _Server(uvicorn.Server):
    """Uvicorn that calls back when it is ready, and waits for no client when it closes."""

    def __init__(self, app: FastAPI, closing: asyncio.Event, when_ready: Callable[[], object]) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                http=_Connection,
                ws="none",
                loop="asyncio",
                lifespan="on",
                log_config=None,
                access_log=False,
                # Longer than usual poll intervals, or clients would meet closing connections.
                timeout_keep_alive=75,
            )
        )
        self._closing = closing
        self._when_ready = when_ready

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        # Uvicorn raises the signals again when it has closed: the program would end with a traceback.
        with super().capture_signals():
            yield
            self._captured_signals.clear()

    async def main_loop(self) -> None:
        self._when_ready()
        await super().main_loop()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._closing.set()
        await super().shutdown(sockets)


class _Connection(H11Protocol):
    """A connection that a request can close, and that closes at once when the server does."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        app = self.app

        async def with_extension(scope: Scope, receive: Receive, send: Send) -> None:
            await app({**scope, "extensions": {CLOSE_CONNECTION: transport.close}}, receive, send)

        self.app = with_extension

    def shutdown(self) -> None:
        self.transport.abort()
