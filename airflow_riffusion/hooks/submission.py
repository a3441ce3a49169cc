"""Sends a job in the words of the connection's service, and reads the answer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_riffusion.exceptions import RiffusionRejected

if TYPE_CHECKING:
    from airflow_riffusion.core.outcome import Accepted
    from airflow_riffusion.core.submission import Submission
    from airflow_riffusion.hooks.service import ServiceHook
    from airflow_riffusion.services.base import Service


def send(
    hook: ServiceHook, submission: Submission, *, user_id: str, reply_ref: str
) -> tuple[Service, dict[str, Any] | list[Any]]:
    """Submit a job to an account; return the service that was asked, and its answer."""
    service = hook.settings.service
    body = submission.body(reply_ref, service.account_field, user_id, service.submit_fields)
    return service, hook.run(endpoint_of(submission, service), "POST", body)


def endpoint_of(submission: Submission, service: Service) -> str:
    """Return where a job is submitted to; raise RiffusionRejected if no page says it."""
    endpoint = submission.endpoint or service.submit_endpoint
    if endpoint is None:
        raise RiffusionRejected(f"No page of {service.title} says where to submit to: set endpoint.")
    return endpoint


def read_answer(service: Service, answer: object) -> Accepted:
    """Return which jobs were made; raise RiffusionRejected if the answer says why there is none."""
    if reason := service.refusal(answer):
        raise RiffusionRejected(f"{service.title} made no job of the submission: {reason}")
    return service.accepted(answer)
