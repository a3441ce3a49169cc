"""Errors of the service, the connection and arguments; the class says whether waiting helps."""

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
    from typing import Self

    from airflow_riffusion.core.capacity import ExecutingJob


class RiffusionError(AirflowException):
    """
    Base of all errors of this provider about the service or the connection.

    Neither the message nor any attribute contains the API token.

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
    The service can't be reached or can't answer now, and waiting helps.

    For timeouts, network failures, 408, 429 and 5xx.

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
    The request can't succeed until something is fixed, so waiting won't help. Airflow doesn't retry the task.

    For 401, 403, 404 and other 4xx, 596 (an account needs its cookie renewed), a redirect, connection
    settings that can't work, and a request for more slots than there are.
    """

    @classmethod
    def unsatisfiable(cls, conn_id: str, reason: str) -> RiffusionRejected:
        """
        Return the error of a request that no reading can satisfy.

        :param conn_id: the connection's id.
        :param reason: why no reading can, without a full stop.
        """
        return cls(f"Connection '{conn_id}': {reason}. Check slots and user_ids, or the accounts' maxJobs.")


class RiffusionConnectionNotFound(RiffusionRejected, AirflowNotFoundException):
    """The Airflow connection does not exist."""


class RiffusionArgumentError(RiffusionRejected, ValueError):
    """
    An argument of an operator, a sensor or the hook is wrong, so no retry can succeed.

    When a DAG is parsed, this is an ordinary ``ValueError``. In a worker it fails the task without a retry,
    also when Airflow constructs a mapped task there.
    """


@contextmanager
def checking_arguments() -> Iterator[None]:
    """Raise RiffusionArgumentError in place of any ``ValueError``; as a context manager or a decorator."""
    try:
        yield
    except RiffusionArgumentError:
        raise
    except ValueError as error:
        raise RiffusionArgumentError(f"{str(error).removesuffix('.')}.") from None


class RiffusionJobFailed(RiffusionError):
    """The service says that a job has failed; a retry of its task submits another one."""


class RiffusionJobAmbiguous(RiffusionRejected):
    """A job is executing that may be the one that is looked for, and the service does not tell."""

    @classmethod
    def of(cls, wanted: object, job: ExecutingJob) -> Self:
        """
        Return the error.

        :param wanted: what is looked for.
        :param job: the job that is executing.
        """
        return cls(
            f"Job {job.job_id} on account {job.user_id} may be {wanted}: the service does not tell with "
            "which replyRef it was submitted."
        )


class RiffusionBadResponse(RiffusionError):
    """An answer that is no capacity answer: HTML, truncated JSON, wrong types, or more than 4 MiB."""

    def as_rejected(self) -> RiffusionRejected:
        """Return the rejection that several of these in a row count as: waiting won't help."""
        return RiffusionRejected(
            f"Several readings in a row: {self}", status=self.status, url=self.url, detail=self.detail
        )
