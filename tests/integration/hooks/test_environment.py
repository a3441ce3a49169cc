from __future__ import annotations

import pytest

from airflow_riffusion.exceptions import (
    RiffusionRejected,
    RiffusionUnavailable,
)
from airflow_riffusion.hooks.riffusion import RiffusionHook

PATH = "/v1/riffusion/scheduler/available"


@pytest.fixture(autouse=True)
def alone(monkeypatch):
    for variable in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSLKEYLOGFILE"):
        monkeypatch.delenv(variable, raising=False)


@pytest.fixture
def files(tmp_path):
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
def test_certificates_that_cant_be_read_are_rejected_before_any_request(
    connect, answering, tls, files, monkeypatch, variable, name, reason
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


def test_hook_test_connection_names_the_variable_without_certificates(connect, tls, answering, monkeypatch):
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/missing.pem")

    good, message = RiffusionHook(connect(answering(tls=tls).url)).test_connection()

    assert not good
    assert "REQUESTS_CA_BUNDLE names '/missing.pem'" in message


def test_certificates_second_variable_beside_the_first_is_ignored(
    connect, answering, contract, tls, certificate, monkeypatch
):
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
    monkeypatch.setenv("CURL_CA_BUNDLE", "/missing.pem")

    assert RiffusionHook(connect(answering(contract(), tls=tls).url)).get_capacity().available == 18


def test_certificates_variable_for_plain_http_is_ignored(connect, answering, monkeypatch):
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/missing.pem")

    with pytest.raises(RiffusionUnavailable, match="503"):
        RiffusionHook(connect(answering(b"", "503 x").url)).get_capacity()


def test_certificates_file_that_is_fixed_is_used_at_once(
    connect, answering, contract, tls, certificate, files, monkeypatch
):
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(files / "missing.pem"))
    hook = RiffusionHook(connect(answering(contract(), tls=tls).url))
    with pytest.raises(RiffusionRejected):
        hook.get_capacity()

    (files / "missing.pem").write_bytes(certificate.read_bytes())

    assert hook.get_capacity().available == 18


def test_tls_key_log_that_cant_be_written_is_rejected(connect, answering, tls, files, monkeypatch):
    monkeypatch.setenv("SSLKEYLOGFILE", str(files / "missing" / "keys"))

    with pytest.raises(RiffusionRejected, match=r"SSLKEYLOGFILE names '.*/keys', which can't be written"):
        RiffusionHook(connect(answering(tls=tls).url)).get_capacity()
