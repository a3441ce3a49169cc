"""What holds for every service."""

from __future__ import annotations

import pytest

from airflow_riffusion.core.capacity import CapacityFormatError
from airflow_riffusion.services import DEFAULT_SERVICE, GONE, SERVICES
from tests.readings import NOON

IDLE = {
    "flowmusic": {},
    "acemusic": {"jobs": []},
    "mureka": {"total": 0, "music": 0, "tts": 0, "accounts": {}, "availableAccounts": []},
}


@pytest.fixture(params=SERVICES)
def service(request):
    return SERVICES[request.param]


def test_services_riffusion_is_the_default():
    assert DEFAULT_SERVICE is SERVICES["riffusion"]


def test_services_gone_ones_are_not_offered():
    assert not GONE.keys() & SERVICES.keys()


def test_service_idle_answer_is_a_reading_without_jobs(service):
    idle = IDLE.get(service.name, {"executing": [], "available": []})

    reading = service.parse_capacity(idle, observed_at=NOON, max_jobs=3)

    assert (reading.service, reading.jobs, reading.available) == (service.name, (), 0)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html></html>",
        b"null",
        b"[]",
        b'"text"',
        b'{"error": "not now"}',
        b'{"error": {"code": 500, "message": "not now"}}',
    ],
)
def test_service_answer_that_is_no_capacity_is_an_error(service, body):
    with pytest.raises(CapacityFormatError):
        service.read_capacity(body, observed_at=NOON)


@pytest.mark.parametrize("answer", [None, [], "text", {}, {"jobs": None}, {"jobs": [None]}])
def test_service_answer_without_a_job_names_none(service, answer):
    assert service.accepted(answer).job_ids == ()


def test_service_error_in_a_good_answer_is_a_refusal(service):
    answer = {"error": {"code": 13, "message": "prompt blocked"}}

    assert service.refusal(answer) == "prompt blocked"


def test_service_stop_endpoint_keeps_colons_and_at_signs(service):
    endpoint = service.stop_endpoint("job:1-user:2-a+b@c.com/d")

    assert endpoint.partition("/")[2] == "job:1-user:2-a%2Bb@c.com%2Fd"


@pytest.mark.parametrize("answer", [None, "text", [], {}, {"audio": 1}])
def test_service_outcome_that_says_nothing_has_not_failed(service, answer):
    assert service.outcome(answer).reason is None
