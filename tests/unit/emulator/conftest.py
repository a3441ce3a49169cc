from __future__ import annotations

from datetime import UTC, datetime, timedelta
from random import Random
from typing import TYPE_CHECKING

import pytest
from starlette.testclient import TestClient

from airflow_riffusion.emulator.app import create_app
from airflow_riffusion.emulator.dialects import dialect_of
from airflow_riffusion.emulator.service import SchedulerService

if TYPE_CHECKING:
    from collections.abc import Callable


class HandClock:
    """A clock that goes only when a test moves it."""

    def __init__(self) -> None:
        self.now = datetime(2025, 2, 12, 1, 55, 16, 128_000, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


@pytest.fixture(scope="session")
def new_clock() -> type[HandClock]:
    """For a test that needs a clock for each of its examples."""
    return HandClock


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def service(clock: HandClock) -> SchedulerService:
    """Two accounts with two slots each, where a job takes 20 seconds."""
    return SchedulerService(
        {"one": 2, "two": 2},
        new_job_id=lambda _account, number, _random: f"job-{number}",
        job_seconds=20,
        clock=clock,
        random=Random(7),
    )


@pytest.fixture
def client_for(service: SchedulerService) -> Callable[..., TestClient]:
    """Make clients of the service, in any of the dialects."""

    def make(dialect: str = "riffusion", *, token: str | None = None, sends: str = "any token") -> TestClient:
        app = create_app(service, dialect_of(dialect), token=lambda: token)
        return TestClient(app, headers={"Authorization": f"Bearer {sends}"})

    return make


@pytest.fixture
def client(client_for: Callable[..., TestClient]) -> TestClient:
    """A client with a valid token, for Riffusion."""
    return client_for()
