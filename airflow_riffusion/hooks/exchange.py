"""One request to the service, and its answer or the error: the one place that speaks HTTP with it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from urllib3.exceptions import HTTPError

from airflow_riffusion import metrics
from airflow_riffusion.exceptions import RiffusionBadResponse
from airflow_riffusion.hooks.errors import error_of_answer, without_token
from airflow_riffusion.hooks.network_errors import error_of_network

if TYPE_CHECKING:
    import requests

    from airflow_riffusion.hooks.settings import ConnectionSettings


def exchange(
    session: requests.Session,
    settings: ConnectionSettings,
    method: str,
    endpoint: str,
    json: Any = None,
    *,
    secret: bool = False,
) -> bytes:
    """Send a request once, and return the body of a 2xx; no error quotes an answer that is secret."""
    url = settings.url(endpoint)
    with metrics.request(settings.conn_id):
        try:
            with session.request(
                method, url, json=json, stream=True, allow_redirects=False, timeout=settings.timeout
            ) as answer:
                body = b"".join(answer.raw.stream(65536, decode_content=False))
        except (OSError, HTTPError) as error:
            # Without the original: it holds the request, and that its Authorization header.
            raise error_of_network(error, url, settings, quoting=not secret) from None
        if not 200 <= answer.status_code < 300:
            raise error_of_answer(answer, b"" if secret else body, endpoint, settings)
    return without_token(body, settings.token)


def bad_response(settings: ConnectionSettings, endpoint: str, detail: str) -> RiffusionBadResponse:
    """Return the error of a 2xx with an unusable body, and count it as a failed request."""
    url = settings.url(endpoint).partition("?")[0]
    error = RiffusionBadResponse(
        f"The answer from {url} is {detail}: check the base URL in connection '{settings.conn_id}', or wait "
        "until the service is well again.",
        url=url,
        detail=detail,
    )
    metrics.request_failed(settings.conn_id, error)
    return error
