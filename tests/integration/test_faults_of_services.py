"""What a fault means to a task is the same with each service."""

from __future__ import annotations

import itertools
from contextlib import ExitStack
from functools import cache

import pytest

from airflow_riffusion.emulator import EmulatorServer
from airflow_riffusion.emulator.faults import Fault
from airflow_riffusion.services import SERVICES
from tests.integration.expected import EXPECTED
from tests.integration.faults import BAD_RESPONSE, REJECTED, UNAVAILABLE
from tests.integration.modes import CONN_ID, MODES, Clock, World, replace_airflow, replace_time
from tests.versions import needs_zero_worker_mode
from tests.xcoms import MemoryXComs

FAULTS = {
    UNAVAILABLE: ({"status": 503}, "503 Service Unavailable from"),
    REJECTED: ({"status": 401}, "check the API token in connection"),
    BAD_RESPONSE: ({"body": "html"}, "not JSON"),
}
CASES = [
    pytest.param(name, mode, marks=[needs_zero_worker_mode] if mode == "zero-worker" else [])
    for (name, service), mode in itertools.product(SERVICES.items(), MODES)
    if not mode.startswith("song") or service.submit_endpoint is not None
]


@pytest.fixture(scope="module")
def servers():
    """Return a function that starts a service's emulator, one of each role for all tests."""
    with ExitStack() as at_end:

        @cache
        def start(service: str, role: str) -> EmulatorServer:
            server = EmulatorServer(service=service, accounts=1, max_jobs=2, job_seconds=3600)
            return at_end.enter_context(server)

        yield start


@pytest.fixture
def world(service, servers, connect, monkeypatch):
    """Return a world with one service that is well, and another that can be given a fault."""
    clock = Clock()
    replace_time(clock, monkeypatch)

    def use(server: EmulatorServer) -> None:
        connect(server.url, conn_id=CONN_ID, extra={"service": service, "max_jobs": 2})

    faulty, fine = servers(service, "faulty"), servers(service, "fine")
    for server in (faulty, fine):
        server.faults.clear()
        server.service.reset()
    use(faulty)
    world = World(clock, faulty, fine, use, MemoryXComs(monkeypatch), monkeypatch)
    replace_airflow(world, monkeypatch)
    return world


@pytest.mark.parametrize("meaning", FAULTS)
@pytest.mark.parametrize(("service", "mode"), CASES)
def test_fault_of_each_service_ends_as_its_meaning_demands(world, mode, meaning, caplog, capfd):
    endpoint = "submit" if mode == "song-submitting" else "capacity"
    fault, says = FAULTS[meaning]
    world.faulty.faults.add(Fault(endpoint=endpoint, **fault))

    outcome = MODES[mode](world)

    row = EXPECTED[meaning][mode]
    assert outcome.state == row.state
    fails = row.state in ("failed", "up_for_retry")
    said = outcome.message if fails else caplog.text + "".join(capfd.readouterr())
    assert (row.says or says) in said
    asked = world.faulty.service.stats().requests_by_endpoint[endpoint]
    assert row.requests in (None, asked)
