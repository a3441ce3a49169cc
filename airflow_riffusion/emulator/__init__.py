"""
A music service of useapi.net on your own machine, for demos, tests and CI.

From a shell: ``python -m airflow_riffusion.emulator --accounts 2 --max-jobs 2 --job-seconds 20``.
In a test: ``with EmulatorServer(accounts=2, max_jobs=2) as emulator: ...``.
Needs the extra ``emulator`` (fastapi, uvicorn), and no Airflow.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from airflow_riffusion.emulator.server import EmulatorServer

__all__ = ["EmulatorServer"]


def __getattr__(name: str) -> Any:
    # Late, so that `python -m airflow_riffusion.emulator` can say in one line that the extra is missing.
    if name == "EmulatorServer":
        from airflow_riffusion.emulator.server import EmulatorServer

        return EmulatorServer
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
