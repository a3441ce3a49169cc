"""The XComs of a task, in memory."""

from __future__ import annotations

from airflow_riffusion.xcoms import TaskXComs


class MemoryXComs(dict):
    """Stands for Airflow's XComs: by key, since each test has one task only."""

    def __init__(self, monkeypatch):
        super().__init__()
        self.written = []
        self.error = None
        monkeypatch.setattr(TaskXComs, "get", lambda _, key: self._answer(self.get(key)))
        monkeypatch.setattr(TaskXComs, "set", lambda _, key, value: self._set(key, value))
        monkeypatch.setattr(TaskXComs, "delete", lambda _, key: self._answer(self.pop(key, None)))

    def _answer(self, value):
        if self.error is not None:
            raise self.error
        return value

    def _set(self, key, value):
        self._answer(None)
        self[key] = value
        self.written.append((key, value))
