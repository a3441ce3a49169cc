from __future__ import annotations

import pytest
from airflow.exceptions import AirflowException
from cryptography.fernet import InvalidToken
from sqlalchemy.exc import OperationalError

from airflow_riffusion.cli import lookup as lookup_module
from airflow_riffusion.cli.lookup import explain_not_found
from airflow_riffusion.exceptions import RiffusionConnectionNotFound, RiffusionRejected, RiffusionUnavailable

NOT_FOUND = RiffusionConnectionNotFound("The connection 'mine' does not exist.")


class Stored:
    """A connection that is decrypted when its URI is asked for."""

    def __init__(self, failure=None):
        self._failure = failure

    def get_uri(self):
        if self._failure:
            raise self._failure


class Vault:
    """A secrets backend that returns or raises what the test sets."""

    def __init__(self, answer):
        self._answer = answer

    def get_connection(self, conn_id):
        if isinstance(self._answer, Exception):
            raise self._answer
        return self._answer


@pytest.fixture
def explained(monkeypatch):
    """Return a function that explains why a connection was not found in these backends."""

    def explain(*answers):
        monkeypatch.setattr(lookup_module, "ensure_secrets_loaded", lambda: [Vault(each) for each in answers])
        return explain_not_found(NOT_FOUND, "mine")

    return explain


def test_lookup_connection_that_no_backend_has_is_not_found(explained):
    assert explained(None, None) is NOT_FOUND


@pytest.mark.parametrize(
    "answer",
    [
        AirflowException("Invalid connection string: riffusion://:user%3A1234-abcDEF@https://api."),
        ValueError("no JSON: user:1234-abcDEF"),
        Stored(InvalidToken("user:1234-abcDEF")),
    ],
)
def test_lookup_unreadable_connection_is_rejected_and_not_quoted(explained, answer):
    error = explained(None, answer)

    assert isinstance(error, RiffusionRejected)
    assert "'mine' can't be looked up in Vault" in str(error)
    assert "abcDEF" not in str(error)


@pytest.mark.parametrize("failure", [ConnectionError("user:1234-abcDEF"), Exception("user:1234-abcDEF")])
def test_lookup_backend_that_fails_is_unavailable_and_not_quoted(explained, failure):
    error = explained(failure, None)

    assert isinstance(error, RiffusionUnavailable)
    assert f"'mine' can't be looked up in Vault ({type(failure).__name__})" in str(error)
    assert "abcDEF" not in str(error)


def test_lookup_database_that_fails_is_unavailable_with_the_drivers_words_only(explained):
    error = explained(OperationalError("SELECT password", {"key": "secret"}, Exception("connection refused")))

    assert isinstance(error, RiffusionUnavailable)
    assert "(connection refused)" in str(error)
    assert "SELECT" not in str(error)


def test_lookup_connection_that_is_found_now_is_unavailable(explained):
    assert isinstance(explained(None, Stored()), RiffusionUnavailable)
