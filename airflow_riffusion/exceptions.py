"""What can go wrong between Airflow and the service, and whether waiting helps."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from airflow.providers.common.compat.sdk import (
    AirflowException,
    AirflowFailException,
    AirflowNotFoundException,
)

if TYPE_CHECKING:
    from collections.abc import Iterator


class RiffusionError(AirflowException):
    """
    Root of everything that this provider raises about the service or the connection.

    No attribute and no message ever holds the API token.

    :param message: what happened, where, and what to do about it.
    :param status: the HTTP status, if there was an answer.
    :param url: the address that was asked, without credentials and query string.
    :param detail: what the service or the network library said, shortened.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        url: str | None = None,
        detail: str | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.url = url
        self.detail = detail


class RiffusionUnavailable(RiffusionError):
    """
    No answer could be had, and waiting helps: timeouts, network failures, 408, 429 and 5xx.

    :param retry_after: seconds that the service asked to wait (its ``Retry-After``), if it did.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        url: str | None = None,
        detail: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message, status=status, url=url, detail=detail)
        self.retry_after = retry_after


class RiffusionRejected(RiffusionError, AirflowFailException):
    """
    The service or the connection says no, and waiting won't change it: a person has to.

    401, 403, 404 and other 4xx, 596 (an account needs its cookie renewed), a redirect, connection
    settings that can't work, a request for more slots than there are. Airflow does not retry the task.
    """

    @classmethod
    def unsatisfiable(cls, conn_id: str, reason: str) -> RiffusionRejected:
        """
        Return the error of a request that no reading can ever serve.

        :param conn_id: the connection whose accounts were read.
        :param reason: what was asked for and what there is.
        """
        return cls(f"Connection '{conn_id}': {reason}. Check slots and user_ids, or the accounts' maxJobs.")


class RiffusionConnectionNotFound(RiffusionRejected, AirflowNotFoundException):
    """The Airflow connection does not exist."""


class RiffusionArgumentError(RiffusionRejected, ValueError):
    """
    An argument of an operator or a sensor can't be what it should, so that no retry can succeed.

    Also when Airflow constructs a mapped task with it, in a worker; when a DAG is parsed, it is an ordinary
    ``ValueError``.
    """


@contextmanager
def checking_arguments() -> Iterator[None]:
    """
    Let a wrong argument fail the task without a retry; a decorator as well.

    :raises RiffusionArgumentError: instead of any ``ValueError``.
    """
    try:
        yield
    except RiffusionArgumentError:
        raise
    except ValueError as error:
        raise RiffusionArgumentError(f"{str(error).removesuffix('.')}.") from None


class RiffusionBadResponse(RiffusionError):
    """An answer that is no capacity answer: HTML, truncated JSON, wrong types, or more than 4 MiB."""

    def as_rejected(self) -> RiffusionRejected:
        """Return what several of these in a row are: no passing fault, so waiting won't help."""
        return RiffusionRejected(
            f"Several readings in a row: {self}", status=self.status, url=self.url, detail=self.detail
        )
