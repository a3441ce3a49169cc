from __future__ import annotations

import asyncio
import json

import pytest

from airflow_riffusion.emulator.app import create_app
from airflow_riffusion.emulator.dialects import dialect_of
from airflow_riffusion.emulator.faults import Fault, FaultList
from airflow_riffusion.emulator.misbehaviour import CLOSE_CONNECTION

SUBMIT = ("POST", "/v1/riffusion/music/create-prompt")


@pytest.fixture
def faults():
    return FaultList()


@pytest.fixture
def ask(service, faults):
    """Send a request over a connection that can be closed; return the status, or None for a lost answer."""
    app = create_app(service, dialect_of("riffusion"), faults=faults)

    def run(method, url, body=None):
        path, _, query = url.partition("?")
        sent, closed = [], []
        received = [{"type": "http.request", "body": json.dumps(body).encode()}]

        async def receive():
            return received.pop() if received else {"type": "http.disconnect"}

        async def send(message):
            assert not closed
            sent.append(message)

        scope = {
            "type": "http",
            "method": method,
            "path": path,
            "query_string": query.encode(),
            "headers": [(b"authorization", b"Bearer any token"), (b"content-type", b"application/json")],
            "extensions": {CLOSE_CONNECTION: lambda: closed.append(len(sent))},
        }
        asyncio.run(app(scope, receive, send))
        assert closed in ([], [0])
        return None if closed else sent[0]["status"]

    return run


def test_lose_answer_submission_takes_its_slot(ask, service, faults):
    faults.add(Fault(lose_answer=True, endpoint="submit"))
    assert ask(*SUBMIT, {"prompt": "a prompt", "user_id": "one", "replyRef": "mine"}) is None
    (job,) = service.read().jobs
    assert (job.prompt, job.user_id, job.reply_ref) == ("a prompt", "one", "mine")


def test_lose_answer_cancellation_frees_the_slot(ask, service, faults):
    service.submit("a prompt")
    faults.add(Fault(lose_answer=True, endpoint="stop"))
    assert ask("DELETE", "/v1/riffusion/scheduler/job-1") is None
    assert (service.read().jobs, service.stats().cancelled) == ((), 1)


@pytest.mark.parametrize(
    "path", ["scheduler/available", "scheduler", "music/?id=job-1", "music", "unheard-of"]
)
def test_lose_answer_any_endpoint_loses_it(ask, faults, path):
    faults.add(Fault(lose_answer=True))
    assert ask("GET", f"/v1/riffusion/{path}") is None


def test_lose_answer_refusal_is_counted(ask, service, faults):
    for _ in range(4):
        service.submit("a prompt")
    faults.add(Fault(lose_answer=True))
    assert ask(*SUBMIT, {"prompt": "a prompt"}) is None
    assert (service.stats().refusals, service.stats().accepted) == (1, 4)


def test_lose_answer_invalid_submission_takes_no_slot(ask, service, faults):
    faults.add(Fault(lose_answer=True))
    assert ask(*SUBMIT, {}) is None
    assert service.jobs() == []


def test_lose_answer_every_and_times_limit_the_losses(ask, service, faults):
    faults.add(Fault(lose_answer=True, endpoint="submit", every=2, times=1))
    assert [ask(*SUBMIT, {"prompt": "a prompt"}) for _ in range(4)] == [200, None, 200, 200]
    assert service.stats().accepted == 4


def test_lose_answer_with_delay_loses_it_afterwards(ask, service, faults):
    faults.add(Fault(lose_answer=True, delay_seconds=0.001))
    assert ask(*SUBMIT, {"prompt": "a prompt"}) is None
    assert service.stats().accepted == 1


def test_lose_answer_with_job_error_fails_the_job(ask, service, faults, clock):
    faults.add(Fault(lose_answer=True, endpoint="submit", job_error="moderated"))
    assert ask(*SUBMIT, {"prompt": "a prompt"}) is None
    clock.advance(20)
    assert [job.status for job in service.jobs()] == ["failed"]


def test_lose_answer_wrong_token_still_answers_401(service, faults, client_for):
    faults.add(Fault(lose_answer=True))
    client = client_for(token="right", sends="wrong")
    assert client.get("/v1/riffusion/scheduler").status_code == 401
