"""How a service can fail, and what each failure means to those who need it."""

from __future__ import annotations

import gzip
import json
import math
import socket
import ssl
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import format_datetime
from functools import cache
from typing import Any

from tests.integration.conftest import RawServer
from tests.integration.modes import Clock

UNAVAILABLE, REJECTED, BAD_RESPONSE, READ = "unavailable", "rejected", "bad response", "read"

SANE = {"user_id": "sane", "maxJobs": 2, "executing": 1, "available": 1}
WELL = json.dumps({"executing": [], "available": [SANE]}).encode()

_HEAD = b"HTTP/1.1 200 OK\r\nConnection: close\r\n"
_BETWEEN_BYTES = 0.02  # seconds
_MOVED = "/v1/riffusion/moved"

Behaviour = Callable[["FaultyService", socket.socket], None]
Address = tuple[str, int]


@dataclass(frozen=True)
class Fault:
    """
    :param name: as in a test's id.
    :param behave: what the service does with a request.
    :param meaning: what that means to a reading.
    :param says: what is said of it, in part.
    :param leave_alone: seconds for which no request may follow.
    :param submission: what it means to a submission, if that is something else.
    :param slow: whether only the connection's ``timeout`` ends a request.
    :param dial: what becomes of a connection to an address, if it gets nowhere.
    :param tls: None, or what is wrong with it: ``untrusted``, ``cut`` in the handshake, or ``none``.
    :param host: the connection's base URL, if it is not the service's.
    :param environ: environment variables that lead elsewhere; ``{port}`` is the service's, as a proxy.
    :param asked: whether the service is asked at all.
    """

    name: str
    behave: Behaviour
    meaning: str
    says: str = ""
    leave_alone: float = 0.0
    submission: str | None = None
    slow: bool = False
    dial: Callable[[Address], Address] | None = None
    tls: str | None = None
    host: str | None = None
    environ: dict[str, str] = field(default_factory=dict)
    asked: bool = True


class FaultyService(RawServer):
    """Fails as a fault says, and is well from some request on."""

    def __init__(
        self, fault: Fault, clock: Clock, tls: ssl.SSLContext | None = None, well_from: float = math.inf
    ) -> None:
        self.fault = fault
        self.clock = clock
        self.elsewhere = RawServer(lambda connection: connection.sendall(answer("200 OK", WELL)))
        self.dials = 0
        self._well_from = well_from
        super().__init__(self._respond, tls if fault.tls else None)
        self.port = int(self.url.rpartition(":")[2])

    @property
    def is_well(self) -> bool:
        return self.dials >= self._well_from

    def close(self) -> None:
        self.elsewhere.close()
        super().close()

    def dialled(self, address: Address) -> Address:
        """Count a connection that is opened; return where it leads."""
        self.dials += 1
        return address if self.is_well or self.fault.dial is None else self.fault.dial(address)

    def _answer(self, connection: socket.socket) -> None:
        if self.fault.tls == "cut" and not self.is_well:
            with connection:
                connection.recv(5)
                _reset(self, connection)
        elif self.fault.tls == "none":
            with connection:
                connection.recv(65536)
                connection.sendall(answer("400 Bad Request", b""))
        else:
            super()._answer(connection)

    def _respond(self, connection: socket.socket) -> None:
        self._read_the_rest(connection)
        if self.is_well or self.requests[-1].startswith(f"GET {_MOVED} ".encode()):
            connection.sendall(answer("200 OK", WELL))
        else:
            self.fault.behave(self, connection)

    def _read_the_rest(self, connection: socket.socket) -> None:
        """Take a request's body too: to hang up on one is a fault of another kind."""
        head, _, body = self.requests[-1].partition(b"\r\n\r\n")
        length = next((int(line[15:]) for line in head.split(b"\r\n") if line[:15] == b"Content-Length:"), 0)
        while len(body) < length and (more := connection.recv(65536)):
            body += more


@dataclass
class Network:
    """Notes when (by the test's clock) a connection is opened, and to which port."""

    clock: Clock
    services: list[FaultyService]
    opened: list[tuple[float, int]] = field(default_factory=list)

    def requests_to(self, service: FaultyService) -> list[float]:
        return [at for at, port in self.opened if port == service.port]

    def open(self, connect: Callable[..., Any], address: Address, *args: Any, **kwargs: Any) -> Any:
        self.opened.append((self.clock.elapsed, address[1]))
        for service in self.services:
            if service.port == address[1]:
                address = service.dialled(address)
        return connect(address, *args, **kwargs)


def answer(status: str, body: bytes, **headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", "Connection: close"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


def _says(status: str, **headers: str) -> Behaviour:
    """Answer with an error that repeats the API token."""

    def behave(service: FaultyService, connection: socket.socket) -> None:
        token = service.requests[-1].decode().partition("\r\nAuthorization: ")[2].partition("\r\n")[0]
        error = f"nobody likes {token}"
        connection.sendall(answer(status, json.dumps({"error": error}).encode(), **headers))

    return behave


def _refuses_until(seconds: float) -> Behaviour:
    """Answer with the date, by the wall clock, at which to come back."""

    def behave(service: FaultyService, connection: socket.socket) -> None:
        moment = datetime.fromtimestamp(math.ceil(service.clock.time() + seconds), tz=UTC)
        _says("429 x", Retry_After=format_datetime(moment, usegmt=True))(service, connection)

    return behave


def _gives(body: bytes, **headers: str) -> Behaviour:
    return lambda service, connection: connection.sendall(answer("200 OK", body, **headers))


def _redirects(to: Callable[[FaultyService], str]) -> Behaviour:
    return lambda service, connection: _says("302 Found", Location=to(service))(service, connection)


def _trickles(before: bytes, slowly: bytes) -> Behaviour:
    def behave(service: FaultyService, connection: socket.socket) -> None:
        connection.sendall(before)
        for byte in slowly:
            if service.pause(_BETWEEN_BYTES):
                return
            connection.sendall(bytes([byte]))

    return behave


def _floods(service: FaultyService, connection: socket.socket) -> None:
    """Send a good answer, and 60 MiB of blanks that would be good as well."""
    blanks = b" " * 65536
    count = 60 * 16
    connection.sendall(_HEAD + b"Content-Length: %d\r\n\r\n" % (len(WELL) + count * len(blanks)) + WELL)
    for _ in range(count):
        connection.sendall(blanks)


@cache
def _bomb() -> bytes:
    return gzip.compress(WELL + b" " * 64 * 1024 * 1024, compresslevel=1)


def _explodes(service: FaultyService, connection: socket.socket) -> None:
    connection.sendall(answer("200 OK", _bomb(), Content_Encoding="gzip"))


def _reset(service: FaultyService, connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def _no_such_host(address: Address) -> Address:
    raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")


def _nobody_listens(address: Address) -> Address:
    with socket.create_server(("127.0.0.1", 0)) as unused:
        return ("127.0.0.1", unused.getsockname()[1])


def _beside_a_sane_account(account: str) -> bytes:
    return f'{{"executing": [], "available": [{account}, {json.dumps(SANE)}]}}'.encode()


_FINE = _gives(WELL)
_DEEP = b"[" * 100_000 + b"]" * 100_000
_NO_READING = "is no capacity answer"
_TOO_SLOW = "no complete answer within"
_ELSEWHERE = "https://api.example.com"
_PROXY = {"https_proxy": "http://me:abcDEF@127.0.0.1:{port}"}

ACCOUNT_SECRET = "sess-1234…abcd"
"""What the service's list of accounts holds besides, and must never be shown."""


def _accounts(**more: Any) -> bytes:
    entry = {"user_id": "sane", "maxJobs": 2, "cookie": ACCOUNT_SECRET, **more}
    return json.dumps({"sane": entry}).encode()


def _lists_no_account(
    accounts: bytes, status: str | None = "200 OK", jobs: int = 1, **headers: str
) -> Behaviour:
    """Answer as a service does that lists only accounts with a free slot, when there is none."""
    reading = {"executing": [{"job_id": "1", "user_id": "sane"}] * jobs, "available": []}

    def behave(service: FaultyService, connection: socket.socket) -> None:
        if service.requests[-1].startswith(b"GET /v1/riffusion/accounts "):
            connection.sendall(accounts if status is None else answer(status, accounts, **headers))
        else:
            connection.sendall(answer("200 OK", json.dumps(reading).encode()))

    return behave


_ERROR_OF_AN_ACCOUNT = json.dumps({"error": {"message": ACCOUNT_SECRET, "account": "x"}}).encode()
_LEAKING_ERROR = json.dumps({"error": f"broken: {ACCOUNT_SECRET}"}).encode()

FULL_AND_NOT_LISTED = [
    Fault("configured", _lists_no_account(_accounts()), UNAVAILABLE),
    Fault("no-job-listed", _lists_no_account(_accounts(), jobs=0), UNAVAILABLE),
    Fault("no-number", _lists_no_account(_accounts(maxJobs=ACCOUNT_SECRET)), UNAVAILABLE),
    Fault("accounts-404", _lists_no_account(_LEAKING_ERROR, "404 x"), UNAVAILABLE),
    Fault("accounts-401", _lists_no_account(_LEAKING_ERROR, "401 x"), UNAVAILABLE),
    Fault("accounts-500", _lists_no_account(_LEAKING_ERROR, "500 x"), UNAVAILABLE),
    Fault("accounts-error-in-200", _lists_no_account(_LEAKING_ERROR), UNAVAILABLE),
    Fault("accounts-html", _lists_no_account(b"<html>" + ACCOUNT_SECRET.encode()), UNAVAILABLE),
    Fault("accounts-none-of-a-job", _lists_no_account(b"{}"), UNAVAILABLE),
    Fault("accounts-error-in-200-of-an-account", _lists_no_account(_ERROR_OF_AN_ACCOUNT), UNAVAILABLE),
    Fault("accounts-not-chunked", _lists_no_account(_accounts(), Transfer_Encoding="chunked"), UNAVAILABLE),
    Fault("accounts-no-status", _lists_no_account(_accounts(), status=None), UNAVAILABLE),
    Fault("accounts-list", _lists_no_account(b"[" + _accounts() + b"]"), UNAVAILABLE),
]
"""All slots are taken, whatever is said of the accounts: the wait goes on."""

RULED_OUT = [
    Fault("no-slots", _lists_no_account(_accounts(maxJobs=0)), REJECTED, "the accounts have 0 in all"),
    Fault(
        "logged-out",
        _lists_no_account(_accounts(error=ACCOUNT_SECRET)),
        REJECTED,
        "account sane needs its login renewed at useapi.net",
    ),
]
"""No account can take the job, and none is listed: the wait ends."""

FULL = Fault(
    "full", _gives(json.dumps({"available": [{**SANE, "executing": 2, "available": 0}]}).encode()), READ
)

FAULTS = [
    Fault("400", _says("400 x"), REJECTED, "400 Bad Request from"),
    Fault("401", _says("401 x"), REJECTED, "check the API token in connection"),
    Fault("403", _says("403 x"), REJECTED, "check the API token in connection"),
    Fault("404", _says("404 x"), REJECTED, "and the service ('riffusion') in connection"),
    Fault("408", _says("408 x"), UNAVAILABLE, "408 Request Timeout from"),
    Fault("429", _says("429 x"), UNAVAILABLE, "429 Too Many Requests from"),
    Fault("429-soon", _says("429 x", Retry_After="20"), UNAVAILABLE, "429 Too Many", leave_alone=20),
    Fault("429-seconds", _says("429 x", Retry_After="95"), UNAVAILABLE, "429 Too Many", leave_alone=95),
    Fault("429-date", _refuses_until(95), UNAVAILABLE, "429 Too Many", leave_alone=95),
    Fault("429-past", _refuses_until(-95), UNAVAILABLE, "429 Too Many"),
    Fault("429-nonsense", _says("429 x", Retry_After="soon"), UNAVAILABLE, "429 Too Many"),
    Fault("429-30-years", _says("429 x", Retry_After=f"{10**9}"), UNAVAILABLE, "429", leave_alone=600),
    Fault("500", _says("500 x"), UNAVAILABLE, "500 Internal Server Error from"),
    Fault("502", _says("502 x"), UNAVAILABLE, "502 Bad Gateway from"),
    Fault("503", _says("503 x"), UNAVAILABLE, "503 Service Unavailable from"),
    Fault("503-seconds", _says("503 x", Retry_After="95"), UNAVAILABLE, "503 Service", leave_alone=95),
    Fault("504", _says("504 x"), UNAVAILABLE, "504 Gateway Timeout from"),
    Fault("596", _says("596 x"), REJECTED, "renew its cookie at useapi.net"),
    Fault("redirect-same-host", _redirects(lambda service: _MOVED), REJECTED, "which is not followed"),
    Fault("redirect-other-host", _redirects(lambda service: service.elsewhere.url), REJECTED, "not followed"),
    Fault("redirect-loop", _redirects(lambda service: f"{service.url}/v1"), REJECTED, "not followed"),
    Fault("dns", _FINE, UNAVAILABLE, "Name or service not known", dial=_no_such_host),
    Fault("refused", _FINE, UNAVAILABLE, "Connection refused", dial=_nobody_listens),
    Fault("reset", _reset, UNAVAILABLE, "No answer from"),
    Fault("tls-cut", _FINE, UNAVAILABLE, "No answer from", tls="cut"),
    Fault("tls-certificate", _FINE, REJECTED, "can't be verified", tls="untrusted"),
    Fault("no-tls", _FINE, REJECTED, "There is no TLS at https://127.0.0.1", tls="none"),
    Fault(
        "impossible-host",
        _FINE,
        REJECTED,
        "the base URL has a host that can't exist",
        host="https://api..example.com",
        asked=False,
    ),
    Fault(
        "no-certificates",
        _FINE,
        REJECTED,
        "REQUESTS_CA_BUNDLE names '/missing.pem'",
        host=_ELSEWHERE,
        environ={"REQUESTS_CA_BUNDLE": "/missing.pem"},
        asked=False,
    ),
    Fault(
        "proxy-malformed",
        _FINE,
        REJECTED,
        "the proxy in https_proxy is malformed",
        host=_ELSEWHERE,
        environ={"https_proxy": "http://me:abcDEF@proxy:port"},
        asked=False,
    ),
    Fault(
        "proxy-407",
        lambda service, connection: connection.sendall(answer("407 abcDEF", b"")),
        REJECTED,
        "407 Proxy Authentication Required from the proxy in https_proxy",
        host=_ELSEWHERE,
        environ=_PROXY,
    ),
    Fault(
        "proxy-refused",
        _FINE,
        UNAVAILABLE,
        "No answer from the proxy in https_proxy",
        dial=_nobody_listens,
        host=_ELSEWHERE,
        environ=_PROXY,
    ),
    Fault("silence", lambda service, connection: service.pause(30), UNAVAILABLE, _TOO_SLOW, slow=True),
    Fault("slow-headers", _trickles(_HEAD, b"X-Slow: x\r\n" * 90), UNAVAILABLE, _TOO_SLOW, slow=True),
    Fault(
        "trickling-body",
        _trickles(_HEAD + b"Content-Length: 2000\r\n\r\n", WELL.ljust(2000)),
        UNAVAILABLE,
        _TOO_SLOW,
        slow=True,
    ),
    Fault("60-mb", _floods, BAD_RESPONSE, "too large: more than 4 MiB"),
    Fault("gzip-bomb", _explodes, BAD_RESPONSE, "not JSON"),
    Fault(
        "cut-off",
        lambda service, connection: connection.sendall(_HEAD + b"Content-Length: 500\r\n\r\n" + WELL[:30]),
        UNAVAILABLE,
        "No answer from",
    ),
    Fault("truncated", _gives(WELL[:-30]), BAD_RESPONSE, "not JSON"),
    Fault("html", _gives(b"<html>Under construction</html>"), BAD_RESPONSE, "not JSON"),
    Fault("empty", _gives(b""), BAD_RESPONSE, _NO_READING, submission=READ),
    Fault("json-text", _gives(b'"well"'), BAD_RESPONSE, "The answer from"),
    Fault("json-list", _gives(b"[]"), BAD_RESPONSE, _NO_READING, submission=READ),
    Fault("json-error", _gives(b'{"error": "x"}'), BAD_RESPONSE, _NO_READING, submission=REJECTED),
    Fault("wrong-list", _gives(b'{"available": "many"}'), BAD_RESPONSE, _NO_READING, submission=READ),
    Fault("deep-nesting", _gives(_DEEP), BAD_RESPONSE, "not JSON"),
    Fault(
        "deep-field",
        _gives(b'{"x": ' + _DEEP + b', "available": [' + json.dumps(SANE).encode() + b"]}"),
        BAD_RESPONSE,
        "not JSON",
    ),
    Fault(
        "wrong-types",
        _gives(_beside_a_sane_account('{"user_id": "odd", "maxJobs": [9], "available": "many"}, 7, null')),
        READ,
    ),
    Fault(
        "nan",
        _gives(_beside_a_sane_account('{"user_id": "odd", "maxJobs": NaN, "available": Infinity}')),
        READ,
    ),
    Fault(
        "duplicate-keys",
        _gives(b'{"available": "many", "available": [' + json.dumps(SANE).encode() + b"]}"),
        READ,
    ),
]
