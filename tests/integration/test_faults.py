"""Every mode on every fault: what becomes of the task, what is said, and how often the service is asked."""

from __future__ import annotations

import itertools
import logging
import math
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

import pytest
from urllib3.util import connection as urllib3_connection

from tests.integration.expected import Expected, expected
from tests.integration.faults import (
    ACCOUNT_SECRET,
    BAD_RESPONSE,
    FAULTS,
    FULL,
    FULL_AND_NOT_LISTED,
    RULED_OUT,
    UNAVAILABLE,
    Fault,
    FaultyService,
    Network,
)
from tests.integration.modes import (
    CONN_ID,
    INTERVAL,
    MODES,
    PATIENCE,
    Clock,
    Outcome,
    World,
    replace_airflow,
    replace_time,
)
from tests.versions import needs_zero_worker_mode
from tests.xcoms import MemoryXComs

SECRET = "abcDEF"  # of the connection's API token, and the password of the proxy
DAY = 86400.0
A_LITTLE = 0.1
MOST_REAL_SECONDS_PER_REQUEST = 20.0  # on a machine that stalls
MOST_REAL_SECONDS_PER_SLOW_REQUEST = 5.0  # less than the fault itself lasts


class Case:
    """One mode on one fault: what happened, and whether that is what was to be expected."""

    def __init__(self, world: World, network: Network, sent: Callable[[], str]) -> None:
        self.world, self.network, self._sent = world, network, sent
        self.outcome = Outcome("not run")
        self.said = ""
        self._real_seconds = 0.0

    @property
    def fault(self) -> Fault:
        return self.world.faulty.fault

    @property
    def requests(self) -> list[float]:
        return self.network.requests_to(self.world.faulty)

    def run(self, mode: str, **arguments: Any) -> Case:
        began = time.monotonic()
        self.outcome = MODES[mode](self.world, **arguments)
        self._real_seconds = time.monotonic() - began
        self.said = self._sent()
        self.check_always()
        return self

    def check_always(self) -> None:
        """Nobody else is asked or told of the token, nor the service too soon, nor waited for too long."""
        known = {service.port for service in self.network.services}
        assert {port for _, port in self.network.opened} <= known
        assert SECRET not in f"{self.outcome} {self.said}"
        assert ACCOUNT_SECRET[:8] not in f"{self.outcome} {self.said}"
        all_requests = [at for at, _ in self.network.opened]
        for asked in self.requests[:-1] if self.world.faulty.is_well else self.requests:
            too_soon = [at for at in all_requests if asked < at < asked + self.fault.leave_alone]
            assert too_soon == []
        beside = self.network.requests_to(self.world.fine)
        assert all(later - earlier >= 1 for earlier, later in itertools.pairwise(beside)), beside
        most = MOST_REAL_SECONDS_PER_SLOW_REQUEST if self.fault.slow else MOST_REAL_SECONDS_PER_REQUEST
        assert self._real_seconds < most * (1 + len(all_requests))

    def check_pace(self, row: Expected) -> None:
        pauses = [later - earlier for earlier, later in itertools.pairwise(self.requests)]
        assert all(row.shortest <= pause + 1e-3 for pause in pauses), pauses
        assert all(pause <= row.longest + A_LITTLE for pause in pauses), pauses

    def check(self, row: Expected) -> None:
        assert self.outcome.state == row.state, self.outcome
        if row.requests is None:
            assert self.requests[0] < 2
            assert PATIENCE - self.requests[-1] <= row.longest + A_LITTLE, self.requests
        else:
            assert len(self.requests) == row.requests, self.requests
        self.check_pace(row)
        assert self.world.clock.elapsed <= row.within + A_LITTLE
        fails = row.state in ("failed", "up_for_retry")
        if row.state != "success":
            assert (row.says or self.fault.says) in (self.outcome.message if fails else self.said)


@pytest.fixture
def case(connect, tls, certificate, monkeypatch, caplog, capfd) -> Iterator[Callable[..., Case]]:
    """Return a function that starts a service with a fault, in a world with a clock of its own."""
    clock = Clock()
    replace_time(clock, monkeypatch)
    caplog.set_level(logging.DEBUG)
    xcoms = MemoryXComs(monkeypatch)
    with ExitStack() as servers:

        def start(fault: Fault, *, well_from: float = math.inf, timeout: float = 0.05) -> Case:
            if fault.tls == "cut":
                monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
            services = [FaultyService(fault, clock, tls, well_from), FaultyService(FULL, clock, well_from=0)]
            for service in services:
                servers.callback(service.close)
            for name, value in fault.environ.items():
                monkeypatch.setenv(name, value.format(port=services[0].port))
            network = Network(clock, services)
            connect_to = urllib3_connection.create_connection
            monkeypatch.setattr(
                urllib3_connection,
                "create_connection",
                lambda *args, **kwargs: network.open(connect_to, *args, **kwargs),
            )

            def use(service: FaultyService) -> None:
                host = service.fault.host or service.url
                connect(host, conn_id=CONN_ID, extra={"timeout": timeout if service.fault.slow else 60})

            use(services[0])
            world = World(clock, *services, use, xcoms, monkeypatch)
            replace_airflow(world, monkeypatch)
            return Case(world, network, lambda: caplog.text + "".join(capfd.readouterr()))

        yield start


def _modes(*names: str) -> pytest.MarkDecorator:
    marks = {"zero-worker": [needs_zero_worker_mode]}
    return pytest.mark.parametrize("mode", [pytest.param(name, marks=marks.get(name, ())) for name in names])


def _faults(*faults: Fault) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("fault", [pytest.param(fault, id=fault.name) for fault in faults])


@_faults(*FAULTS)
@_modes(*MODES)
def test_fault_in_each_mode_ends_as_its_meaning_demands(case, mode, fault):
    ran = case(fault).run(mode)

    row = expected(fault, mode)
    ran.check(row)
    assert ran.outcome.held == (row.state == "success" and mode.startswith("song"))
    if row.state == "success":
        own = ("submissions", 1) if mode.startswith("song") else ("available", 1)
        assert own in ran.outcome.result.items()
        assert ran.outcome.result.get("user_id", "sane") == "sane"


@_faults(*(fault for fault in FAULTS if fault.meaning in (UNAVAILABLE, BAD_RESPONSE) and not fault.host))
@_modes("poke", "reschedule", "deferred", "zero-worker", "song-waiting")
def test_wait_after_an_outage_gets_its_slot(case, mode, fault):
    well_from = 2 if fault.slow or fault.leave_alone > 300 else 3
    ran = case(fault, well_from=well_from, timeout=0.3).run(mode)

    assert ran.outcome.state == "success", ran.outcome
    assert len(ran.requests) == well_from or fault.slow
    ran.check_pace(expected(fault, mode))
    assert ran.outcome.result["user_id"] == "sane"


_WITHOUT_ADVICE, _WITH_ADVICE = (
    next(fault for fault in FAULTS if fault.name == name) for name in ("503", "429-seconds")
)


@_faults(FULL, _WITHOUT_ADVICE, _WITH_ADVICE)
@pytest.mark.parametrize("by", [DAY, -DAY], ids=["forwards", "backwards"])
@_modes("poke", "deferred", "zero-worker", "song-waiting")
def test_wait_with_a_jump_of_the_wall_clock_keeps_its_pace(case, mode, by, fault):
    jumping = case(fault, well_from=4)
    jumping.world.clock.jumps.append((INTERVAL / 2, by))
    ran = jumping.run(mode)

    assert ran.outcome.state == "success", (ran.outcome, ran.requests)
    assert len(ran.requests) == 4
    ran.check_pace(replace(expected(_WITH_ADVICE, mode), shortest=max(INTERVAL, fault.leave_alone)))


@_faults(*(fault for fault in FAULTS if fault.name == "429-30-years"))
@pytest.mark.parametrize(("mode", "arguments"), [("poke", {}), ("reschedule", {"timeout": PATIENCE})])
def test_wait_timeout_during_retry_after_sends_no_early_request(case, mode, arguments, fault):
    ran = case(fault).run(mode, **arguments)

    assert ran.outcome.state == "timed out"


_WAITING = ("poke", "reschedule", "deferred", "zero-worker", "song-waiting")


@_faults(*FULL_AND_NOT_LISTED)
@_modes(*_WAITING)
def test_wait_with_full_accounts_not_listed_goes_on(case, mode, fault):
    ran = case(fault).run(mode)

    assert ran.outcome.state == expected(fault, mode).state, ran.outcome
    readings = [each for each in ran.world.faulty.requests if b"/scheduler/available " in each[:60]]
    assert PATIENCE / 300 <= len(readings) <= PATIENCE / INTERVAL + 3
    beside = len(ran.requests) - len(readings)
    remembered = mode != "reschedule" and not fault.name.startswith("accounts-")
    assert beside <= (2 if remembered else len(readings))


@_faults(*FULL_AND_NOT_LISTED)
@_modes(*_WAITING)
def test_wait_with_full_accounts_listed_again_gets_its_slot(case, mode, fault):
    ran = case(fault, well_from=12).run(mode)

    assert ran.outcome.state == "success", ran.outcome
    assert ran.outcome.result["user_id"] == "sane"


@_faults(*RULED_OUT)
@_modes(*_WAITING)
def test_wait_with_accounts_that_can_never_serve_fails(case, mode, fault):
    ran = case(fault).run(mode)

    assert ran.outcome.state == "failed", ran.outcome
    assert fault.says in ran.outcome.message
    readings = [each for each in ran.world.faulty.requests if b"/scheduler/available " in each[:60]]
    assert len(readings) == 3


@_faults(*FULL_AND_NOT_LISTED, *RULED_OUT)
def test_operator_with_full_accounts_not_listed_reads_them_as_full(case, fault):
    result = case(fault).run("operator").outcome.result

    assert result["available"] == 0
    assert result["max_jobs"] == (2 if fault.name in ("configured", "no-job-listed") else 0)
