"""
Every route, fuzzed from its own description, with nearly all the checks that schemathesis has.

Faults are fuzzed as well, but each is lifted before the next request: a requested 500 is no finding. Control
routes meet no faults, so each example stands for itself.
"""

from __future__ import annotations

from random import Random

import schemathesis
from hypothesis import HealthCheck, settings

from airflow_riffusion.emulator.app import create_app
from airflow_riffusion.emulator.dialects import dialect_of
from airflow_riffusion.emulator.faults import FaultList
from airflow_riffusion.emulator.service import SchedulerService

NOT_CHECKED = [
    # No schema can say which accounts there are, or which fields of a fault go together.
    schemathesis.checks.positive_data_acceptance,
    # Starlette names the methods of one route in `Allow`, not those of all routes with that path.
    schemathesis.checks.allow_header_conformance,
]


def fuzzed(name, *, paths="", job_seconds=20.0, examples=20):
    """Make a test that fuzzes a service's routes."""
    dialect = dialect_of(name)
    faults = FaultList()
    service = SchedulerService(
        {"one": 10, "two": 10}, new_job_id=dialect.new_job_id, job_seconds=job_seconds, random=Random(7)
    )
    app = create_app(service, dialect, token=lambda: "right", faults=faults)
    schema = schemathesis.openapi.from_asgi("/openapi.json", app).include(path_regex=paths or dialect.prefix)

    @schema.parametrize()
    @settings(max_examples=examples, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck))
    def test(case):
        faults.clear()
        service.reset()
        service.log_out("two")
        case.call_and_validate(headers={"Authorization": "Bearer right"}, excluded_checks=NOT_CHECKED)

    return test


# Where a submission may be held until its job is over, the job is short.
test_openapi_any_request_gets_an_answer_it_describes = fuzzed("riffusion", paths=".", examples=50)
test_openapi_of_flowmusic_describes_every_answer = fuzzed("flowmusic", job_seconds=0.001)
test_openapi_of_tempolor_describes_every_answer = fuzzed("tempolor")
test_openapi_of_acemusic_describes_every_answer = fuzzed("acemusic", job_seconds=0.001)
test_openapi_of_mureka_describes_every_answer = fuzzed("mureka", job_seconds=0.001)
test_openapi_of_pixverse_describes_every_answer = fuzzed("pixverse")
test_openapi_of_kling_describes_every_answer = fuzzed("kling")
