from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from airflow_riffusion.emulator import EmulatorServer
from dev.airflow_stack import AirflowStack
from tests import readme

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

EXAMPLE_DAGS = Path(__file__).parents[2] / "example_dags"
TEST_DAGS = Path(__file__).parent / "dags"


@pytest.fixture(scope="session")
def token() -> str:
    """The API token of all connections: unlike anything else, so that a search finds only itself."""
    return "user:4711-sentinelTOKENsentinel"


@pytest.fixture(scope="session")
def airflow_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AirflowStack]:
    """Start one Airflow with the example DAGs, the README's and the tests' own; it has no connections yet."""
    dags = tmp_path_factory.mktemp("dags")
    for folder in (EXAMPLE_DAGS, TEST_DAGS):
        shutil.copytree(folder, dags, dirs_exist_ok=True)
    for number, example in enumerate(readme.dags()):
        (dags / f"readme_{number}.py").write_text(example)
    with AirflowStack(tmp_path_factory.mktemp("airflow"), dags_folder=dags) as airflow:
        yield airflow


@pytest.fixture(scope="session")
def store_connection(airflow_stack: AirflowStack, token: str) -> Callable[..., None]:
    """Return a function that stores a connection to an emulator in Airflow's database."""

    def store(conn_id: str, emulator: EmulatorServer, password: str = token) -> None:
        airflow_stack.create_connection(conn_id, "riffusion", host=emulator.url, password=password)

    return store


@pytest.fixture(scope="session")
def emulator(token: str, store_connection: Callable[..., None]) -> Iterator[EmulatorServer]:
    """
    The service behind ``riffusion_default``.

    One for all tests, and never reset: the gate in the triggerer remembers what it granted, and jobs that
    vanish unseen would leave their slots held.
    """
    with EmulatorServer(accounts=2, max_jobs=2, job_seconds=12, token=token) as emulator:
        store_connection("riffusion_default", emulator)
        yield emulator
