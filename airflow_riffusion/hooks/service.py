"""What the hook sends to the service, and by which settings."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import BaseHook
from pydantic_core import from_json

from airflow_riffusion import clock
from airflow_riffusion.core.backoff import Backoff
from airflow_riffusion.exceptions import RiffusionUnavailable
from airflow_riffusion.hooks.exchange import bad_response, exchange
from airflow_riffusion.hooks.lookup import alook_up, look_up
from airflow_riffusion.hooks.session import open_session

if TYPE_CHECKING:
    import requests

    from airflow_riffusion.hooks.settings import ConnectionSettings

# A DELETE that is repeated finds nothing to delete.
_HARMLESS_TWICE = ("GET", "DELETE")
# Seconds between two tries.
_SHORTEST_PAUSE = 0.5
_LONGEST_PAUSE = 30.0


class ServiceHook(BaseHook):
    """Sends requests to a connection's service."""

    def __init__(self, riffusion_conn_id: str, *, retries: int) -> None:
        super().__init__()
        self.riffusion_conn_id = riffusion_conn_id
        self.retries = retries

    @cached_property
    def settings(self) -> ConnectionSettings:
        """
        The connection's settings, looked up and checked once.

        :raises RiffusionRejected: if the connection does not exist or can't work.
        :raises RiffusionUnavailable: if it can't be looked up.
        """
        return look_up(self.riffusion_conn_id, self.get_connection)

    async def aload(self) -> ConnectionSettings:
        """Look the connection up without blocking the event loop; see :attr:`settings`."""
        if "settings" not in self.__dict__:
            self.__dict__["settings"] = await alook_up(self.riffusion_conn_id, self.get_connection)
        return self.settings

    def forget_connection(self) -> None:
        """Look the connection up anew before the next request."""
        self.__dict__.pop("settings", None)
        self.__dict__.pop("_session", None)

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

    def run(self, endpoint: str, method: str = "GET", json: Any = None) -> Any:
        """
        Ask one of the service's other endpoints.

        :param endpoint: relative to the service's own path (``v1/flowmusic/``), for example ``music``.
        :param method: the HTTP method.
        :param json: the body, as plain JSON.
        :return: the decoded answer, a dict or a list, as the endpoint has it; ``{}`` for an empty one.
        :raises RiffusionUnavailable: no answer could be had. The service may have done what was asked.
        :raises RiffusionRejected: the service or the connection says no.
        :raises RiffusionBadResponse: the answer is no JSON object or list.
        :raises ValueError: the endpoint leads out of the service's path.
        """
        body = self._send(method.upper(), endpoint, json)
        if not body.strip():
            return {}
        try:
            answer = from_json(body, cache_strings="keys")
        except ValueError as error:
            raise bad_response(self.settings, endpoint, f"not JSON ({error})") from None
        if not isinstance(answer, dict | list):
            raise bad_response(self.settings, endpoint, "neither a JSON object nor a list")
        return answer

    def _send(self, method: str, endpoint: str, json: Any = None) -> bytes:
        """Send a request, several times if need be and harmless, and return the body of the good answer."""
        backoff = Backoff(_SHORTEST_PAUSE, longest=_LONGEST_PAUSE)
        retries = self.retries if method in _HARMLESS_TWICE else 0
        while True:
            try:
                return exchange(self._session, self.settings, method, endpoint, json)
            except RiffusionUnavailable as error:
                pause = backoff.failed(0.0, error.retry_after)
                if backoff.failures > retries or pause > _LONGEST_PAUSE:
                    raise
                self.log.warning("%s Trying again in %.1f s.", error, pause)
            clock.sleep(pause)
