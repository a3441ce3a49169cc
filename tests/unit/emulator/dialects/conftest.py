from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import pytest
from starlette.testclient import TestClient

from airflow_riffusion.emulator.app import create_app
from airflow_riffusion.emulator.dialects import dialect_of
from airflow_riffusion.emulator.service import SchedulerService

CONTRACT = Path(__file__).parents[3] / "contract"


@dataclass
class Played:
    """A service with the two accounts of its contract, which have two slots each and jobs of 20 seconds."""

    service: SchedulerService
    client: TestClient
    prefix: str
    accounts: list[str]

    def get(self, path: str, **arguments: Any) -> Any:
        return self.client.get(f"{self.prefix}/{path}", **arguments)

    def post(self, path: str, **body: Any) -> Any:
        return self.client.post(f"{self.prefix}/{path}", json=body)

    def delete(self, path: str) -> Any:
        return self.client.delete(f"{self.prefix}/{path}")


@pytest.fixture
def payload():
    """Return a payload of the contract, by the name of its file."""

    def read(name: str) -> Any:
        return json.loads((CONTRACT / f"{name}.json").read_bytes())

    return read


@pytest.fixture
def play(clock, payload):
    """Return a function that plays a service, by its name."""

    def start(name: str, *, clock=clock, **options: Any) -> Played:
        dialect = dialect_of(name)
        accounts = list(payload(f"{name}.accounts_200"))
        service = SchedulerService(
            dict.fromkeys(accounts, 2),
            new_job_id=dialect.new_job_id,
            job_seconds=20,
            submission_pause=dialect.submission_pause,
            clock=clock,
            random=Random(7),
        )
        app = create_app(service, dialect, **options)
        client = TestClient(app, headers={"Authorization": "Bearer any token"})
        return Played(service, client, dialect.prefix, accounts)

    return start


@pytest.fixture
def hasty_clock(new_clock):
    """A clock that goes on by ten seconds whenever somebody looks."""

    class HastyClock(new_clock):
        def __call__(self):
            self.advance(10)
            return super().__call__()

    return HastyClock()
