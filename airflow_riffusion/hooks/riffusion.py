"""The connection to useapi.net, and the one place that speaks HTTP with it."""

from __future__ import annotations

import asyncio
import random
import time
from datetime import UTC, datetime
from functools import cached_property
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, NoReturn
from urllib.parse import quote

from airflow.providers.common.compat.connection import get_async_connection
from airflow.providers.common.compat.sdk import AirflowNotFoundException, BaseHook
from asgiref.sync import sync_to_async
from pydantic_core import from_json
from urllib3.exceptions import HTTPError

from airflow_riffusion import metrics
from airflow_riffusion.core.accounts import ConfiguredAccounts, KnownAccounts
from airflow_riffusion.core.capacity import Capacity, CapacityFormatError, login_needed
from airflow_riffusion.exceptions import (
    RiffusionBadResponse,
    RiffusionConnectionNotFound,
    RiffusionError,
    RiffusionRejected,
    RiffusionUnavailable,
)
from airflow_riffusion.get_provider_info import get_provider_info
from airflow_riffusion.hooks.errors import error_of_answer, error_of_network, without_token
from airflow_riffusion.hooks.session import open_session
from airflow_riffusion.hooks.settings import CAPACITY_ENDPOINT, ConnectionSettings

if TYPE_CHECKING:
    import requests
    from airflow.providers.common.compat.sdk import Connection

# A DELETE that is repeated finds nothing to delete.
_HARMLESS_TWICE = ("GET", "DELETE")
_FIRST_BACKOFF = 1.0
_LONGEST_BACKOFF = 30.0
# Seconds.
_ACCOUNTS_LAST = 600.0
_ACCOUNTS_FRESH = 60.0
_ACCOUNTS_ASKED_AGAIN = 60.0
# A process may keep its hook for months, and the service may say something new each time.
_MOST_ODDITIES = 100


class RiffusionHook(BaseHook):
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

    ACCOUNTS_AGES = (_ACCOUNTS_LAST, _ACCOUNTS_FRESH)
    """How old an answer of ``GET accounts`` may be, in seconds: to go on waiting, and to give up by it."""

    def __init__(self, riffusion_conn_id: str = default_conn_name, *, retries: int = 0) -> None:
        super().__init__()
        self.riffusion_conn_id = riffusion_conn_id
        self.retries = retries
        self._oddities: set[str] = set()
        self._accounts = KnownAccounts()
        self._accounts_of: str | None = None
        self._configured: ConfiguredAccounts | None = None
        self._configured_at = self._not_asked_before = float("-inf")
        self._accounts_trouble: str | None = None

    @cached_property
    def settings(self) -> ConnectionSettings:
        """
        The connection's settings, looked up and checked once.

        :raises RiffusionRejected: if the connection does not exist or can't work.
        :raises RiffusionUnavailable: if it can't be looked up.
        """
        try:
            connection = self.get_connection(self.riffusion_conn_id)
        except Exception as error:  # noqa: BLE001 - every secrets backend has errors of its own
            self._lookup_failed(error)
        return ConnectionSettings.of(self.riffusion_conn_id, connection)

    @cached_property
    def _session(self) -> requests.Session:
        return open_session(self.settings)

    def get_conn(self) -> requests.Session:
        """
        Return the session behind this hook.

        It sends the API token to the connection's host only, and gives every request the connection's
        timeout as a total, headers and body included.

        :raises RiffusionRejected: if the connection does not exist or can't work.
        """
        return self._session

    def get_capacity(self) -> Capacity:
        """
        Read which jobs run and how many slots each account has free.

        A service may list only accounts with a free slot. Accounts that this hook knows from earlier are
        added as full.

        :raises RiffusionUnavailable: no answer could be had, and waiting helps.
        :raises RiffusionRejected: the service or the connection says no.
        :raises RiffusionBadResponse: the answer is no capacity answer.
        """
        endpoint = CAPACITY_ENDPOINT
        body = without_token(self._send("GET", endpoint), self.settings.token)
        try:
            capacity = Capacity.from_json(
                body, service=self.settings.service, observed_at=datetime.now(tz=UTC)
            )
        except CapacityFormatError as error:
            raise self._bad_response(endpoint, f"no capacity answer: {error}") from None
        capacity = self.complete(capacity)
        metrics.reading(self.riffusion_conn_id, capacity)
        for oddity in capacity.oddities:
            self._log_once(oddity, self.settings.url(endpoint))
        return capacity

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
        origin = self.settings.url("accounts")
        if origin != self._accounts_of:
            self._accounts, self._accounts_of = KnownAccounts(), origin
            self._configured, self._not_asked_before = None, float("-inf")
        return self._accounts.complete(capacity)

    def configured_accounts(self, max_age: float = _ACCOUNTS_LAST) -> ConfiguredAccounts | None:
        """
        Return which accounts the service has, by ``GET accounts``; None if that can't be had now.

        A reading alone never proves that an account is missing, since a full one may not be listed. Nothing
        but the accounts' ids, their numbers of slots and whether they have an error is taken from the
        answer, and nothing of it is logged but ids: it holds secrets.

        :param max_age: seconds for which an earlier answer will do. Asked at most once a minute if it fails.
        """
        now = time.monotonic()
        if self._configured is not None and now - self._configured_at <= max_age:
            return self._configured
        if now < self._not_asked_before:
            return None
        try:
            configured = self._get_accounts()
        except RiffusionError as error:
            asked_for = min(getattr(error, "retry_after", None) or 0.0, _ACCOUNTS_LAST)
            self._not_asked_before = now + max(_ACCOUNTS_ASKED_AGAIN, asked_for)
            if str(error) != self._accounts_trouble:
                self._accounts_trouble = str(error)
                self.log.warning("Which accounts the service has can't be found out: %s", error)
            return None
        if configured.logged_out and (
            self._configured is None or configured.logged_out != self._configured.logged_out
        ):
            message = login_needed(configured.logged_out)
            self.log.warning("Connection '%s': %s.", self.riffusion_conn_id, message)
        self._configured, self._configured_at, self._accounts_trouble = configured, now, None
        self._accounts.learn(configured)
        return configured

    async def aconfigured_accounts(self, max_age: float = _ACCOUNTS_LAST) -> ConfiguredAccounts | None:
        """Ask for the accounts without blocking the event loop; see :meth:`configured_accounts`."""
        await self.aload()
        return await asyncio.to_thread(self.configured_accounts, max_age)

    def _get_accounts(self) -> ConfiguredAccounts:
        body = self._send("GET", "accounts", secret=True)
        try:
            return ConfiguredAccounts.from_json(body)
        except CapacityFormatError as error:
            raise self._bad_response("accounts", str(error)) from None

    def _log_once(self, oddity: str, url: str) -> None:
        if oddity in self._oddities or len(self._oddities) >= _MOST_ODDITIES:
            return
        self._oddities.add(oddity)
        self.log.warning("Odd answer from %s: %s", url, oddity)
        if len(self._oddities) == _MOST_ODDITIES:
            self.log.warning("Further odd answers from %s are not logged.", url)

    async def aget_capacity(self) -> Capacity:
        """
        Read the capacity without blocking the event loop; see :meth:`get_capacity`.

        The request runs in a thread: there is one per poll, however many tasks wait, so a second,
        asynchronous HTTP stack would earn nothing.
        """
        await self.aload()
        return await asyncio.to_thread(self.get_capacity)

    async def aload(self) -> ConnectionSettings:
        """Look the connection up without blocking the event loop; see :attr:`settings`."""
        if "settings" not in self.__dict__:
            try:
                connection = await self._aget_stored_connection()
            except Exception as error:  # noqa: BLE001 - every secrets backend has errors of its own
                self._lookup_failed(error)
            self.__dict__["settings"] = ConnectionSettings.of(self.riffusion_conn_id, connection)
        return self.settings

    async def _aget_stored_connection(self) -> Connection:
        try:
            return await get_async_connection(self.riffusion_conn_id)
        except AirflowNotFoundException:
            # `airflow dags test` says so of every connection in the database, because its stand-in for the
            # supervisor can't be asked asynchronously (3.3.2: InProcessSupervisorComms has no asend).
            return await sync_to_async(self.get_connection)(self.riffusion_conn_id)

    def forget_connection(self) -> None:
        """Look the connection up anew before the next request."""
        self.__dict__.pop("settings", None)
        self.__dict__.pop("_session", None)

    def run(self, endpoint: str, method: str = "GET", json: Any = None) -> Any:
        """
        Ask one of the service's other endpoints.

        :param endpoint: relative to ``v1/<service>/``, for example ``music/create-prompt``.
        :param method: the HTTP method.
        :param json: the body, as plain JSON.
        :return: the decoded answer, a dict or a list, as the endpoint has it; ``{}`` for an empty one.
        :raises RiffusionUnavailable: no answer could be had. The service may have done what was asked.
        :raises RiffusionRejected: the service or the connection says no.
        :raises RiffusionBadResponse: the answer is no JSON object or list.
        :raises ValueError: the endpoint leads out of ``v1/<service>/``.
        """
        body = without_token(self._send(method.upper(), endpoint, json), self.settings.token)
        if not body.strip():
            return {}
        try:
            answer = from_json(body)
        except ValueError as error:
            raise self._bad_response(endpoint, f"not JSON ({error})") from None
        if not isinstance(answer, dict | list):
            raise self._bad_response(endpoint, "neither a JSON object nor a list")
        return answer

    def cancel_job(self, job_id: str | None = None, reply_ref: str | None = None) -> bool:
        """
        Drop an executing job, which frees its slot.

        :param job_id: the job's id.
        :param reply_ref: without an id, the reference it was submitted with.
        :return: whether there was one; False if none such is executing (any more).
        :raises RiffusionUnavailable: no answer could be had. The job may be dropped all the same.
        :raises RiffusionRejected: the service or the connection says no.
        """
        if job_id is None:
            jobs = self.get_capacity().jobs
            job_id = next((job.job_id for job in jobs if reply_ref and job.reply_ref == reply_ref), None)
            if job_id is None:
                return False
        try:
            self.run(f"scheduler/{quote(job_id, safe='')}", "DELETE")
        except RiffusionRejected as error:
            if error.status != HTTPStatus.NOT_FOUND:
                raise
            return False
        return True

    def test_connection(self) -> tuple[bool, str]:
        """Say in one sentence what a reading shows, or what to mend; Airflow's *Test* button calls it."""
        try:
            return True, str(self.get_complete_capacity())
        except RiffusionError as error:
            return False, _without_id(str(error), self.riffusion_conn_id)

    def _send(self, method: str, endpoint: str, json: Any = None, *, secret: bool = False) -> bytes:
        """Send a request, several times if need be and harmless, and return the body of the good answer."""
        tries_left = self.retries if method in _HARMLESS_TWICE else 0
        backoff = _FIRST_BACKOFF
        while True:
            try:
                session = self._session  # To look the connection up is no part of the request.
                with metrics.request(self.riffusion_conn_id):
                    return self._send_once(session, method, endpoint, json, secret)
            except RiffusionUnavailable as error:
                delay = max(error.retry_after or 0, random.uniform(backoff / 2, backoff))
                if not tries_left or delay > _LONGEST_BACKOFF:
                    raise
                self.log.warning("%s Trying again in %.1f s.", error, delay)
            time.sleep(delay)
            tries_left -= 1
            backoff = min(_LONGEST_BACKOFF, backoff * 2)

    def _send_once(
        self, session: requests.Session, method: str, endpoint: str, json: Any, secret: bool
    ) -> bytes:
        settings = self.settings
        url = settings.url(endpoint)
        try:
            with session.request(method, url, json=json, stream=True, allow_redirects=False) as answer:
                body = b"".join(answer.raw.stream(65536, decode_content=False))
        except (OSError, HTTPError) as error:
            # Without the original: it holds the request, and that its Authorization header.
            raise error_of_network(error, url, settings) from None
        if not 200 <= answer.status_code < 300:
            raise error_of_answer(answer, b"" if secret else body, endpoint, settings)
        return body

    def _bad_response(self, endpoint: str, detail: str) -> RiffusionBadResponse:
        url = self.settings.url(endpoint).partition("?")[0]
        error = RiffusionBadResponse(
            f"The answer from {url} is {detail}: check the base URL in connection "
            f"'{self.riffusion_conn_id}', or wait until the service is well again.",
            url=url,
            detail=detail,
        )
        metrics.request_failed(self.riffusion_conn_id, error)
        return error

    def _lookup_failed(self, error: Exception) -> NoReturn:
        conn_id = self.riffusion_conn_id
        if isinstance(error, AirflowNotFoundException):
            raise RiffusionConnectionNotFound(
                f"The connection '{conn_id}' does not exist ({error}): create it under Admin → Connections."
            ) from error
        raise RiffusionUnavailable(f"The connection '{conn_id}' can't be looked up: {error!r}") from error

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
