from __future__ import annotations

import re

import pytest

from airflow_riffusion.emulator import EmulatorServer


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"accounts": 0}, "accounts: must be between 1 and 1000, not 0"),
        ({"accounts": 1001}, "accounts: must be between 1 and 1000, not 1001"),
        ({"accounts": {}}, "accounts: must be between 1 and 1000, not 0"),
        ({"max_jobs": 0}, "max_jobs: must be between 1 and 10, not 0"),
        ({"max_jobs": 11}, "max_jobs: must be between 1 and 10, not 11"),
        ({"accounts": {"one": 11}}, "max_jobs: must be between 1 and 10, not 11"),
        ({"job_seconds": 0}, "job_seconds: must be above 0"),
        ({"job_seconds": -1}, "job_seconds: must be above 0"),
        ({"job_seconds": float("nan")}, "job_seconds: must be above 0"),
        ({"job_seconds": float("inf")}, "job_seconds: must be above 0"),
        ({"job_seconds": 8 * 24 * 3600}, "job_seconds: must be above 0"),
        ({"service": "suno"}, "service: must be one of riffusion, flowmusic, "),
        ({"service": "flowmusic", "max_jobs": 17}, "max_jobs: must be between 1 and 16, not 17"),
        ({"service": "pixverse", "max_jobs": 9}, "max_jobs: must be between 1 and 8, not 9"),
        ({"service": "acemusic", "max_jobs": 5}, "max_jobs: must be between 1 and 4, not 5"),
        ({"jobs_per_submission": 2}, "jobs_per_submission: must be between 1 and 1, not 2"),
        ({"service": "tempolor", "jobs_per_submission": 3}, "jobs_per_submission: must be between 1 and 2"),
        ({"audio_delay": -1}, "audio_delay: must be between 0 and"),
        ({"audio_delay": float("nan")}, "audio_delay: must be between 0 and"),
        ({"submission_pause": -1}, "submission_pause: must be between 0 and 3600"),
        ({"token": ""}, "token: must be printable ASCII"),
        ({"token": "two words"}, "token: must be printable ASCII"),
        ({"token": "tokén"}, "token: must be printable ASCII"),
        ({"host": "127.0.0.1:8099"}, "host: must be an address or a name, without scheme and port"),
        ({"host": "[::1]:8099"}, "host: must be an address or a name, without scheme and port"),
        ({"host": "http://localhost"}, "host: must be an address or a name, without scheme and port"),
        ({"port": -1}, "port: must be between 0 and 65535"),
        ({"port": 65536}, "port: must be between 0 and 65535"),
    ],
)
def test_emulator_with_senseless_arguments_is_an_error(settings, complaint):
    with pytest.raises(ValueError, match=f"^{re.escape(complaint)}"):
        EmulatorServer(**settings)


@pytest.mark.parametrize("rate", [-1, 1000.5, float("nan"), float("inf"), float("-inf")])
def test_emulator_with_senseless_rate_is_an_error(rate):
    complaint = f"other_clients_per_minute: must be between 0 and 1000, not {rate}"
    with pytest.raises(ValueError, match=f"^{re.escape(complaint)}"):
        EmulatorServer(other_clients_per_minute=rate)


@pytest.mark.parametrize(
    "host", ["0.0.0.0", "0", "::", "[::]", "::ffff:0.0.0.0", "192.0.2.1", "emulator.example.com", "a..b", ""]
)
def test_host_beyond_loopback_without_token_is_an_error(host):
    with pytest.raises(ValueError, match=r"^host: .* so a token is needed"):
        EmulatorServer(host=host)


def test_host_beyond_loopback_with_token_is_taken():
    assert EmulatorServer(host="0.0.0.0", port=8099, token="secret").url == "http://0.0.0.0:8099"


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.10", "localhost", "::1"])
def test_host_on_loopback_needs_no_token(host):
    assert host in EmulatorServer(host=host).url


@pytest.mark.parametrize(
    ("host", "address"),
    [
        ("[::1]", "[::1]"),
        (" [::1] ", "[::1]"),
        ("0:0:0:0:0:0:0:1", "[::1]"),
        ("::ffff:127.0.0.1", "127.0.0.1"),
        ("127.1", "127.0.0.1"),
        ("127.0.0.1 ", "127.0.0.1"),
        ("LocalHost", "localhost"),
        ("localhost.", "localhost"),
    ],
)
def test_host_on_loopback_in_any_spelling_is_normalised(host, address):
    assert EmulatorServer(host=host, port=8099).url == f"http://{address}:8099"


def test_host_in_brackets_with_token_is_taken():
    assert EmulatorServer(host="[fe80::1%lo]", port=8099, token="secret").url == "http://[fe80::1%lo]:8099"


def test_accounts_by_name_have_their_own_slots():
    emulator = EmulatorServer(accounts={"one": 1, "two": 10})
    assert [(account.user_id, account.max_jobs) for account in emulator.service.read().accounts] == [
        ("one", 1),
        ("two", 10),
    ]


def listed_when_one_is_full(**options):
    emulator = EmulatorServer(accounts={"one": 1, "two": 1}, **options)
    emulator.service.submit("a prompt", user_id="one")
    return [account.user_id for account in emulator.service.read().accounts if account.listed]


def test_full_accounts_are_hidden_by_default_where_the_service_does_so():
    assert listed_when_one_is_full() == ["one", "two"]
    assert listed_when_one_is_full(service="tempolor") == ["two"]
    assert listed_when_one_is_full(service="tempolor", hide_full_accounts=False) == ["one", "two"]
