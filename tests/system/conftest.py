from __future__ import annotations

import shutil
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

import psutil
import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from airflow_riffusion.emulator import EmulatorServer
from dev.airflow_stack import AirflowStack
from tests import docs
from tests.browser import BROWSERS, FLAGS, find_browser, log_in, open_capacity_page

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from airflow_riffusion.emulator.records import Job
    from dev.airflow_client import DagRun

TIMEOUT = 30_000  # milliseconds
EXAMPLE_DAGS = Path(__file__).parents[2] / "example_dags"
TEST_DAGS = Path(__file__).parent / "dags"


@pytest.fixture(scope="session")
def token() -> str:
    """
    The API token of all connections: unlike anything else, so that a search finds only itself.

    Unlike the one of the tests that run beside these, too: some of them put it into an environment variable.
    """
    return f"user:4711-{uuid4().hex}"


@pytest.fixture(scope="session")
def browser() -> str:
    """Return the path of a browser; asked for before Airflow, to fail before it has started."""
    found = find_browser()
    if found is None:
        pytest.fail(f"No browser found: install Debian's 'chromium', or put one of {BROWSERS} on the PATH")
    return found


@pytest.fixture(scope="session")
def airflow_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AirflowStack]:
    """Start one Airflow with the example DAGs, the pages' and the tests' own; it has no connections yet."""
    dags = tmp_path_factory.mktemp("dags")
    for folder in (EXAMPLE_DAGS, TEST_DAGS):
        shutil.copytree(folder, dags, dirs_exist_ok=True)
    for number, example in enumerate(docs.dags()):
        (dags / f"docs_{number}.py").write_text(example.text)
    home = tmp_path_factory.mktemp("airflow")
    with AirflowStack(home, dags_folder=dags, roles={"viewer": "viewer"}) as airflow:
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
    The service behind ``riffusion_default``, which does not list full accounts.

    One for all tests, and never reset: the gate in the triggerer remembers what it granted, and jobs that
    vanish unseen would leave their slots held.
    """
    with EmulatorServer(
        accounts=2, max_jobs=2, job_seconds=12, hide_full_accounts=True, token=token
    ) as emulator:
        store_connection("riffusion_default", emulator)
        yield emulator


@dataclass(frozen=True)
class DocsRuns:
    """
    What became of the DAGs in README.md and on the site's pages.

    :param runs: the runs by DAG, all of which have succeeded.
    :param jobs: the jobs they made; other tests' are not among them.
    :param refusals: how many of their submissions were refused.
    :param shown: what processes showed of the API token meanwhile.
    """

    runs: dict[str, DagRun]
    jobs: list[Job]
    refusals: int
    shown: list[str]


@pytest.fixture(scope="session")
def docs_runs(airflow_stack: AirflowStack, emulator: EmulatorServer, token: str) -> DocsRuns:
    """Run the DAGs of the pages at once; they want more slots than there are."""
    dag_ids = ("songs", "songs_of_the_day", "album", "capacity_report", "no_worker_at_all")
    service = emulator.service
    made, refused = len(service.jobs()), service.stats().refusals  # by tests that ran before, in any order
    runs = {dag_id: airflow_stack.trigger(dag_id) for dag_id in dag_ids}
    shown = []
    for run in runs.values():
        shown += processes_that_show(token)
        assert airflow_stack.wait(run, 240) == "success"
    return DocsRuns(runs, service.jobs()[made:], service.stats().refusals - refused, shown)


def processes_that_show(text: str) -> list[str]:
    """Return the arguments and environment variables of all processes that hold a text."""
    shown = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            shown += [line for line in (*process.cmdline(), *process.environ().values()) if text in line]
    return shown


@pytest.fixture(scope="module")
def chromium(browser: str) -> Iterator[Browser]:
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=browser, headless=True, args=FLAGS)
        expect.set_options(timeout=TIMEOUT)
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def open_page(chromium: Browser, airflow_stack: AirflowStack) -> Iterator[Callable[..., Page]]:
    """Return a function that opens the capacity page by Airflow's menu, each time as another visitor."""
    with ExitStack() as at_end:

        def open_by_menu(width: int = 1280, height: int = 1000, theme: str = "light") -> Page:
            context = chromium.new_context(
                viewport={"width": width, "height": height}, color_scheme=theme, reduced_motion="reduce"
            )
            at_end.callback(context.close)
            context.set_default_timeout(TIMEOUT)
            page = context.new_page()
            log_in(page, airflow_stack)
            open_capacity_page(page)
            return page

        yield open_by_menu


@pytest.fixture(scope="module")
def studio(token: str, store_connection: Callable[..., None]) -> Iterator[EmulatorServer]:
    """Return the service behind ``studio``, whose jobs take as long as a test wants."""
    accounts = {"alice@example.com": 2, "5f72c91e-1f0b-4b6e-9d2a-1c5f7a90e001": 2}
    with EmulatorServer(accounts=accounts, job_seconds=3600, token=token) as studio:
        store_connection("studio", studio)
        yield studio
