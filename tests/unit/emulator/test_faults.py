from __future__ import annotations

import pytest
from pydantic import ValidationError

from airflow_riffusion.emulator.faults import Fault, FaultList


def meetings(*faults, endpoint="capacity", requests=6):
    fault_list = FaultList()
    for fault in faults:
        fault_list.add(fault)
    return [fault_list.meet(endpoint) for _ in range(requests)]


def test_meet_by_default_applies_to_every_request():
    fault = Fault(status=503)
    assert meetings(fault) == [fault] * 6


def test_meet_with_every_applies_to_each_nth_request():
    fault = Fault(status=503, every=3)
    assert meetings(fault) == [None, None, fault, None, None, fault]


def test_meet_with_times_applies_so_often_at_most():
    fault = Fault(status=503, every=2, times=2)
    assert meetings(fault, requests=8) == [None, fault, None, fault, None, None, None, None]


def test_meet_at_another_endpoint_does_not_apply():
    assert meetings(Fault(status=503, endpoint="submit")) == [None] * 6


def test_meet_at_another_endpoint_is_not_counted():
    faults = FaultList()
    fault = Fault(status=503, endpoint="capacity", every=2)
    faults.add(fault)
    met = [faults.meet(endpoint) for endpoint in ("capacity", "jobs", "capacity")]
    assert met == [None, None, fault]


def test_meet_several_faults_applies_the_first_due():
    rare, common = Fault(status=503, every=3), Fault(status=429)
    assert meetings(rare, common, requests=3) == [common, common, rare]


def test_meet_counts_requests_met_and_fired():
    faults = FaultList()
    counted = faults.add(Fault(drop=True, every=2))
    for _ in range(5):
        faults.meet("jobs")
    assert (counted.met, counted.fired) == (5, 2)


def test_clear_lifts_all_faults():
    faults = FaultList()
    faults.add(Fault(drop=True))
    faults.clear()
    assert (faults.meet("capacity"), faults.all()) == (None, ())


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"every": 2},
        {"status": 199},
        {"status": 600},
        {"status": "503"},
        {"status": True},
        {"status": 503, "every": 0},
        {"status": 503, "times": 0},
        {"status": 503, "endpoint": "unheard-of"},
        {"status": 503, "retry_after": -1},
        {"status": 503, "retry_after": ""},
        {"status": 503, "retry_after": "30\r\nSet-Cookie: x"},
        {"status": 503, "retry_after": "dreißig"},
        {"retry_after": 30, "delay_seconds": 1},
        {"delay_seconds": 0},
        {"delay_seconds": -1},
        {"delay_seconds": 301},
        {"delay_seconds": float("nan")},
        {"delay_seconds": float("inf")},
        {"drop": True, "status": 503},
        {"drop": True, "body": "html"},
        {"drop": 1},
        {"lose_answer": True, "status": 503},
        {"lose_answer": True, "body": "html"},
        {"lose_answer": True, "drop": True},
        {"lose_answer": False},
        {"lose_answer": 1},
        {"job_error": "moderated"},
        {"job_error": "moderated", "endpoint": "capacity"},
        {"job_error": "moderated", "endpoint": "submit", "status": 503},
        {"job_error": "moderated", "endpoint": "submit", "body": "cut"},
        {"job_error": "moderated", "endpoint": "submit", "drop": True},
        {"job_error": "", "endpoint": "submit"},
        {"job_error": "x" * 1001, "endpoint": "submit"},
        {"job_error": True, "endpoint": "submit"},
        {"body": "x" * 1_000_001},
        {"body": "html", "status": 204},
        {"status": 503, "stauts": 503},
    ],
)
def test_fault_with_senseless_fields_is_an_error(fields):
    with pytest.raises(ValidationError):
        Fault(**fields)


@pytest.mark.parametrize(
    "fields",
    [
        {"status": 596},
        {"status": 429, "retry_after": "Wed, 12 Feb 2025 01:55:16 GMT"},
        {"status": 204},
        {"body": ""},
        {"delay_seconds": 2, "drop": True},
        {"delay_seconds": 300, "endpoint": "stop"},
        {"status": 503, "endpoint": "outcome"},
        {"status": 503, "endpoint": "accounts"},
        {"lose_answer": True},
        {"delay_seconds": 2, "lose_answer": True, "endpoint": "submit", "every": 2, "times": 1},
        {"job_error": "moderated", "endpoint": "submit", "lose_answer": True, "delay_seconds": 2},
    ],
)
def test_fault_with_odd_but_sensible_fields_is_valid(fields):
    assert Fault(**fields).model_dump(exclude_unset=True) == fields
