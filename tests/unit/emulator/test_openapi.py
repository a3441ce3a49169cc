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
from airflow_riffusion.emulator.dialects import DIALECTS
from airflow_riffusion.emulator.faults import FaultList
from airflow_riffusion.emulator.service import SchedulerService

NOT_CHECKED = [
    # No schema can say which accounts there are, or which fields of a fault go together.
    schemathesis.checks.positive_data_acceptance,
    # Starlette names the methods of one route in `Allow`, not those of all routes with that path.
    schemathesis.checks.allow_header_conformance,
]

riffusion = DIALECTS["riffusion"]
faults = FaultList()
service = SchedulerService({"one": 10, "two": 10}, new_job_id=riffusion.new_job_id, random=Random(7))
app = create_app(service, riffusion, token=lambda: "right", faults=faults)
schema = schemathesis.openapi.from_asgi("/openapi.json", app)


@schema.parametrize()
@settings(max_examples=50, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck))
def test_openapi_any_request_gets_an_answer_it_describes(case):
    faults.clear()
    service.reset()
    service.log_out("two")
    case.call_and_validate(headers={"Authorization": "Bearer right"}, excluded_checks=NOT_CHECKED)
