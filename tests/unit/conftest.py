from __future__ import annotations

import sys
from datetime import UTC, datetime

import pytest
from airflow.providers.common.compat.sdk import BaseSensorOperator

from airflow_riffusion.gate import gate as gate_module
from airflow_riffusion.hooks import riffusion as hook_module
from tests.gates import FakeHook
from tests.lazy import LazySequences
from tests.peer_stores import MemoryPeerStore
from tests.readings import FakeAccounts


class Clock:
    """Time that passes only in sleep() (seconds)."""

    def __init__(self):
        self.now = 1_700_000_000.0
        self.naps = []

    def time(self):
        return self.now

    def monotonic(self):
        return self.now

    def sleep(self, seconds):
        self.naps.append(seconds)
        self.now += seconds


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr("airflow_riffusion.clock.epoch", clock.time)
    monkeypatch.setattr("airflow_riffusion.clock.monotonic", clock.monotonic)
    monkeypatch.setattr("airflow_riffusion.clock.sleep", clock.sleep)
    monkeypatch.setattr(sys.modules[BaseSensorOperator.__module__], "time", clock)
    return clock


@pytest.fixture
def answers(monkeypatch, clock):
    """Return the list of what the hook answers, one after another; the last one is repeated."""
    answers = []

    class FakeHook(FakeAccounts):
        def __init__(self, conn_id):
            super().__init__()
            self.riffusion_conn_id = conn_id
            self.configured = answers.configured

        def forget_connection(self):
            pass

        def configured_accounts(self, max_age=600.0):
            answers.accounts_asked += 1
            return super().configured_accounts(max_age)

        def get_capacity(self):
            answers.asked += 1
            answer = answers.pop(0) if len(answers) > 1 else answers[0]
            if isinstance(answer, BaseException):  # as Airflow's own timeout is
                raise answer
            return answer.model_copy(update={"observed_at": datetime.fromtimestamp(clock.now, UTC)})

    class Answers(list):
        asked = 0
        configured = None
        accounts_asked = 0

    answers = Answers()
    monkeypatch.setattr(hook_module, "RiffusionHook", FakeHook)
    return answers


@pytest.fixture
def lazy_sequence(monkeypatch):
    """Return a function that makes what Airflow gives as the outputs of a mapped task."""
    return LazySequences(monkeypatch).of


@pytest.fixture
def hook(monkeypatch):
    """Return what answers in place of the service."""
    hook = FakeHook()

    def of(conn_id):
        hook.riffusion_conn_id = conn_id
        return hook

    monkeypatch.setattr(gate_module, "RiffusionHook", of)
    return hook


@pytest.fixture
def peer_store(monkeypatch):
    """Return the store in memory that all gates share."""
    peer_store = MemoryPeerStore()

    class OnlyStore:
        def __new__(cls, conn_id):
            return peer_store

        @staticmethod
        def is_within_reach():
            return True

    monkeypatch.setattr(gate_module, "VariablePeerStore", OnlyStore)
    return peer_store


class Service:
    """Gives the answers that the test sets; after the last, Ctrl-C is pressed."""

    def __init__(self):
        self.answers = []
        self.asked = []
        self.pauses = []

    def hook(self, conn_id):
        self.riffusion_conn_id = conn_id
        return self

    def forget_connection(self):
        self.asked.append(self.riffusion_conn_id)

    def get_complete_capacity(self):
        answer = self.answers.pop(0) if self.answers else KeyboardInterrupt()
        if isinstance(answer, BaseException):
            raise answer
        return answer

    def sleep(self, seconds):
        self.pauses.append(seconds)


@pytest.fixture
def service(monkeypatch, restore_process):
    """Return what answers the command line in place of the service."""
    from airflow_riffusion.cli import readings as readings_module

    service = Service()
    monkeypatch.setattr(readings_module, "RiffusionHook", service.hook)
    monkeypatch.setattr("airflow_riffusion.clock.sleep", service.sleep)
    return service
