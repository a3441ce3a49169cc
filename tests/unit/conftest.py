from __future__ import annotations

import pytest

from airflow_riffusion.triggers import gate as gate_module
from tests.gates import FakeHook


@pytest.fixture
def hook(monkeypatch):
    """Return what answers in place of the service."""
    hook = FakeHook()
    monkeypatch.setattr(gate_module, "RiffusionHook", lambda conn_id: hook)
    return hook
