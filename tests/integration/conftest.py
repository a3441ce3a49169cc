from __future__ import annotations

import contextlib
import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

# What would change how a program writes.
_OUTPUT = ("PYTHONUNBUFFERED", "PYTHONIOENCODING", "FORCE_COLOR", "NO_COLOR", "COLUMNS", "LINES")

Handler = Callable[[socket.socket], None]


class RawServer:
    """Speaks HTTP as badly as a test wants it to: the test writes the bytes of the answer itself."""

    def __init__(self, handler: Handler, tls: ssl.SSLContext | None = None) -> None:
        self._handler = handler
        self._tls = tls
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._connections: list[socket.socket] = []
        self.requests: list[bytes] = []
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self._listener.getsockname()[1]}"
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
            if self._tls is not None:
                connection = self._tls.wrap_socket(connection, server_side=True)
                self._connections.append(connection)
            request = b""
            while b"\r\n\r\n" not in request:
                received = connection.recv(65536)
                if not received:
                    return
                request += received
            self.requests.append(request)
            self._handler(connection)


class PlainServer(RawServer):
    """Speaks something else where TLS is expected: answers the first bytes of a handshake."""

    def __init__(self, answer: bytes) -> None:
        super().__init__(lambda connection: connection.sendall(answer))

    def _answer(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError), connection:
            connection.recv(65536)
            self._handler(connection)


@pytest.fixture
def raw_server() -> Iterator[Callable[[Handler], RawServer]]:
    """Return a function that starts a server which answers by a handler, on loopback."""
    with contextlib.ExitStack() as servers:

        def start(handler: Handler, tls: ssl.SSLContext | None = None) -> RawServer:
            server = RawServer(handler, tls)
            servers.callback(server.close)
            return server

        yield start


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a file with a self-signed certificate for 127.0.0.1, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    alternative = x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))])
    now = datetime.now(tz=UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(alternative, critical=False)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "server.pem"
    path.write_bytes(
        certificate.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return path


@pytest.fixture
def tls(certificate: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context


@pytest.fixture
def answering(raw_server) -> Callable[..., RawServer]:
    """Return a function that starts a server which always gives the same answer."""

    def start(
        body: bytes = b"", status: str = "200 OK", *, tls: ssl.SSLContext | None = None, **headers: str
    ) -> RawServer:
        lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", "Connection: close"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        answer = "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body
        return raw_server(lambda connection: connection.sendall(answer), tls)

    return start


@pytest.fixture
def plain_server() -> Iterator[Callable[[bytes], int]]:
    """Return a function that starts a server which answers the first bytes of a TLS handshake; its port."""
    with contextlib.ExitStack() as servers:

        def start(answer: bytes) -> int:
            server = PlainServer(answer)
            servers.callback(server.close)
            return int(server.url.rpartition(":")[2])

        yield start


@pytest.fixture
def naps(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Sleep no pause between tries, and return how long they would have been (seconds)."""
    naps: list[float] = []
    monkeypatch.setattr("airflow_riffusion.clock.sleep", naps.append)
    return naps


@pytest.fixture
def start() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Return a function that starts the console script; whatever is left of it afterwards is killed."""
    script = Path(sys.executable).with_name("airflow-riffusion")
    started = []
    # A shell lets what it runs in the background ignore Ctrl-C, and so would whatever is started here.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)

    def begin(
        *arguments: str, environ: dict[str, str] | None = None, **streams: Any
    ) -> subprocess.Popen[str]:
        kept = {name: value for name, value in os.environ.items() if name not in _OUTPUT}
        begun = subprocess.Popen(
            [script, *arguments],
            env=kept | (environ or {}),
            text=True,
            **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **streams},
        )
        started.append(begun)
        return begun

    yield begin
    for program in started:
        program.kill()
        program.communicate()
    signal.signal(signal.SIGINT, before)
