from __future__ import annotations

from threading import Event

import pytest

from airflow_riffusion.compat import HAS_PAGES_OF_PLUGINS
from airflow_riffusion.hooks.settings import ConnectionSettings
from tests.readings import reading

CONN_ID = "riffusion_test"
FREE = reading(a=(3, 4))
TIMEOUT = 30.0  # seconds: a thread of a busy machine may take its time


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


class Service:
    """One service for all connections: its next answers, and the times of requests and lookups."""

    def __init__(self, clock: Clock):
        self.clock = clock
        self.answer: object = FREE
        self.takes = 0.0
        self.asked = Event()
        self.may_answer = Event()
        self.may_answer.set()
        self.requests: list[float] = []
        self.lookups: list[float] = []
        self.stored: object = ConnectionSettings(CONN_ID, "https://a.example", "one", "riffusion", 30.0)

    def hook(self, conn_id: str) -> FakeHook:
        return FakeHook(self)


class FakeHook:
    def __init__(self, service: Service):
        self._service = service
        self._found: ConnectionSettings | None = None

    @property
    def settings(self) -> ConnectionSettings:
        if self._found is None:
            self._service.lookups.append(self._service.clock.now)
            if isinstance(self._service.stored, Exception):
                raise self._service.stored
            self._found = self._service.stored
        return self._found

    def forget_connection(self) -> None:
        self._found = None

    def get_complete_capacity(self):
        assert self.settings
        service = self._service
        service.requests.append(service.clock.now)
        service.asked.set()
        assert service.may_answer.wait(TIMEOUT)
        service.clock.now += service.takes
        if isinstance(service.answer, BaseException):
            raise service.answer
        return service.answer


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def service(clock, monkeypatch):
    """Return what answers in place of every connection's service."""
    if not HAS_PAGES_OF_PLUGINS:
        pytest.skip("needs Airflow 3.1")
    from airflow_riffusion.plugins.page import view as view_module

    service = Service(clock)
    monkeypatch.setattr(view_module, "RiffusionHook", service.hook)
    yield service
    service.may_answer.set()
