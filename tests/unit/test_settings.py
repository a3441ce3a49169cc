from __future__ import annotations

import json
from types import SimpleNamespace

import pytest

from airflow_riffusion.exceptions import RiffusionRejected
from airflow_riffusion.hooks.settings import ConnectionSettings

TOKEN = "user:1234-abcDEF"


def settings(host=None, *, port=None, password=TOKEN, extra=None, **fields):
    extra = json.dumps(fields) if fields else extra
    connection = SimpleNamespace(host=host, port=port, password=password, extra=extra)
    return ConnectionSettings.of("my_conn", connection)


def test_a_token_alone_is_enough():
    found = settings()

    assert (found.origin, found.service, found.timeout) == ("https://api.useapi.net", "riffusion", 30.0)
    assert found.token == TOKEN


def test_the_form_stores_empty_fields_as_null():
    found = settings(extra='{"service": null, "timeout": null, "allow_http": null}')

    assert (found.service, found.timeout) == ("riffusion", 30.0)


@pytest.mark.parametrize(
    ("host", "port", "origin"),
    [
        ("api.example.com", None, "https://api.example.com"),
        ("API.example.com/", None, "https://api.example.com"),
        ("https://api.example.com:443", None, "https://api.example.com"),
        ("https://api.example.com", 8443, "https://api.example.com:8443"),
        ("https://api.example.com:8443", 9999, "https://api.example.com:8443"),
        ("api.example.com", 0, "https://api.example.com"),  # what Airflow's form sends for "no port"
        ("http://localhost:8099", None, "http://localhost:8099"),
        ("http://127.0.0.1:8099", None, "http://127.0.0.1:8099"),
        ("http://[::1]:8099", None, "http://[::1]:8099"),
    ],
)
def test_the_base_url_is_scheme_host_and_port(host, port, origin):
    assert settings(host, port=port).origin == origin


@pytest.mark.parametrize(
    "host",
    [
        "ftp://example.com",
        "https://",
        "https://api.example.com/v1",
        "https://api.example.com?x=1",
        "https://user:pw@api.example.com",
        "https://api.example.com:notaport",
        "https://api.exa mple.com",
        "https://bücher.example",
    ],
)
def test_a_base_url_that_is_more_or_less_than_that_is_rejected(host):
    with pytest.raises(RiffusionRejected, match=r"Connection 'my_conn': the (base URL|port)"):
        settings(host)


def test_plain_http_goes_to_this_machine_only_unless_allowed():
    with pytest.raises(RiffusionRejected, match="unencrypted"):
        settings("http://api.example.com")
    assert settings("http://api.example.com", allow_http=True).origin == "http://api.example.com"


@pytest.mark.parametrize("password", [None, "", "two words", "tab\there", "line\n", "ümlaut", " padded"])
def test_a_token_that_cant_be_one_is_rejected_without_showing_it(password):
    with pytest.raises(RiffusionRejected, match="API token") as caught:
        settings(password=password)
    assert not password or password not in str(caught.value)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"service": "spotify"},
            "service must be one of riffusion, tempolor, kling, ltxstudio, not 'spotify'",
        ),
        ({"timeout": 0}, "timeout must be"),
        ({"timeout": "soon"}, "timeout must be"),
        ({"timeout": 100_000}, "at most 600"),
        ({"timeout": True}, "timeout must be"),
        ({"allow_http": "perhaps"}, "allow_http must be true or false"),
        ({"separate_triggerers": 1}, "separate_triggerers must be true or false"),
    ],
)
def test_an_extra_field_that_makes_no_sense_is_rejected(fields, message):
    with pytest.raises(RiffusionRejected, match=message):
        settings(**fields)


@pytest.mark.parametrize("extra", ["{", "[]", "3"])
def test_an_extra_that_is_no_json_object_is_rejected(extra):
    with pytest.raises(RiffusionRejected, match="extra field"):
        settings(extra=extra)


def test_text_as_a_connection_uri_has_it_is_read():
    found = settings("http://example.com", timeout="2.5", allow_http="True", service="kling")

    assert (found.timeout, found.service) == (2.5, "kling")


@pytest.mark.parametrize(("value", "expected"), [(None, False), (False, False), (True, True), ("true", True)])
def test_triggerers_share_the_slots_unless_told_otherwise(value, expected):
    assert settings(separate_triggerers=value).separate_triggerers is expected
    assert settings().separate_triggerers is False


def test_the_token_is_not_in_the_repr():
    assert TOKEN not in repr(settings())


@pytest.mark.parametrize(
    "endpoint",
    [
        "",
        "/",
        "../accounts",
        "a/../../b",
        "a/%2e%2e/%2E%2e/b",
        "a\\..\\b",
        "a#b",
        "https://example.com/x",
        "a\nb",
    ],
)
def test_an_endpoint_that_leads_elsewhere_is_an_error(endpoint):
    with pytest.raises(ValueError, match="below v1/<service>/"):
        settings().url(endpoint)


def test_an_endpoint_is_relative_to_the_service():
    assert (
        settings(service="kling").url("/scheduler/x?y=1") == "https://api.useapi.net/v1/kling/scheduler/x?y=1"
    )
