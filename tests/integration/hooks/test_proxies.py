from __future__ import annotations

import socket
import traceback

import pytest
import requests

from airflow_riffusion.exceptions import (
    RiffusionRejected,
    RiffusionUnavailable,
)
from airflow_riffusion.hooks.riffusion import RiffusionHook

PATH = "/v1/riffusion/scheduler/available"
SERVICE = "https://api.example.com"


@pytest.fixture
def variable():
    return "HTTPS_PROXY"


@pytest.fixture(autouse=True)
def alone(monkeypatch):
    proxies = ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy", "NO_PROXY", "no_proxy")
    for variable in (*proxies, "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(variable, raising=False)


@pytest.fixture
def use(connect, monkeypatch, variable):
    """Return a function that makes a hook which asks the service through a proxy."""

    def through(proxy):
        monkeypatch.setenv(variable, proxy)
        return RiffusionHook(connect(SERVICE, extra={"timeout": 5}))

    return through


def error_of(hook, kind, variable):
    with pytest.raises(kind) as caught:
        hook.get_capacity()
    said = f"{caught.value} {caught.value.detail} {caught.value.url}"
    assert not [secret for secret in ("s3cret", "me:", "bWU6czNjcmV0") if secret in said]
    assert f"the proxy in {variable}" in str(caught.value)
    assert caught.value.url == SERVICE + PATH
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
def test_proxy_with_malformed_address_is_rejected(use, variable, proxy):
    said = error_of(use(proxy), RiffusionRejected, variable)

    assert "is malformed: it must look like http://proxy.example.com:3128, with" in said


@pytest.mark.parametrize("scheme", ["socks4", "socks5", "SOCKS5h"])
def test_proxy_by_socks_is_rejected(use, variable, scheme):
    said = error_of(use(f"{scheme}://me:s3cret@proxy:1080"), RiffusionRejected, variable)

    assert "is a SOCKS proxy, which is not supported: name an HTTP proxy" in said


@pytest.mark.parametrize(
    ("status", "fix"),
    [
        ("407 s3cret", "check the user name and password in {}."),
        ("403 s3cret", "check {}, or put the host into NO_PROXY."),
        ("302 s3cret", "check {}, or put the host into NO_PROXY."),
    ],
)
def test_proxy_that_refuses_the_tunnel_is_rejected(use, variable, answering, status, fix):
    proxy = answering(b"", status)
    said = error_of(use(at(proxy)), RiffusionRejected, variable)

    assert said.startswith(status[:3])
    assert said.endswith(fix.format(variable))
    assert proxy.requests[0].startswith(b"CONNECT api.example.com:443 ")
    assert b"user:1234" not in proxy.requests[0]


@pytest.mark.parametrize("variable", ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"])
def test_proxy_that_refuses_connections_is_unavailable(use, variable):
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]

    said = error_of(use(f"http://me:s3cret@127.0.0.1:{port}"), RiffusionUnavailable, variable)

    assert "Connection refused" in said


def test_proxy_with_unknown_host_is_unavailable(use, variable, monkeypatch):
    def no_such_host(*args, **kwargs):
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", no_such_host)
    said = error_of(use("http://me:s3cret@proxy:3128"), RiffusionUnavailable, variable)

    assert "Name or service not known" in said


@pytest.mark.parametrize("status", ["502 s3cret", "503 s3cret", "504 s3cret", "429 s3cret"])
def test_proxy_with_temporary_status_is_unavailable(use, variable, answering, status):
    said = error_of(use(at(answering(b"", status))), RiffusionUnavailable, variable)

    assert status[:3] in said


@pytest.mark.parametrize("answer", [b"", b"Basic bWU6czNjcmV0\r\n\r\n", b"HTTP/1.1 200 OK\r\n\r\n"])
def test_proxy_that_cuts_the_request_off_is_unavailable(use, variable, raw_server, answer):
    proxy = raw_server(lambda connection: connection.sendall(answer))

    error_of(use(at(proxy)), RiffusionUnavailable, variable)


def test_proxy_that_is_silent_is_unavailable_after_the_timeout(connect, use, variable, raw_server):
    proxy = raw_server(lambda connection: proxy.pause(20))
    hook = use(at(proxy))
    connect(SERVICE, extra={"timeout": 0.2})

    said = error_of(hook, RiffusionUnavailable, variable)

    assert "no complete answer within 0.2 s" in said


def test_proxy_by_https_without_tls_is_rejected(use, variable, plain_server):
    proxy = f"https://me:s3cret@127.0.0.1:{plain_server(b'HTTP/1.1 400 Bad Request' + b' ' * 9)}"
    said = error_of(use(proxy), RiffusionRejected, variable)

    assert said.endswith(f"check {variable}. Is http:// meant?")


def test_proxy_by_https_with_untrusted_certificate_is_rejected(use, variable, answering, tls):
    proxy = answering(tls=tls).url.replace("//", "//me:s3cret@")
    said = error_of(use(proxy), RiffusionRejected, variable)

    assert said.startswith(f"The TLS certificate of the proxy in {variable} can't be verified")
    assert said.endswith(f"check {variable}, or make this machine trust its authority.")


@pytest.mark.parametrize("slash", ["", "/"])
def test_proxy_address_with_or_without_a_slash_is_used(use, variable, answering, slash):
    said = error_of(use(at(answering(b"", "407 no")) + slash), RiffusionRejected, variable)

    assert said.startswith("407")


def test_proxy_that_is_malformed_is_ignored_for_a_host_in_no_proxy(
    connect, use, variable, answering, contract, tls, certificate, monkeypatch
):
    use("http://me:s3cret@proxy:port")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))

    hook = RiffusionHook(connect(answering(contract(), tls=tls).url))

    assert hook.get_capacity().available == 18


def test_session_error_of_a_malformed_proxy_shows_no_password(use):
    session = use("http://me:s3cret@proxy:65536").get_conn()

    with pytest.raises(requests.exceptions.InvalidProxyURL) as caught:
        session.get(SERVICE)
    assert "s3cret" not in "".join(traceback.format_exception(caught.value))


def at(proxy):
    return proxy.url.replace("//", "//me:s3cret@")
