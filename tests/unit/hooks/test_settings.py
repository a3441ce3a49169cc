from __future__ import annotations

import json
from types import SimpleNamespace

import pytest
from airflow.models import Connection

from airflow_riffusion.exceptions import RiffusionRejected
from airflow_riffusion.hooks.settings import ConnectionSettings
from airflow_riffusion.services import SERVICES

TOKEN = "user:1234-abcDEF"


def settings(host=None, *, port=None, login=None, schema=None, password=TOKEN, extra=None, **fields):
    extra = json.dumps(fields) if fields else extra
    connection = SimpleNamespace(
        host=host, port=port, login=login, schema=schema, password=password, extra=extra
    )
    return ConnectionSettings.of("my_conn", connection)


def test_settings_token_alone_has_defaults_for_the_rest():
    found = settings()

    assert (found.origin, found.service.name, found.timeout) == ("https://api.useapi.net", "riffusion", 30.0)
    assert found.token == TOKEN


def test_settings_null_extra_fields_get_the_defaults():
    found = settings(extra='{"service": null, "timeout": null, "allow_http": null}')

    assert (found.service.name, found.timeout) == ("riffusion", 30.0)


@pytest.mark.parametrize(
    ("host", "port", "origin"),
    [
        ("api.example.com", None, "https://api.example.com"),
        ("API.example.com/", None, "https://api.example.com"),
        ("https://api.example.com:443", None, "https://api.example.com"),
        ("https://api.example.com", 8443, "https://api.example.com:8443"),
        ("https://api.example.com:8443", 8443, "https://api.example.com:8443"),
        ("https://api.example.com:8443", 0, "https://api.example.com:8443"),
        ("api.example.com", 0, "https://api.example.com"),  # what Airflow's form sends for "no port"
        ("http://localhost:8099", None, "http://localhost:8099"),
        ("http://127.0.0.1:8099", None, "http://127.0.0.1:8099"),
        ("http://[::1]:8099", None, "http://[::1]:8099"),
        ("10.1", None, "https://10.1"),
        ("riffusion_emulator", 8099, "https://riffusion_emulator:8099"),
        ("api.example.com.", None, "https://api.example.com."),
        ("a" * 63 + ".example.com", None, "https://" + "a" * 63 + ".example.com"),
    ],
)
def test_settings_valid_base_url_becomes_scheme_host_and_port(host, port, origin):
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
        "https://[bad",
        "https://user:pw@ho\u2100st",
        "api.example.com:0x50",
        "api.example.com:65536",
        "api.example.com:0",
    ],
)
def test_settings_malformed_base_url_is_rejected(host):
    with pytest.raises(RiffusionRejected, match=r"Connection 'my_conn': the (base URL|port)"):
        settings(host)


def test_settings_two_different_ports_are_rejected():
    with pytest.raises(RiffusionRejected, match="the base URL and the port field have different ports"):
        settings("https://api.example.com:8443", port=9999)


@pytest.mark.parametrize("port", [-1, 65536])
def test_settings_port_out_of_range_is_rejected(port):
    with pytest.raises(RiffusionRejected, match="the port in the base URL must be a number from 1 to 65535"):
        settings("https://api.example.com", port=port)


@pytest.mark.parametrize(
    "host",
    [
        "a..b",
        ".example.com",
        ".",
        "a" * 64 + ".example.com",
        ".".join(["a" * 60] * 5),
        "api!example.com",
        "api%2eexample.com",
        "api\\example.com",
        "*.example.com",
        "300.1.2.3",
        "1.2.3.4.5",
        "https://[::1::2]:8099",
    ],
)
def test_settings_impossible_host_is_rejected(host):
    with pytest.raises(RiffusionRejected, match=r"the base URL (has a host that can't exist|must look like)"):
        settings(host)


def test_settings_plain_http_beyond_this_machine_needs_allow_http():
    with pytest.raises(RiffusionRejected, match="unencrypted"):
        settings("http://api.example.com")
    assert settings("http://api.example.com", allow_http=True).origin == "http://api.example.com"


@pytest.mark.parametrize("password", [None, "", "two words", "tab\there", "line\n", "ümlaut", " padded"])
def test_settings_unusable_token_is_rejected_without_showing_it(password):
    with pytest.raises(RiffusionRejected, match="API token") as caught:
        settings(password=password)
    assert not password or password not in str(caught.value)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"service": "spotify"},
            "service must be one of riffusion, flowmusic, tempolor, acemusic, mureka, pixverse, kling, not "
            "'spotify'",
        ),
        ({"timeout": 0}, "timeout must be"),
        ({"timeout": "soon"}, "timeout must be"),
        ({"timeout": 100_000}, "at most 600"),
        ({"timeout": True}, "timeout must be"),
        ({"allow_http": "perhaps"}, "allow_http must be true or false"),
        ({"separate_triggerers": 1}, "separate_triggerers must be true or false"),
    ],
)
def test_settings_invalid_extra_field_is_rejected(fields, message):
    with pytest.raises(RiffusionRejected, match=message):
        settings(**fields)


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("serivce", "did you mean 'service'?"),
        ("Service", "did you mean 'service'?"),
        ("allow-http", "did you mean 'allow_http'?"),
        ("extra__riffusion__service", "did you mean 'service'?"),
        ("region", "there are service, max_jobs, timeout, allow_http, separate_triggerers"),
    ],
)
@pytest.mark.parametrize("value", ["secret", None])
def test_settings_unknown_extra_field_is_rejected_with_a_hint(name, hint, value):
    with pytest.raises(RiffusionRejected) as caught:
        settings(**{name: value})
    assert str(caught.value) == f"Connection 'my_conn': there is no extra field '{name}'; {hint}"


@pytest.mark.parametrize("login", [None, ""])
def test_settings_without_login_are_accepted(login):
    assert settings(login=login).token == TOKEN


@pytest.mark.parametrize(("login", "password"), [("user", "1234-abcDEF"), (TOKEN, None)])
def test_settings_login_is_rejected_without_showing_it(login, password):
    with pytest.raises(RiffusionRejected, match=r"it has a login, .* ':' is written %3A") as caught:
        settings(login=login, password=password)
    assert "1234-abcDEF" not in str(caught.value)


@pytest.mark.parametrize("schema", ["kling", "https", TOKEN])
def test_settings_schema_is_rejected_without_showing_it(schema):
    with pytest.raises(RiffusionRejected, match="it has a schema, which must be empty") as caught:
        settings(schema=schema)
    assert TOKEN not in str(caught.value)


@pytest.mark.parametrize(
    "uri",
    [
        "riffusion://:user%3A1234-abcDEF@http%3A%2F%2Flocalhost:8099/?service=kling&timeout=3",
        "riffusion://:user%3A1234-abcDEF@http%3A%2F%2Flocalhost:8099/"
        "?__extra__=%7B%22service%22%3A+%22kling%22%2C+%22timeout%22%3A+3%7D",
    ],
)
def test_settings_connection_uri_is_read_with_its_extras(uri):
    found = ConnectionSettings.of("my_conn", Connection(uri=uri))

    assert (found.token, found.origin) == (TOKEN, "http://localhost:8099")
    assert (found.service.name, found.timeout) == ("kling", 3.0)


@pytest.mark.parametrize(
    ("uri", "says"),
    [
        ("riffusion://user:1234-abcDEF@api.useapi.net", "it has a login"),
        ("riffusion://:user%3A1234-abcDEF@api.useapi.net/kling", "it has a schema"),
        ("riffusion://:user%3A1234-abcDEF@/?serivce=kling", "no extra field 'serivce'"),
        ("riffusion://:user%3A1234-abcDEF@/?__extra__=%7B%22serivce%22%3A+1%7D", "no extra field 'serivce'"),
    ],
)
def test_settings_connection_uri_with_login_schema_or_unknown_extra_is_rejected(uri, says):
    with pytest.raises(RiffusionRejected) as caught:
        ConnectionSettings.of("my_conn", Connection(uri=uri))
    assert says in str(caught.value)
    assert "1234-abcDEF" not in str(caught.value)


@pytest.mark.parametrize("extra", ["{", "[]", "3"])
def test_settings_extra_that_is_no_json_object_is_rejected(extra):
    with pytest.raises(RiffusionRejected, match="extra field"):
        settings(extra=extra)


def test_settings_extra_fields_as_text_are_read():
    found = settings("http://example.com", timeout="2.5", allow_http="True", service="kling")

    assert (found.timeout, found.service.name) == (2.5, "kling")


def test_settings_allow_http_as_airflow_2_sends_a_ticked_box_is_read():
    assert settings("http://example.com", allow_http="y").origin == "http://example.com"


@pytest.mark.parametrize(("value", "expected"), [(None, False), (False, False), (True, True), ("true", True)])
def test_settings_separate_triggerers_are_read_and_off_by_default(value, expected):
    assert settings(separate_triggerers=value).separate_triggerers is expected
    assert settings().separate_triggerers is False


def test_settings_repr_does_not_show_the_token():
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
def test_url_endpoint_that_leads_elsewhere_is_an_error(endpoint):
    with pytest.raises(ValueError, match="a path below that of the service"):
        settings().url(endpoint)


def test_url_endpoint_is_relative_to_the_service():
    assert (
        settings(service="kling").url("/scheduler/x?y=1") == "https://api.useapi.net/v1/kling/scheduler/x?y=1"
    )


def test_url_of_a_service_of_version_two_begins_with_it():
    assert settings(service="pixverse").url("music/1") == "https://api.useapi.net/v2/pixverse/music/1"


@pytest.mark.parametrize(
    ("service", "reason"), [("ltxstudio", "switched it off in June 2025"), ("minimax", "counts videos only")]
)
def test_settings_service_that_is_not_there_any_more_says_why(service, reason):
    with pytest.raises(RiffusionRejected, match=reason):
        settings(service=service)


def test_settings_service_that_does_not_say_its_slots_needs_max_jobs():
    with pytest.raises(RiffusionRejected, match=r"Mureka does not say .* 'max_jobs' must"):
        settings(service="mureka")


@pytest.mark.parametrize(("value", "read"), [(10, 10), ("10", 10), (None, None), ("", None)])
def test_settings_max_jobs_is_a_whole_number(value, read):
    assert settings(max_jobs=value).max_jobs == read


@pytest.mark.parametrize("value", [0, -1, 2.5, "many", True, 101])
def test_settings_max_jobs_that_no_account_can_have_is_rejected(value):
    with pytest.raises(RiffusionRejected, match="max_jobs must be"):
        settings(max_jobs=value)


def test_settings_max_jobs_is_the_services_default_where_it_has_one():
    assert settings(service="acemusic").max_jobs == 4


def test_url_of_an_id_with_special_characters_is_one_of_the_service():
    endpoint = SERVICES["flowmusic"].stop_endpoint("job:1-user:2-a#b@x.com-bot:flowmusic")

    assert (
        settings(service="flowmusic").url(endpoint).endswith("/jobs/job:1-user:2-a%23b@x.com-bot:flowmusic")
    )
