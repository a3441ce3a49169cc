"""The hook: everything that the package and its users ask the service goes through it."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from airflow_riffusion import clock, metrics
from airflow_riffusion.core.accounts import ConfiguredAccounts
from airflow_riffusion.core.arguments import identifier
from airflow_riffusion.core.capacity import CapacityFormatError
from airflow_riffusion.core.outcome import scrub
from airflow_riffusion.core.submission import Submission, checked_reply_ref
from airflow_riffusion.exceptions import RiffusionError, RiffusionRejected, checking_arguments
from airflow_riffusion.get_provider_info import get_provider_info
from airflow_riffusion.hooks.accounts import GOOD_FOR_GIVING_UP, GOOD_FOR_WAITING, AccountDirectory
from airflow_riffusion.hooks.exchange import bad_response, exchange
from airflow_riffusion.hooks.service import ServiceHook
from airflow_riffusion.hooks.submission import read_answer, send

if TYPE_CHECKING:
    from collections.abc import Mapping

    from airflow_riffusion.core.capacity import Capacity, ExecutingJob
    from airflow_riffusion.hooks.settings import ConnectionSettings

_ACCOUNTS_ENDPOINT = "accounts"
# Seconds, less than a reading may take: readings wait for it.
_ACCOUNTS_TIMEOUT = 5.0
# A process may keep its hook for months, and the service may say something new each time.
_MOST_WARNINGS = 100


class RiffusionHook(ServiceHook):
    """
    Reads how many job slots are free, and reaches the service's other endpoints.

    :param riffusion_conn_id: the Airflow connection of type ``riffusion``.
    :param retries: how often a GET or DELETE is tried again when the service is unavailable. Nothing else
        is ever sent twice. Sensors and triggers use 0: they have a pace of their own.
    """

    conn_name_attr = "riffusion_conn_id"
    default_conn_name = "riffusion_default"
    conn_type = "riffusion"
    hook_name = "Riffusion"

    ACCOUNTS_AGES = (GOOD_FOR_WAITING, GOOD_FOR_GIVING_UP)
    """Maximum age (s) of a ``GET accounts`` answer: to go on waiting, then to reject a request by it."""

    def __init__(self, riffusion_conn_id: str = default_conn_name, *, retries: int = 0) -> None:
        super().__init__(riffusion_conn_id, retries=retries)
        self._warnings: set[str] = set()
        self._directory: tuple[ConnectionSettings, AccountDirectory] | None = None

    def get_capacity(self) -> Capacity:
        """
        Read which jobs run and how many slots each account has free.

        A service may list only accounts with a free slot. Accounts that this hook knows from earlier are
        added as full. Another may list only accounts with running jobs: then ``GET accounts`` says which
        others there are. It is asked at most once a minute, unless an unknown account appears.

        :raises RiffusionUnavailable: no answer could be had, and waiting helps.
        :raises RiffusionRejected: the service or the connection says no.
        :raises RiffusionBadResponse: the answer is no capacity answer.
        """
        settings = self.settings
        endpoint = settings.service.capacity_endpoint
        body = self._send("GET", endpoint)
        try:
            capacity = settings.service.read_capacity(
                body, observed_at=clock.utc_now(), max_jobs=settings.max_jobs
            )
        except CapacityFormatError as error:
            raise bad_response(settings, endpoint, f"no capacity answer: {error}") from None
        if settings.service.lists_busy_accounts_only:
            self._accounts().ensure_known(capacity)
        capacity = self.complete(capacity)
        metrics.reading(self.riffusion_conn_id, capacity)
        for warning in capacity.warnings:
            self._log_once(warning, settings.url(endpoint))
        return capacity

    async def aget_capacity(self) -> Capacity:
        """
        Read the capacity without blocking the event loop; see :meth:`get_capacity`.

        The request runs in a thread: there is one per poll, however many tasks wait, so a second,
        asynchronous HTTP stack would earn nothing.
        """
        await self.aload()
        return await asyncio.to_thread(self.get_capacity)

    def get_complete_capacity(self) -> Capacity:
        """
        Read the capacity, and ask for the accounts if some seem to be missing; see :meth:`get_capacity`.

        That is a second request, at most every ten minutes for one hook.

        :raises RiffusionUnavailable: no answer could be had, and waiting helps.
        :raises RiffusionRejected: the service or the connection says no.
        :raises RiffusionBadResponse: the answer is no capacity answer.
        """
        capacity = self.get_capacity()
        if capacity.lacks_accounts and self.configured_accounts() is not None:
            capacity = self.complete(capacity)
            metrics.reading(self.riffusion_conn_id, capacity)
        return capacity

    def complete(self, capacity: Capacity) -> Capacity:
        """
        Return a reading with the accounts that this hook knows and that it does not list, as full ones.

        :param capacity: the reading.
        """
        return self._accounts().complete(capacity)

    def configured_accounts(self, max_age: float = GOOD_FOR_WAITING) -> ConfiguredAccounts | None:
        """
        Return which accounts the service has, by ``GET accounts``; None if that can't be had now.

        A reading alone never proves that an account is missing, since a full one may not be listed. Only the
        ids, the numbers of slots and whether an account has an error are kept, and only ids are logged: the
        answer holds secrets. After a failure it is requested at most once a minute.

        :param max_age: seconds for which an earlier answer will do.
        """
        return self._accounts().configured(max_age)

    async def aconfigured_accounts(self, max_age: float = GOOD_FOR_WAITING) -> ConfiguredAccounts | None:
        """
        Ask for the accounts without blocking the event loop; see :meth:`configured_accounts`.

        :param max_age: seconds for which an earlier answer will do.
        """
        await self.aload()
        return await asyncio.to_thread(self.configured_accounts, max_age)

    def doubt_accounts(self) -> None:
        """Ask for the accounts anew at the next reading that needs them: one was just said to be unwell."""
        self._accounts().doubt()

    @property
    def accounts_retry_after(self) -> float:
        """Seconds for which the service wants not to be asked for its accounts."""
        return self._accounts().retry_after

    def submit(
        self, json: Mapping[str, Any], *, user_id: str, reply_ref: str, endpoint: str | None = None
    ) -> dict[str, Any]:
        """
        Submit a job to an account, in the words of the connection's service.

        The account, ``replyRef``, and what makes the service answer before the job is over are added. It
        keeps no pause between submissions, where a service wants one; ``RiffusionSubmitOperator`` does.

        :param json: what to submit, such as ``{"prompt": "…"}``.
        :param user_id: the account; of a ``CapacitySensor``'s output, ``slot["user_id"]``.
        :param reply_ref: tells the gate which job this is: ``slot["grant_id"]``, another one for each job.
        :param endpoint: where to, relative to the service's path; None for where the service takes songs.
        :return: ``job_id``, ``job_ids`` (some services make two), ``user_id``, ``reply_ref``, and the
            service's ``answer``, as plain JSON. ``job_id`` is None if the answer does not say it.
        :raises RiffusionUnavailable: no answer could be had. The service may have made the job.
        :raises RiffusionRejected: the service or the connection says no, or no job was made of it.
        :raises RiffusionBadResponse: the answer is no JSON object or list. The job may have been made.
        :raises RiffusionArgumentError: an argument can't be sent, or ``json`` says otherwise than another.
        """
        with checking_arguments():
            submission = Submission.checked(endpoint, json)
            user_id, reply_ref = identifier("user_id", user_id), checked_reply_ref("reply_ref", reply_ref)
            submission.check_agrees(user_id, reply_ref)
        service, answer = send(self, submission, user_id=user_id, reply_ref=reply_ref)
        job = read_answer(service, answer)
        return {
            "job_id": next(iter(job.job_ids), None),
            "job_ids": list(job.job_ids),
            "user_id": job.user_id or user_id,
            "reply_ref": reply_ref,
            "answer": scrub(answer),
        }

    def cancel_job(self, job_id: str | None = None, reply_ref: str | None = None) -> bool:
        """
        Stop an executing job, which frees its slot.

        That ends the tracking. The service still makes the song, and bills it (as useapi.net's pages for
        TemPolor and Flow Music say).

        :param job_id: the job's id.
        :param reply_ref: without an id, the reference it was submitted with. Where a reading does not name
            references, each executing job is asked for its own.
        :return: whether there was one; False if none such is executing (any more).
        :raises RiffusionUnavailable: no answer could be had. The job may be stopped all the same.
        :raises RiffusionRejected: the service or the connection says no.
        """
        if job_id is not None:
            return self._stop_job(job_id)
        stopped = [self._stop_job(found) for found in self._jobs_with(reply_ref)] if reply_ref else []
        return any(stopped)

    def _stop_job(self, job_id: str) -> bool:
        try:
            self.run(self.settings.service.stop_endpoint(job_id), "DELETE")
        except RiffusionRejected as error:
            if error.status != HTTPStatus.NOT_FOUND:
                raise
            return False
        return True

    def reference_of(self, job_id: str) -> str | None:
        """
        Ask the service with which ``replyRef`` a job was submitted.

        :param job_id: the job's id.
        :return: the reference; None if the job was submitted without one.
        :raises LookupError: the service does not say.
        :raises RiffusionUnavailable: no answer could be had, and waiting helps.
        :raises RiffusionRejected: the service or the connection says no; 404 if there is no such job.
        :raises RiffusionBadResponse: the answer is no JSON object.
        """
        service = self.settings.service
        endpoint = service.outcome_endpoint(job_id, None, "")
        if endpoint is None:
            raise LookupError(f"no page of {service.title} says where a job's replyRef is")
        return service.reference_of(self.run(endpoint))

    def _jobs_with(self, reply_ref: str) -> list[str]:
        """Return the ids of the executing jobs with a reference: one submission may have made two."""
        return [
            job.job_id
            for job in self.get_capacity().jobs
            if job.job_id is not None and self._reference(job) == reply_ref
        ]

    def _reference(self, job: ExecutingJob) -> str | None:
        if job.is_identified or job.job_id is None:
            return job.reply_ref
        try:
            return self.reference_of(job.job_id)
        except (LookupError, RiffusionRejected):
            return None  # It may have ended meanwhile.

    def test_connection(self) -> tuple[bool, str]:
        """Say in one sentence what a reading shows, or what to fix; Airflow's *Test* button calls it."""
        try:
            capacity = self.get_complete_capacity()
            return True, "; ".join([f"{self.settings.service.title}: {capacity}", *capacity.notes])
        except RiffusionError as error:
            return False, _without_id(str(error), self.riffusion_conn_id)

    def _log_once(self, warning: str, url: str) -> None:
        if warning in self._warnings or len(self._warnings) >= _MOST_WARNINGS:
            return
        self._warnings.add(warning)
        self.log.warning("Unexpected data from %s: %s", url, warning)
        if len(self._warnings) == _MOST_WARNINGS:
            self.log.warning("Further unexpected data from %s is not logged.", url)

    def _accounts(self) -> AccountDirectory:
        """Return what is known by these settings: another token may be for other accounts."""
        if self._directory is None or self._directory[0] != self.settings:
            directory = AccountDirectory(
                self.riffusion_conn_id,
                self._get_accounts,
                clock.monotonic,
                are_idle=self.settings.service.lists_busy_accounts_only,
            )
            self._directory = self.settings, directory
        return self._directory[1]

    def _get_accounts(self) -> ConfiguredAccounts:
        settings = replace(self.settings, timeout=min(_ACCOUNTS_TIMEOUT, self.settings.timeout))
        body = exchange(self._session, settings, "GET", _ACCOUNTS_ENDPOINT, secret=True)
        try:
            return ConfiguredAccounts.from_json(
                body, account_field=settings.service.account_field, max_jobs=settings.max_jobs
            )
        except CapacityFormatError as error:
            raise bad_response(settings, _ACCOUNTS_ENDPOINT, str(error)) from None

    @classmethod
    def get_ui_field_behaviour(cls) -> dict[str, Any]:
        """Return how the connection form differs from the usual; Airflow before 3.2 asks the hook."""
        behaviour: dict[str, Any] = _connection_type()["ui-field-behaviour"]
        return {key.replace("-", "_"): value for key, value in behaviour.items()}

    @classmethod
    def get_connection_form_widgets(cls) -> dict[str, Any]:
        """Return the connection form's own fields; Airflow before 3.2 asks the hook."""
        from airflow_riffusion.hooks.form import widgets

        return widgets(_connection_type()["conn-fields"])


def _without_id(message: str, conn_id: str) -> str:
    """Return an error without the connection's id: Airflow's form tests one under an id that it makes up."""
    message = message.removeprefix(f"Connection '{conn_id}': ")
    message = message.replace(f"in connection '{conn_id}'", "in the connection")
    return message.replace(f"The connection '{conn_id}'", "The connection")


def _connection_type() -> dict[str, Any]:
    return get_provider_info()["connection-types"][0]  # type: ignore[no-any-return]
