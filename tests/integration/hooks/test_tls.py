from __future__ import annotations

import socket
import struct
import threading

import certifi
import pytest

from airflow_riffusion.exceptions import (
    RiffusionRejected,
    RiffusionUnavailable,
)
from airflow_riffusion.hooks.riffusion import RiffusionHook


def test_tls_handshake_that_is_cut_off_is_unavailable(connect):
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


def test_tls_certificate_of_a_trusted_authority_is_accepted(
    connect, answering, contract, tls, certificate, monkeypatch
):
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
    server = answering(contract(), tls=tls)

    assert RiffusionHook(connect(server.url)).get_capacity().available == 18


def test_tls_untrusted_certificate_is_rejected_before_any_request(
    connect, answering, contract, tls, monkeypatch
):
    for variable in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(variable, raising=False)
    server = answering(contract(), tls=tls)

    with pytest.raises(RiffusionRejected, match="can't be verified") as caught:
        RiffusionHook(connect(server.url)).get_capacity()
    assert "make this machine trust its authority" in str(caught.value)
    assert server.requests == []


@pytest.mark.parametrize("variable", ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"])
def test_tls_untrusted_certificate_error_names_the_authorities_variable(
    connect, answering, contract, tls, monkeypatch, variable
):
    monkeypatch.delenv("REQUESTS_CA_BUNDLE", raising=False)
    monkeypatch.setenv(variable, certifi.where())
    server = answering(contract(), tls=tls)

    with pytest.raises(RiffusionRejected, match=f"or add its authority to what {variable} names"):
        RiffusionHook(connect(server.url)).get_capacity()


@pytest.mark.parametrize("service", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"SSH-2.0-OpenSSH_9.2\r\n"])
def test_tls_server_without_it_is_rejected_with_its_http_address(connect, plain_server, service):
    port = plain_server(service)

    with pytest.raises(RiffusionRejected, match="There is no TLS at https") as caught:
        RiffusionHook(connect(f"https://127.0.0.1:{port}")).get_capacity()
    assert "check the base URL in connection 'riffusion_test'" in str(caught.value)
    assert f"Is http://127.0.0.1:{port} meant?" in str(caught.value)


def test_tls_server_with_an_old_version_only_is_rejected(connect, plain_server):
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
def test_tls_server_that_will_never_agree_is_rejected(connect, plain_server, alert, reason):
    port = plain_server(b"\x15\x03\x03\x00\x02\x02" + bytes([alert]))

    with pytest.raises(RiffusionRejected, match=rf"^No TLS can be .* \({reason}\): check the base") as caught:
        RiffusionHook(connect(f"https://127.0.0.1:{port}")).get_capacity()
    assert "http://" not in str(caught.value)


def test_tls_temporary_fault_is_unavailable(connect, plain_server):
    port = plain_server(b"\x15\x03\x03\x00\x02\x02\x50")  # the alert "internal error"

    with pytest.raises(RiffusionUnavailable, match="TLSV1_ALERT_INTERNAL_ERROR"):
        RiffusionHook(connect(f"https://127.0.0.1:{port}")).get_capacity()
