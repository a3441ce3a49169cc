"""The outputs of a mapped task as a task gets them: Airflow's own lazy sequence, of whichever version."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from airflow_riffusion.compat import AIRFLOW_VERSION

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pytest


class LazySequences:
    """Makes them, each of values that the test says."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._monkeypatch = monkeypatch
        self._outputs: dict[str, list[Any]] = {}

    def of(self, values: Sequence[Any]) -> Sequence[Any]:
        return self._from_supervisor(values) if AIRFLOW_VERSION.major >= 3 else self._from_database(values)

    def _from_supervisor(self, values: Sequence[Any]) -> Sequence[Any]:
        from airflow.sdk.execution_time import task_runner
        from airflow.sdk.execution_time.lazy_sequence import LazyXComSequence
        from airflow.sdk.execution_time.xcom import XCom

        self._monkeypatch.setattr(task_runner, "SUPERVISOR_COMMS", self, raising=False)
        self._monkeypatch.setattr(XCom, "deserialize_value", lambda xcom: xcom.value)
        task_id = f"mapped_{len(self._outputs)}"
        self._outputs[task_id] = list(values)
        operator = SimpleNamespace(dag_id="d", task_id=task_id)
        xcom_arg = SimpleNamespace(operator=operator, key="return_value")
        return LazyXComSequence(xcom_arg=xcom_arg, ti=SimpleNamespace(run_id="r"))

    def send(self, msg: Any) -> Any:
        """Answer as the supervisor does."""
        from airflow.sdk.exceptions import ErrorType
        from airflow.sdk.execution_time import comms

        values = self._outputs[msg.task_id]
        if isinstance(msg, comms.GetXComCount):
            return comms.XComCountResponse(len=len(values))
        if msg.offset >= len(values):
            return comms.ErrorResponse(error=ErrorType.XCOM_NOT_FOUND)
        return comms.XComSequenceIndexResult.model_construct(root=values[msg.offset])

    def _from_database(self, values: Sequence[Any]) -> Sequence[Any]:
        from airflow.models.xcom import LazyXComSelectSequence
        from sqlalchemy import create_engine, literal, select, union_all
        from sqlalchemy.orm import Session

        class InMemory(LazyXComSelectSequence):
            @staticmethod
            def _rebuild_select(stmt: Any) -> Any:
                return stmt.columns(literal("").label("value"))

            @staticmethod
            def _process_row(row: Any) -> Any:
                return values[json.loads(row[0])]

        rows = union_all(*(select(literal(str(at)).label("value")) for at in range(len(values)))).subquery()
        engine = create_engine("sqlite://")
        return InMemory.from_select(select(rows.c.value), order_by=[rows.c.value], session=Session(engine))
