from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator

import pytest

Handler = Callable[[socket.socket], None]


class RawServer:
    """Speaks HTTP as badly as a test wants it to: the test writes the bytes of the answer itself."""

    def __init__(self, handler: Handler) -> None:
        self._handler = handler
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._connections: list[socket.socket] = []
        self.requests: list[bytes] = []
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._thread.start()

    def pause(self, seconds: float) -> bool:
        """Pause between bytes; True if the test is over."""
        return self._stopped.wait(seconds)

    def close(self) -> None:
        self._stopped.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for connection in self._connections:
            connection.close()
        self._thread.join(10)

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while not self._stopped.is_set():
                connection, _ = self._listener.accept()
                self._connections.append(connection)
                threading.Thread(target=self._answer, args=(connection,), daemon=True).start()

    def _answer(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError), connection:
            request = b""
            while b"\r\n\r\n" not in request:
                received = connection.recv(65536)
                if not received:
                    return
                request += received
            self.requests.append(request)
            self._handler(connection)


@pytest.fixture
def raw_server() -> Iterator[Callable[[Handler], RawServer]]:
    """Return a function that starts a server which answers by a handler, on loopback."""
    with contextlib.ExitStack() as servers:

        def start(handler: Handler) -> RawServer:
            server = RawServer(handler)
            servers.callback(server.close)
            return server

        yield start


@pytest.fixture
def answering(raw_server) -> Callable[..., RawServer]:
    """Return a function that starts a server which always gives the same answer."""

    def start(body: bytes = b"", status: str = "200 OK", **headers: str) -> RawServer:
        lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", "Connection: close"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        answer = "\r\n".join(lines).encode() + b"\r\n\r\n" + body
        return raw_server(lambda connection: connection.sendall(answer))

    return start
