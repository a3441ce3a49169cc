from __future__ import annotations

import asyncio
import gzip
import json
import re
import socket
import struct
import threading
import traceback
import tracemalloc
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import certifi
import pytest
import requests
from airflow.models import Connection
from airflow.providers.common.compat.sdk import AirflowFailException, AirflowNotFoundException

from airflow_riffusion.exceptions import (
    RiffusionBadResponse,
    RiffusionError,
    RiffusionRejected,
    RiffusionUnavailable,
)
from airflow_riffusion.hooks.riffusion import RiffusionHook

TOKEN = "user:1234-abcDEF"
PATH = "/v1/riffusion/scheduler/available"
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"


def test_the_request_is_what_the_service_documents(connect, answering, contract):
    server = answering(contract())

    RiffusionHook(connect(server.url)).get_capacity()

    (request,) = server.requests
    lines = request.decode().split("\r\n")
    assert lines[0] == f"GET {PATH} HTTP/1.1"
    assert f"Authorization: Bearer {TOKEN}" in lines
    assert "Accept-Encoding: identity" in lines


@pytest.mark.parametrize("service", ["tempolor", "kling", "ltxstudio"])
def test_the_service_of_the_connection_is_asked(connect, answering, contract, service):
    server = answering(contract(service))

    capacity = RiffusionHook(connect(server.url, extra={"service": service})).get_capacity()

    assert server.requests[0].startswith(f"GET /v1/{service}/scheduler/available ".encode())
    assert capacity.service == service


def test_the_connection_test_says_what_it_saw(connect, answering, contract):
    hook = RiffusionHook(connect(answering(contract()).url))

    assert hook.test_connection() == (True, "18 of 20 slots free on 2 accounts")


def test_a_wrong_token_is_rejected_with_what_to_do(connect, answering):
    server = answering(b'{"error": "Unauthorized", "code": 401}', "401 Unauthorized")
    hook = RiffusionHook(connect(server.url), retries=3)

    with pytest.raises(RiffusionRejected) as caught:
        hook.get_capacity()

    assert str(caught.value) == (
        f"401 Unauthorized from {server.url}{PATH} (Unauthorized): "
        "check the API token in connection 'riffusion_test'."
    )
    assert isinstance(caught.value, AirflowFailException)  # Airflow does not retry the task
    assert (caught.value.status, caught.value.detail) == (401, "Unauthorized")
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("body", "status", "fields", "says"),
    [
        (b"", "401 x", {}, r"401 Unauthorized from .*: check the API token in the connection\."),
        (b"", "200 OK", {}, r"The answer from .*: check the base URL in the connection, or wait .*"),
        (b"", "200 OK", {"extra": {"service": "spotify"}}, "service must be one of .*"),
    ],
)
def test_the_connection_test_leaves_the_id_out_since_airflow_makes_one_up(
    connect, answering, body, status, fields, says
):
    connect(answering(body, status).url, **fields)

    good, message = RiffusionHook("riffusion_test").test_connection()

    assert not good
    assert re.fullmatch(says, message)


def test_the_connection_test_leaves_the_id_out_of_a_lookup_that_fails_too(connect, monkeypatch):
    def broken(self, conn_id):
        raise OSError("the vault is sealed")

    monkeypatch.setattr(RiffusionHook, "get_connection", broken)

    good, message = RiffusionHook(connect()).test_connection()

    assert (good, message) == (False, "The connection can't be looked up: OSError('the vault is sealed')")


def test_airflow_says_of_a_connection_under_an_id_of_its_own_what_to_mend(connect, answering, monkeypatch):
    server = answering(b"", "401 x")
    connection = Connection(
        "zAwZ7n6C", "riffusion", password=TOKEN, host=server.url, extra='{"timeout": null}'
    )
    monkeypatch.setenv("AIRFLOW_CONN_ZAWZ7N6C", connection.get_uri())

    assert connection.test_connection() == (
        False,
        f"401 Unauthorized from {server.url}{PATH}: check the API token in the connection.",
    )


@pytest.mark.parametrize(
    ("status", "advice"),
    [
        ("400 Bad Request", ""),
        ("403 Forbidden", "check the API token"),
        ("404 Not Found", "check the base URL and the service ('riffusion') in connection 'riffusion_test'"),
        ("418 I'm a Teapot", ""),
        ("596 ", "renew its cookie at useapi.net"),
    ],
)
def test_what_a_person_must_mend_is_rejected(connect, answering, status, advice):
    server = answering(b"", status)

    with pytest.raises(RiffusionRejected) as caught:
        RiffusionHook(connect(server.url), retries=3).get_capacity()

    assert caught.value.status == int(status[:3])
    assert advice in str(caught.value)
    assert len(server.requests) == 1


@pytest.mark.parametrize(("endpoint", "method"), [("music/creat", "POST"), ("music/?id=secret", "GET")])
def test_a_404_from_another_endpoint_names_the_endpoint_without_its_query(
    connect, answering, endpoint, method
):
    server = answering(b"", "404 Not Found")

    with pytest.raises(RiffusionRejected) as caught:
        RiffusionHook(connect(server.url)).run(endpoint, method)

    path = endpoint.partition("?")[0]
    assert str(caught.value) == (
        f"404 Not Found from {server.url}/v1/riffusion/{path}: "
        f"check the endpoint '{path}' and the service ('riffusion') in connection 'riffusion_test'."
    )


@pytest.mark.parametrize(
    "status",
    ["408 Request Timeout", "429 Too Many Requests", "500 x", "502 x", "503 x", "504 x"],
)
def test_what_passes_by_itself_is_unavailable(connect, answering, status):
    with pytest.raises(RiffusionUnavailable) as caught:
        RiffusionHook(connect(answering(b"", status).url)).get_capacity()
    assert caught.value.status == int(status[:3])


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("30", 30),
        ("0", 0),
        ("1000000000", 1e9),
        ("soon", None),
        ("-5", None),
        ("", None),
        ("Mon, 01 Jan 2024 00:00:00 +99999999999999999999", None),
        ("Mon, 01 Jan 99999999999 00:00:00 GMT", None),
    ],
)
def test_retry_after_is_read_in_seconds(connect, answering, header, seconds):
    server = answering(b"", "429 Too Many Requests", Retry_After=header)

    with pytest.raises(RiffusionUnavailable) as caught:
        RiffusionHook(connect(server.url)).get_capacity()

    assert caught.value.retry_after == seconds


@pytest.mark.parametrize("minutes", [10, -10])
def test_retry_after_may_be_a_date(connect, answering, minutes):
    moment = datetime.now(tz=UTC) + timedelta(minutes=minutes)
    server = answering(b"", "503 x", Retry_After=format_datetime(moment, usegmt=True))

    with pytest.raises(RiffusionUnavailable) as caught:
        RiffusionHook(connect(server.url)).get_capacity()

    assert caught.value.retry_after == pytest.approx(max(0, minutes * 60), abs=30)


def test_a_redirect_is_reported_and_not_followed(connect, answering):
    elsewhere = answering(b"{}")
    server = answering(b"", "302 Found", Location=f"{elsewhere.url}/x?token=secret")

    with pytest.raises(RiffusionRejected, match=f"redirects to {elsewhere.url}, which is not followed"):
        RiffusionHook(connect(server.url)).get_capacity()
    assert elsewhere.requests == []


@pytest.mark.parametrize("location", ["http://[bad", "//user:secret@", "\xe9", "", "/relative?secret"])
def test_a_redirect_to_nowhere_is_reported_too(connect, answering, location):
    server = answering(b"", "302 Found", Location=location)

    with pytest.raises(RiffusionRejected, match="which is not followed") as caught:
        RiffusionHook(connect(server.url)).get_capacity()
    assert "secret" not in str(caught.value)


def test_a_redirect_is_not_unpacked(connect, answering):
    bomb = gzip.compress(bytes(200 * 1024 * 1024), compresslevel=1)
    server = answering(bomb, "302 Found", Location="/x", Content_Encoding="gzip")

    hook = RiffusionHook(connect(server.url))
    tracemalloc.start()
    try:
        with pytest.raises(RiffusionRejected):
            hook.get_capacity()
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 16 * 1024 * 1024


@pytest.mark.parametrize(
    "body",
    [b"", b"<html>Bad gateway</html>", b'{"executing": [', b'{"error": "x"}', b"[]", gzip.compress(b"{}")],
    ids=["empty", "html", "truncated", "error", "list", "gzip"],
)
def test_a_200_that_is_no_capacity_answer_is_a_bad_response(connect, answering, body):
    server = answering(body)

    with pytest.raises(RiffusionBadResponse, match=f"The answer from {server.url}{PATH} is no capacity"):
        RiffusionHook(connect(server.url)).get_capacity()


def test_an_answer_cut_off_by_the_network_is_unavailable(connect, raw_server):
    server = raw_server(lambda connection: connection.sendall(HEAD + b'Content-Length: 500\r\n\r\n{"exec'))

    with pytest.raises(RiffusionUnavailable, match="No answer from"):
        RiffusionHook(connect(server.url)).get_capacity()


def test_a_reset_connection_is_unavailable(connect, raw_server):
    def reset(connection):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    with pytest.raises(RiffusionUnavailable, match="No answer from"):
        RiffusionHook(connect(raw_server(reset).url)).get_capacity()


def test_a_refused_connection_is_unavailable(connect):
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]

    with pytest.raises(RiffusionUnavailable, match="Connection refused"):
        RiffusionHook(connect(f"http://127.0.0.1:{port}")).get_capacity()


def test_an_unknown_host_is_unavailable(connect, monkeypatch):
    def no_such_host(*args, **kwargs):
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", no_such_host)
    with pytest.raises(RiffusionUnavailable, match="Name or service not known"):
        RiffusionHook(connect("https://api.example.invalid")).get_capacity()


def test_a_tls_handshake_that_is_cut_is_unavailable(connect):
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def cut():
            connection, _ = listener.accept()
            connection.recv(5)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            connection.close()

        cutting = threading.Thread(target=cut)
        cutting.start()
        host = f"https://127.0.0.1:{listener.getsockname()[1]}"
        with pytest.raises(RiffusionUnavailable, match="No answer from"):
            RiffusionHook(connect(host)).get_capacity()
        cutting.join()


def test_tls_works_with_an_authority_that_the_machine_trusts(
    connect, answering, contract, tls, certificate, monkeypatch
):
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
    server = answering(contract(), tls=tls)

    assert RiffusionHook(connect(server.url)).get_capacity().available == 18


def test_a_certificate_that_cant_be_verified_is_rejected(connect, answering, contract, tls, monkeypatch):
    for variable in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(variable, raising=False)
    server = answering(contract(), tls=tls)

    with pytest.raises(RiffusionRejected, match="can't be verified") as caught:
        RiffusionHook(connect(server.url)).get_capacity()
    assert "make this machine trust its authority" in str(caught.value)
    assert server.requests == []


@pytest.mark.parametrize("variable", ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"])
def test_certificate_error_names_the_variable_that_says_which_authorities_to_trust(
    connect, answering, contract, tls, monkeypatch, variable
):
    monkeypatch.delenv("REQUESTS_CA_BUNDLE", raising=False)
    monkeypatch.setenv(variable, certifi.where())
    server = answering(contract(), tls=tls)

    with pytest.raises(RiffusionRejected, match=f"or add its authority to what {variable} names"):
        RiffusionHook(connect(server.url)).get_capacity()


@pytest.mark.parametrize("service", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"SSH-2.0-OpenSSH_9.2\r\n"])
def test_a_server_without_tls_is_rejected_with_what_may_be_meant(connect, plain_server, service):
    port = plain_server(service)

    with pytest.raises(RiffusionRejected, match="There is no TLS at https") as caught:
        RiffusionHook(connect(f"https://127.0.0.1:{port}")).get_capacity()
    assert "check the base URL in connection 'riffusion_test'" in str(caught.value)
    assert f"Is http://127.0.0.1:{port} meant?" in str(caught.value)


def test_a_server_that_speaks_an_old_tls_only_is_rejected(connect, plain_server):
    port = plain_server(b"\x15\x03\x01\x00\x02\x02\x46")  # the alert "protocol version"

    with pytest.raises(RiffusionRejected, match="or none that this machine speaks"):
        RiffusionHook(connect(f"https://127.0.0.1:{port}")).get_capacity()


@pytest.mark.parametrize(
    ("alert", "reason"),
    [
        (40, "SSLV3_ALERT_HANDSHAKE_FAILURE"),
        (71, "TLSV1_ALERT_INSUFFICIENT_SECURITY"),
        (112, "TLSV1_UNRECOGNIZED_NAME"),
        (116, "TLSV13_ALERT_CERTIFICATE_REQUIRED"),
    ],
)
def test_hook_server_that_will_never_agree_on_tls_is_rejected(connect, plain_server, alert, reason):
    port = plain_server(b"\x15\x03\x03\x00\x02\x02" + bytes([alert]))

    with pytest.raises(RiffusionRejected, match=rf"^No TLS can be .* \({reason}\): check the base") as caught:
        RiffusionHook(connect(f"https://127.0.0.1:{port}")).get_capacity()
    assert "http://" not in str(caught.value)


def test_hook_server_with_a_passing_tls_fault_is_unavailable(connect, plain_server):
    port = plain_server(b"\x15\x03\x03\x00\x02\x02\x50")  # the alert "internal error"

    with pytest.raises(RiffusionUnavailable, match="TLSV1_ALERT_INTERNAL_ERROR"):
        RiffusionHook(connect(f"https://127.0.0.1:{port}")).get_capacity()


class TestFilesThatVariablesName:
    @pytest.fixture(autouse=True)
    def alone(self, monkeypatch):
        for variable in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSLKEYLOGFILE"):
            monkeypatch.delenv(variable, raising=False)

    @pytest.fixture
    def files(self, tmp_path):
        """Return a folder with what is not, or has not, a certificate."""
        (tmp_path / "empty.pem").touch()
        (tmp_path / "text.pem").write_text("no certificate\n")
        (tmp_path / "cut.pem").write_text("-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n")
        (tmp_path / "folder").mkdir()
        (tmp_path / "folder" / "authority.pem").touch()
        (tmp_path / "loop.pem").symlink_to("loop.pem")
        return tmp_path

    @pytest.mark.parametrize(
        ("name", "reason"),
        [
            ("missing.pem", "No such file or directory"),
            ("empty.pem/x", "Not a directory"),
            ("loop.pem", "Too many levels of symbolic links"),
            ("empty.pem", "none is in it"),
            ("text.pem", "none is in it"),
            ("cut.pem", "none is in it"),
            ("folder", "no file in it is named by its certificate's hash, as c_rehash does"),
        ],
    )
    @pytest.mark.parametrize("variable", ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"])
    def test_certificates_that_cant_be_read_are_rejected(
        self, connect, answering, tls, files, monkeypatch, variable, name, reason
    ):
        server = answering(tls=tls)
        monkeypatch.setenv(variable, str(files / name))

        with pytest.raises(RiffusionRejected) as caught:
            RiffusionHook(connect(server.url), retries=3).get_capacity()

        assert str(caught.value) == (
            f"The request to {server.url}{PATH} can't be sent: {variable} names '{files / name}', from which "
            f"no certificate can be read ({reason}). Correct the variable, or unset it."
        )
        assert server.requests == []

    def test_the_test_button_says_so(self, connect, tls, answering, monkeypatch):
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/missing.pem")

        good, message = RiffusionHook(connect(answering(tls=tls).url)).test_connection()

        assert not good
        assert "REQUESTS_CA_BUNDLE names '/missing.pem'" in message

    def test_only_the_first_variable_counts(
        self, connect, answering, contract, tls, certificate, monkeypatch
    ):
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
        monkeypatch.setenv("CURL_CA_BUNDLE", "/missing.pem")

        assert RiffusionHook(connect(answering(contract(), tls=tls).url)).get_capacity().available == 18

    def test_no_file_counts_for_plain_http(self, connect, answering, monkeypatch):
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/missing.pem")

        with pytest.raises(RiffusionUnavailable, match="503"):
            RiffusionHook(connect(answering(b"", "503 x").url)).get_capacity()

    def test_a_file_that_is_mended_counts_at_once(
        self, connect, answering, contract, tls, certificate, files, monkeypatch
    ):
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(files / "missing.pem"))
        hook = RiffusionHook(connect(answering(contract(), tls=tls).url))
        with pytest.raises(RiffusionRejected):
            hook.get_capacity()

        (files / "missing.pem").write_bytes(certificate.read_bytes())

        assert hook.get_capacity().available == 18

    def test_a_log_of_tls_keys_that_cant_be_written_is_rejected(
        self, connect, answering, tls, files, monkeypatch
    ):
        monkeypatch.setenv("SSLKEYLOGFILE", str(files / "missing" / "keys"))

        with pytest.raises(RiffusionRejected, match=r"SSLKEYLOGFILE names '.*/keys', which can't be written"):
            RiffusionHook(connect(answering(tls=tls).url)).get_capacity()


class TestProxies:
    SERVICE = "https://api.example.com"

    @pytest.fixture
    def variable(self):
        return "HTTPS_PROXY"

    @pytest.fixture(autouse=True)
    def alone(self, monkeypatch):
        proxies = ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy", "NO_PROXY", "no_proxy")
        for variable in (*proxies, "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
            monkeypatch.delenv(variable, raising=False)

    @pytest.fixture
    def use(self, connect, monkeypatch, variable):
        """Return a function that makes a hook which asks the service through a proxy."""

        def through(proxy):
            monkeypatch.setenv(variable, proxy)
            return RiffusionHook(connect(self.SERVICE, extra={"timeout": 5}))

        return through

    def error(self, hook, kind, variable):
        with pytest.raises(kind) as caught:
            hook.get_capacity()
        said = f"{caught.value} {caught.value.detail} {caught.value.url}"
        assert not [secret for secret in ("s3cret", "me:", "bWU6czNjcmV0") if secret in said]
        assert f"the proxy in {variable}" in str(caught.value)
        assert caught.value.url == self.SERVICE + PATH
        return str(caught.value)

    @pytest.mark.parametrize(
        "proxy",
        [
            "http://me:s3cret@proxy:port",
            "http://me:s3cret@proxy:65536",
            "http://me:s3cret@:3128",
            "http://me:s3cret@",
            "http://",
            ":3128",
            "me:s3cret@proxy:3128",
            "ftp://me:s3cret@proxy:3128",
            "http:/me:s3cret@proxy:3128",
            "http://me:s3cret/@proxy:3128",
            "http://me:s3cret#@proxy:3128",
            "http://me:[s3cret@proxy:3128",
            "http://me:s3cret\u20ac@proxy:3128",
            "http://me:s3cret@[::1:3128",
            "http://me:s3cret@a..b:3128",
            f"http://me:s3cret@{'a' * 64}:3128",
            "http//me:s3cret@proxy:3128",
            "'http://proxy:3128'",
            '"http://me:s3cret@proxy:3128"',
            "http://http://proxy:3128",
            "http://me:12#s3cret@proxy:3128",
            "http://proxy:3128/path",
            "http://proxy:3128?query",
            "http://pro_xy!:3128",
        ],
    )
    def test_one_that_is_malformed_is_rejected(self, use, variable, proxy):
        said = self.error(use(proxy), RiffusionRejected, variable)

        assert "is malformed: it must look like http://proxy.example.com:3128, with" in said

    @pytest.mark.parametrize("scheme", ["socks4", "socks5", "SOCKS5h"])
    def test_one_by_socks_is_rejected(self, use, variable, scheme):
        said = self.error(use(f"{scheme}://me:s3cret@proxy:1080"), RiffusionRejected, variable)

        assert "is a SOCKS proxy, which is not supported: name an HTTP proxy" in said

    @pytest.mark.parametrize(
        ("status", "mend"),
        [
            ("407 s3cret", "check the user name and password in {}."),
            ("403 s3cret", "check {}, or put the host into NO_PROXY."),
            ("302 s3cret", "check {}, or put the host into NO_PROXY."),
        ],
    )
    def test_one_that_says_no_is_rejected(self, use, variable, answering, status, mend):
        proxy = answering(b"", status)
        said = self.error(use(self.at(proxy)), RiffusionRejected, variable)

        assert said.startswith(status[:3])
        assert said.endswith(mend.format(variable))
        assert proxy.requests[0].startswith(b"CONNECT api.example.com:443 ")
        assert b"user:1234" not in proxy.requests[0]

    @pytest.mark.parametrize("variable", ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"])
    def test_one_that_refuses_connections_is_unavailable(self, use, variable):
        with socket.create_server(("127.0.0.1", 0)) as unused:
            port = unused.getsockname()[1]

        said = self.error(use(f"http://me:s3cret@127.0.0.1:{port}"), RiffusionUnavailable, variable)

        assert "Connection refused" in said

    def test_one_without_an_address_is_unavailable(self, use, variable, monkeypatch):
        def no_such_host(*args, **kwargs):
            raise socket.gaierror(-2, "Name or service not known")

        monkeypatch.setattr(socket, "getaddrinfo", no_such_host)
        said = self.error(use("http://me:s3cret@proxy:3128"), RiffusionUnavailable, variable)

        assert "Name or service not known" in said

    @pytest.mark.parametrize("status", ["502 s3cret", "503 s3cret", "504 s3cret", "429 s3cret"])
    def test_one_that_reaches_nobody_is_unavailable(self, use, variable, answering, status):
        said = self.error(use(self.at(answering(b"", status))), RiffusionUnavailable, variable)

        assert status[:3] in said

    @pytest.mark.parametrize("answer", [b"", b"Basic bWU6czNjcmV0\r\n\r\n", b"HTTP/1.1 200 OK\r\n\r\n"])
    def test_one_that_cuts_the_request_off_is_unavailable(self, use, variable, raw_server, answer):
        proxy = raw_server(lambda connection: connection.sendall(answer))

        self.error(use(self.at(proxy)), RiffusionUnavailable, variable)

    def test_one_that_is_silent_is_left_after_the_timeout(self, connect, use, variable, raw_server):
        proxy = raw_server(lambda connection: proxy.pause(20))
        hook = use(self.at(proxy))
        connect(self.SERVICE, extra={"timeout": 0.2})

        said = self.error(hook, RiffusionUnavailable, variable)

        assert "no complete answer within 0.2 s" in said

    def test_one_by_https_that_speaks_no_tls_is_rejected(self, use, variable, plain_server):
        proxy = f"https://me:s3cret@127.0.0.1:{plain_server(b'HTTP/1.1 400 Bad Request' + b' ' * 9)}"
        said = self.error(use(proxy), RiffusionRejected, variable)

        assert said.endswith(f"check {variable}. Is http:// meant?")

    def test_one_by_https_whose_certificate_cant_be_verified_is_rejected(self, use, variable, answering, tls):
        proxy = answering(tls=tls).url.replace("//", "//me:s3cret@")
        said = self.error(use(proxy), RiffusionRejected, variable)

        assert said.startswith(f"The TLS certificate of the proxy in {variable} can't be verified")
        assert said.endswith(f"check {variable}, or make this machine trust its authority.")

    @pytest.mark.parametrize("slash", ["", "/"])
    def test_proxy_address_may_end_in_a_slash(self, use, variable, answering, slash):
        said = self.error(use(self.at(answering(b"", "407 no")) + slash), RiffusionRejected, variable)

        assert said.startswith("407")

    def test_one_is_no_hindrance_to_a_host_that_needs_none(
        self, connect, use, variable, answering, contract, tls, certificate, monkeypatch
    ):
        use("http://me:s3cret@proxy:port")
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))

        hook = RiffusionHook(connect(answering(contract(), tls=tls).url))

        assert hook.get_capacity().available == 18

    def test_a_borrowed_session_quotes_none_that_is_malformed(self, use):
        session = use("http://me:s3cret@proxy:65536").get_conn()

        with pytest.raises(requests.exceptions.InvalidProxyURL) as caught:
            session.get(self.SERVICE)
        assert "s3cret" not in "".join(traceback.format_exception(caught.value))

    def at(self, proxy):
        return proxy.url.replace("//", "//me:s3cret@")


def test_a_trickling_answer_is_cut_off_over_tls_too(connect, raw_server, tls, certificate, monkeypatch):
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))

    def trickle(connection):
        for byte in HEAD + b"".join(b"X-%d: x\r\n" % number for number in range(90)):
            connection.sendall(bytes([byte]))
            if server.pause(0.02):
                return

    server = raw_server(trickle, tls)
    with pytest.raises(RiffusionUnavailable, match=r"no complete answer within 0\.5 s"):
        RiffusionHook(connect(server.url, extra={"timeout": 0.5})).get_capacity()


@pytest.mark.parametrize("part", ["headers", "body", "chunks"])
def test_a_trickling_answer_is_cut_off_after_the_timeout_in_all(connect, raw_server, contract, part):
    body = contract()

    def trickle(connection):
        if part == "headers":
            slow = b"".join(b"X-%d: x\r\n" % number for number in range(90))
            before, after = HEAD, b"Content-Length: %d\r\n\r\n" % len(body) + body
        elif part == "body":
            before, slow, after = HEAD + b"Content-Length: %d\r\n\r\n" % len(body), body[:600], body[600:]
        else:
            slow = b"".join(b"1\r\n%c\r\n" % byte for byte in body)
            before, after = HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"0\r\n\r\n"
        connection.sendall(before)
        for byte in slow:
            connection.sendall(bytes([byte]))
            if server.pause(0.02):
                return
        connection.sendall(after)

    server = raw_server(trickle)
    with pytest.raises(RiffusionUnavailable, match=r"no complete answer within 0\.2 s"):
        RiffusionHook(connect(server.url, extra={"timeout": 0.2})).get_capacity()


def test_a_server_that_says_nothing_is_left_after_the_timeout(connect, raw_server):
    server = raw_server(lambda connection: server.pause(20))

    with pytest.raises(RiffusionUnavailable, match=r"no complete answer within 0\.2 s"):
        RiffusionHook(connect(server.url, extra={"timeout": 0.2})).get_capacity()


@pytest.mark.parametrize("framing", ["length", "chunked", "one-endless-line"])
def test_a_huge_answer_is_cut_off_and_never_held_in_memory(connect, raw_server, framing):
    size = 60 * 1024 * 1024
    block = b" " * 65536

    def flood(connection):
        connection.sendall(
            HEAD
            + {
                "length": b"Content-Length: %d\r\n\r\n" % size,
                "chunked": b"Transfer-Encoding: chunked\r\n\r\n%x\r\n" % size,
                "one-endless-line": b"Transfer-Encoding: chunked\r\n\r\n",
            }[framing]
        )
        for _ in range(size // len(block)):
            connection.sendall(block)

    hook = RiffusionHook(connect(raw_server(flood).url))
    tracemalloc.start()
    try:
        with pytest.raises((RiffusionBadResponse, RiffusionUnavailable)) as caught:
            hook.get_capacity()
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 16 * 1024 * 1024
    if framing != "one-endless-line":  # newer urllib3 has a limit of its own there
        assert "too large: more than 4 MiB" in str(caught.value)


def test_an_unavailable_service_is_asked_again_as_often_as_wanted(connect, answering, naps):
    server = answering(b"", "503 x")

    with pytest.raises(RiffusionUnavailable):
        RiffusionHook(connect(server.url), retries=3).get_capacity()

    assert len(server.requests) == 4
    assert all(0.5 <= nap <= longest for nap, longest in zip(naps, (1, 2, 4), strict=True))


def test_retries_wait_as_long_as_the_service_asks(connect, answering, naps):
    server = answering(b"", "429 x", Retry_After="20")

    with pytest.raises(RiffusionUnavailable):
        RiffusionHook(connect(server.url), retries=2).get_capacity()

    assert naps == [20, 20]


def test_a_retry_after_too_long_for_a_task_is_not_waited_for(connect, answering, naps):
    server = answering(b"", "429 x", Retry_After="31")

    with pytest.raises(RiffusionUnavailable):
        RiffusionHook(connect(server.url), retries=2).get_capacity()

    assert (len(server.requests), naps) == (1, [])


def test_only_a_get_is_ever_sent_again(connect, answering, naps):
    server = answering(b"", "503 x")
    hook = RiffusionHook(connect(server.url), retries=3)

    with pytest.raises(RiffusionUnavailable):
        hook.run("music/create-prompt", "POST", {"prompt": "jazz"})

    assert len(server.requests) == 1


def test_other_endpoints_are_reached_with_the_same_token(connect, raw_server):
    answer = b'{"job_id": "j", "user_id": "u"}'
    server = raw_server(
        lambda connection: connection.sendall(HEAD + b"Content-Length: %d\r\n\r\n" % len(answer) + answer)
    )

    found = RiffusionHook(connect(server.url)).run("music/create-prompt", "post", {"prompt": "jazz"})

    assert found == {"job_id": "j", "user_id": "u"}
    request = server.requests[0].decode()
    assert request.startswith("POST /v1/riffusion/music/create-prompt HTTP/1.1\r\n")
    assert f"Authorization: Bearer {TOKEN}\r\n" in request


@pytest.mark.parametrize(("body", "expected"), [(b"", {}), (b"[1]", [1])])
def test_an_endpoint_may_answer_nothing_or_a_list(connect, answering, body, expected):
    assert RiffusionHook(connect(answering(body).url)).run("scheduler/x", "DELETE") == expected


@pytest.mark.parametrize("body", [b"3", b'"text"', b"<html>"])
def test_anything_else_from_an_endpoint_is_a_bad_response(connect, answering, body):
    with pytest.raises(RiffusionBadResponse):
        RiffusionHook(connect(answering(body).url)).run("scheduler")


def test_a_missing_connection_is_airflows_not_found_error_and_names_the_id(connect):
    with pytest.raises(AirflowNotFoundException, match="no_such_connection") as caught:
        RiffusionHook("no_such_connection").get_capacity()
    assert isinstance(caught.value, RiffusionRejected)


@pytest.mark.parametrize("value", ['{"conn_type": "riffusion", "password": ', "riffusion://:a@b:port", ""])
def test_a_connection_variable_that_airflow_cant_read_is_named(monkeypatch, value):
    monkeypatch.setenv("AIRFLOW_CONN_MINE", value)

    with pytest.raises(AirflowNotFoundException, match="the variable AIRFLOW_CONN_MINE is set, but holds no"):
        RiffusionHook("mine").get_capacity()


def test_settings_are_checked_before_any_request(connect, answering):
    server = answering(b"{}")

    with pytest.raises(RiffusionRejected, match="service must be one of"):
        RiffusionHook(connect(server.url, extra={"service": "spotify"})).get_capacity()
    assert server.requests == []


def test_a_lookup_that_fails_is_unavailable_and_says_why(connect, monkeypatch):
    def broken(self, conn_id):
        raise OSError("the vault is sealed")

    monkeypatch.setattr(RiffusionHook, "get_connection", broken)

    with pytest.raises(RiffusionUnavailable, match=r"can't be looked up.*the vault is sealed"):
        RiffusionHook("riffusion_test").get_capacity()


def test_oddities_are_logged_once(connect, answering, monkeypatch):
    body = json.dumps({"available": [{"user_id": "a", "available": "many"}]}).encode()
    hook = RiffusionHook(connect(answering(body).url))
    warnings = []
    monkeypatch.setattr(hook.log, "warning", lambda message, *values: warnings.append(message % values))

    for _ in range(3):
        hook.get_capacity()

    (warning,) = warnings
    assert "account 'a': available is 'many'" in warning


def test_after_a_hundred_oddities_no_more_are_kept_or_logged(connect, answering, monkeypatch):
    accounts = [{"user_id": f"u{number}", "available": "many"} for number in range(150)]
    hook = RiffusionHook(connect(answering(json.dumps({"available": accounts}).encode()).url))
    warnings = []
    monkeypatch.setattr(hook.log, "warning", lambda message, *values: warnings.append(message % values))

    for _ in range(2):
        hook.get_capacity()

    assert len(hook._warnings) == 100
    assert ["are not logged" in warning for warning in warnings] == [False] * 100 + [True]


def test_reading_asynchronously_never_blocks_the_event_loop(connect, raw_server, contract):
    answer = threading.Event()

    def when_told(connection):
        answer.wait(20)
        body = contract()
        connection.sendall(HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body)

    server = raw_server(when_told)

    async def scenario():
        reading = asyncio.create_task(RiffusionHook(connect(server.url)).aget_capacity())
        for _ in range(3):  # the loop goes on while the service is silent
            await asyncio.sleep(0.01)
        assert not reading.done()
        answer.set()
        return await reading

    assert asyncio.run(scenario()).available == 18


def test_a_changed_connection_counts_once_the_old_one_is_forgotten(connect, answering, contract):
    server = answering(contract())
    hook = RiffusionHook(connect(server.url, password="old"))
    hook.get_capacity()
    connect(server.url, password="new")
    hook.get_capacity()
    hook.forget_connection()
    hook.get_capacity()

    tokens = [request.decode().partition("Bearer ")[2].split("\r\n")[0] for request in server.requests]
    assert tokens == ["old", "old", "new"]


class TestTheTokenStaysWhereItBelongs:
    def test_netrc_does_not_replace_it(self, connect, answering, contract, monkeypatch, tmp_path):
        netrc = tmp_path / "netrc"
        netrc.write_text("machine 127.0.0.1 login somebody password else\n")
        monkeypatch.setenv("NETRC", str(netrc))
        server = answering(contract())

        RiffusionHook(connect(server.url)).get_capacity()

        assert f"Authorization: Bearer {TOKEN}".encode() in server.requests[0]

    def test_no_proxy_sees_it_over_plain_http(self, connect, answering, contract, monkeypatch):
        server, proxy = answering(contract()), answering(contract())
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy.url)

        RiffusionHook(connect(server.url)).get_capacity()

        assert (len(server.requests), len(proxy.requests)) == (1, 0)

    def test_a_borrowed_session_takes_it_to_no_other_host(self, connect, answering, contract):
        server, elsewhere = answering(contract()), answering(b"{}")
        session = RiffusionHook(connect(server.url)).get_conn()

        session.get(f"{elsewhere.url}/x")

        assert b"Authorization" not in elsewhere.requests[0]

    def test_a_borrowed_session_follows_no_redirect(self, connect, answering):
        elsewhere = answering(b"{}")
        server = answering(b"", "302 Found", Location=elsewhere.url)
        session = RiffusionHook(connect(server.url)).get_conn()

        assert session.get(f"{server.url}/x").status_code == 302
        assert elsewhere.requests == []

    @pytest.mark.parametrize(
        ("status", "body"),
        [
            ("401 Unauthorized", json.dumps({"error": f"bad token {TOKEN}"}).encode()),
            ("500 Oops", f"trace: Authorization: Bearer {TOKEN}".encode()),
            ("500 Oops", (" " * 1985 + TOKEN).encode()),
            ("500 Oops", b"user%3A1234-abcDEF"),
            ("200 OK", json.dumps(f"bad token {TOKEN}").encode()),
            ("200 OK", json.dumps({"executing": f"bad token {TOKEN}"}).encode()),
        ],
    )
    def test_an_answer_that_echoes_it_does_not_get_it_into_the_error(self, connect, answering, status, body):
        hook = RiffusionHook(connect(answering(body, status).url))

        with pytest.raises(RiffusionError) as caught:
            hook.get_capacity()

        error = caught.value
        shown = f"{error} {error!r} {error.detail} {vars(error)}"
        assert "abcDE" not in shown
        assert error.__cause__ is None

    def test_a_reading_that_echoes_it_is_read_without_it(self, connect, answering, capfd):
        job = {"job_id": "1", "replyRef": TOKEN}
        account = {"user_id": TOKEN, "available": TOKEN}
        body = json.dumps({"executing": [job], "available": [account]}).encode()

        capacity = RiffusionHook(connect(answering(body).url)).get_capacity()

        assert TOKEN not in json.dumps(capacity.to_xcom()) + str(capacity.warnings)
        assert TOKEN not in "".join(capfd.readouterr())

    def test_an_answer_stays_whole_though_a_token_for_an_emulator_is_a_part_of_its_words(
        self, connect, answering
    ):
        body = json.dumps({"executing": [], "available": [{"user_id": "max", "maxJobs": 3, "available": 2}]})

        capacity = RiffusionHook(connect(answering(body.encode()).url, password="x")).get_capacity()

        assert str(capacity) == "2 of 3 slots free on 1 account"

    def test_the_hook_and_its_errors_and_logs_do_not_show_it(self, connect, answering, naps, capfd):
        hook = RiffusionHook(connect(answering(b"", "503 x").url), retries=1)

        with pytest.raises(RiffusionUnavailable) as caught:
            hook.get_capacity()

        logged = "".join(capfd.readouterr())
        assert "Trying again" in logged
        assert TOKEN not in f"{hook!r} {hook.settings!r} {caught.value!r} {logged}"


def test_a_borrowed_session_is_bounded_in_time_too(connect, raw_server):
    server = raw_server(lambda connection: server.pause(20))
    session = RiffusionHook(connect(server.url, extra={"timeout": 0.2})).get_conn()

    with pytest.raises(requests.Timeout):
        session.get(server.url)


def test_a_user_can_mock_the_service_with_requests_mock(connect, requests_mock, contract):
    requests_mock.get(f"https://api.useapi.net{PATH}", content=contract())

    assert RiffusionHook(connect()).get_capacity().available == 18


class TestAccounts:
    BODY = json.dumps(
        {
            "a": {"user_id": "a", "maxJobs": 4, "cookie": "sess-1234…"},
            "b": {"user_id": "b", "maxJobs": 2, "error": "sess-1234… expired"},
        }
    ).encode()

    @pytest.fixture
    def clock(self, monkeypatch):
        class Clock:
            now = 1000.0

            def monotonic(self):
                return self.now

        clock = Clock()
        monkeypatch.setattr("airflow_riffusion.hooks.accounts.time", clock)
        return clock

    def test_hook_accounts_are_asked_for_once_until_the_answer_is_too_old(self, connect, answering, clock):
        server = answering(self.BODY)
        hook = RiffusionHook(connect(server.url))

        hook.configured_accounts()
        clock.now += 600
        configured = hook.configured_accounts()
        assert (configured.slots, configured.logged_out) == ({"a": 4}, ("b",))
        assert [request.split()[1] for request in server.requests] == [b"/v1/riffusion/accounts"]

        clock.now += 1
        hook.configured_accounts()
        hook.configured_accounts(max_age=0)
        assert len(server.requests) == 2

    @pytest.mark.parametrize("status", ["404 Not Found", "401 x", "500 x", "200 OK"])
    def test_hook_accounts_that_cannot_be_had_are_asked_for_again_after_a_minute(
        self, connect, answering, clock, caplog, status
    ):
        server = answering(b'{"error": "sess-1234"}', status)
        hook = RiffusionHook(connect(server.url))

        for _ in range(3):
            assert hook.configured_accounts() is None
        assert len(server.requests) == 1
        clock.now += 60
        assert hook.configured_accounts() is None
        assert len(server.requests) == 2
        said = caplog.text
        assert said.count("Which accounts the service has can't be found out: ") == 1
        assert "sess" not in said

    def test_hook_retry_after_of_the_accounts_is_heeded(self, connect, answering, clock):
        server = answering(b"", "429 x", Retry_After="300")
        hook = RiffusionHook(connect(server.url))
        for _ in range(3):
            hook.configured_accounts()
            clock.now += 149

        assert len(server.requests) == 1

    def test_hook_accounts_that_are_logged_out_are_named_in_the_log_and_nothing_else_is(
        self, connect, answering, caplog
    ):
        hook = RiffusionHook(connect(answering(self.BODY).url))
        hook.configured_accounts()
        hook.configured_accounts(max_age=-1)

        said = caplog.text
        assert (
            said.count("Connection 'riffusion_test': account b needs its login renewed at useapi.net.") == 1
        )
        assert "sess" not in said

    def test_hook_accounts_of_another_service_are_not_mixed_up(self, connect, answering, contract):
        hook = RiffusionHook(connect(answering(contract()).url))
        assert len(hook.get_capacity().accounts) == 2

        connect(answering(b'{"executing": [], "available": []}').url)
        hook.forget_connection()
        assert hook.get_capacity().accounts == ()

    def test_hook_accounts_of_another_token_are_not_mixed_up(self, connect, answering):
        server = answering(self.BODY)
        hook = RiffusionHook(connect(server.url))
        hook.configured_accounts()

        connect(server.url, password="user:1234-another")
        hook.forget_connection()
        hook.configured_accounts()
        assert len(server.requests) == 2

    def test_hook_accounts_are_asked_for_once_whatever_its_retries(self, connect, answering, naps):
        server = answering(b"", "500 x")

        assert RiffusionHook(connect(server.url), retries=3).configured_accounts() is None
        assert len(server.requests) == 1

    def test_hook_connection_test_counts_full_accounts(self, connect, raw_server):
        def respond(connection):
            body = self.BODY if b"/accounts " in server.requests[-1] else b'{"available": []}'
            head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
            connection.sendall(head.encode() + body)

        server = raw_server(respond)
        assert RiffusionHook(connect(server.url)).test_connection() == (
            True,
            "0 of 4 slots free on 1 account",
        )
