"""Serving the emulator: in the background of a test, or as a program of its own."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import threading
from contextlib import contextmanager, suppress
from random import Random
from typing import TYPE_CHECKING, Self

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from airflow_riffusion.emulator.app import create_app
from airflow_riffusion.emulator.dialects import DIALECTS
from airflow_riffusion.emulator.faults import FaultList
from airflow_riffusion.emulator.misbehaviour import CLOSE_CONNECTION
from airflow_riffusion.emulator.service import Clock, SchedulerService, utc_now

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from types import TracebackType

    from fastapi import FastAPI
    from starlette.types import ASGIApp, Receive, Scope, Send

_KEEP_ALIVE_SECONDS = 75
_MOST_ACCOUNTS = 1000


class EmulatorServer:
    """
    The emulator on a port of its own.

    As a context manager it serves in a background thread, and has ended when the block has::

        with EmulatorServer(accounts=2, max_jobs=2, job_seconds=20) as emulator:
            requests.get(f"{emulator.url}/v1/riffusion/scheduler/available", headers=...)
            assert emulator.service.stats().refusals == 0

    Entered again, it is the same service, at the same address, after it was away for a while. Its state can
    be looked at, and changed, directly: ``service`` takes slots and shows counts, ``faults`` takes faults.

    :param accounts: how many accounts there are; or, for each account by name, its number of slots.
    :param max_jobs: the slots of each account, 1 to 10, where ``accounts`` does not say it.
    :param job_seconds: how long a job takes, in seconds, or a function that says so anew for each job.
    :param other_clients_per_minute: how many other clients of the accounts come, on average. Each takes a
        free slot for a job of its own, or goes away if there is none.
    :param hide_full_accounts: whether ``GET scheduler/available`` lists only accounts with a free slot, as
        some services do.
    :param service: the service to speak like: ``riffusion``, ``tempolor``, ``kling`` or ``ltxstudio``.
    :param token: the one API token to accept; without it, any that is not empty.
    :param host: the address or name to listen on, in any spelling. Only with a token may it be another than
        loopback.
    :param port: the port to listen on; 0 picks a free one.
    :param seed: makes the choice of accounts, the ids of jobs and the coming of others repeat themselves.
    :param clock: tells the time; a test can hand in one that it moves by itself.
    :raises ValueError: if one of these makes no sense; its message begins with the name.
    """

    def __init__(
        self,
        *,
        accounts: int | Mapping[str, int] = 2,
        max_jobs: int = 2,
        job_seconds: float | Callable[[], float] = 20.0,
        other_clients_per_minute: float = 0.0,
        hide_full_accounts: bool = False,
        service: str = "riffusion",
        token: str | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
        seed: int | None = None,
        clock: Clock = utc_now,
    ) -> None:
        if service not in DIALECTS:
            raise ValueError(f"service: must be one of {', '.join(DIALECTS)}, not {service!r}")
        self.token = token
        self._host = _plain_host(host)
        _check_address(self._host, port, token)
        self._port = port
        self._dialect = DIALECTS[service]
        if isinstance(accounts, int):
            if not 1 <= accounts <= _MOST_ACCOUNTS:
                raise ValueError(f"accounts: must be between 1 and {_MOST_ACCOUNTS}, not {accounts}")
            accounts = {self._dialect.account_name(number): max_jobs for number in range(1, accounts + 1)}
        self.service = SchedulerService(
            accounts,
            new_job_id=self._dialect.new_job_id,
            job_seconds=job_seconds,
            other_clients_per_minute=other_clients_per_minute,
            hide_full_accounts=hide_full_accounts,
            clock=clock,
            random=Random(seed),
        )
        self.faults = FaultList()

    @property
    def token(self) -> str | None:
        """The one API token to accept; it may be replaced at any time, as people do with theirs."""
        return self._token

    @token.setter
    def token(self, token: str | None) -> None:
        _check_token(token)
        self._token = token

    @property
    def url(self) -> str:
        """Its address, without a slash at the end, once it listens."""
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"http://{host}:{self._port}"

    def run(self, when_ready: Callable[[], object]) -> None:
        """
        Serve in this thread, until SIGINT or SIGTERM.

        :param when_ready: called when requests will be answered.
        :raises OSError: if it can't listen on its address.
        """
        listening = self._listen()
        self._new_server(when_ready).run(sockets=[listening])

    def __enter__(self) -> Self:
        listening = self._listen()
        settled = threading.Event()
        self._server = self._new_server(settled.set)

        def serve() -> None:
            try:
                self._server.run(sockets=[listening])
            finally:
                settled.set()

        self._thread = threading.Thread(target=serve, name=f"emulator on port {self._port}", daemon=True)
        self._thread.start()
        settled.wait()
        if not self._server.started:
            raise RuntimeError("the emulator did not start: see the log")
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._server.should_exit = True
        self._thread.join()

    def _new_server(self, when_ready: Callable[[], object]) -> _Server:
        closing = asyncio.Event()
        app = create_app(
            self.service, self._dialect, token=lambda: self._token, faults=self.faults, closing=closing
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
    """Uvicorn, with a word when it is ready, and in no mood to wait for slow clients when it closes."""

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
                # Longer than any poll interval that is likely, or clients would meet closing connections.
                timeout_keep_alive=_KEEP_ALIVE_SECONDS,
            )
        )
        self._closing = closing
        self._when_ready = when_ready

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        # Uvicorn would raise a signal once more after it has obeyed it, and the program end with a traceback.
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
    """A connection that a request may close, and that closes at once when the server does."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.app = _lend(self.app, transport.close)

    def shutdown(self) -> None:
        self.transport.abort()


def _lend(app: ASGIApp, close: Callable[[], None]) -> ASGIApp:
    async def with_connection(scope: Scope, receive: Receive, send: Send) -> None:
        await app({**scope, "extensions": {CLOSE_CONNECTION: close}}, receive, send)

    return with_connection


def _check_token(token: str | None) -> None:
    if token is not None and not (token and token.isascii() and token.isprintable() and " " not in token):
        raise ValueError("token: must be printable ASCII without spaces, and not empty")


def _plain_host(host: str) -> str:
    """Return a host as sockets and URLs want it, such as ``::1``, from a spelling such as ``[::1]``."""
    plain = host.strip().removeprefix("[").removesuffix("]").removesuffix(".").lower()
    with suppress(ValueError):
        address = ipaddress.ip_address(plain)
        # A socket for IPv6 alone can't listen on an IPv4 address.
        return str(getattr(address, "ipv4_mapped", None) or address)
    if ":" in plain or "/" in plain:
        raise ValueError(f"host: must be an address or a name, without scheme and port, not {host!r}")
    with suppress(OSError, UnicodeError):
        (*_, (numeric, *_)), *_ = socket.getaddrinfo(plain, None, flags=socket.AI_NUMERICHOST)
        return str(numeric)
    return plain


def _check_address(host: str, port: int, token: str | None) -> None:
    if not 0 <= port <= 65535:
        raise ValueError(f"port: must be between 0 and 65535, not {port}")
    if token is None and not _is_loopback(host):
        raise ValueError(f"host: {host!r} can be reached from other machines, so a token is needed as well")


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
