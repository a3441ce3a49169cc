"""``make screenshots``: take every screenshot in ``docs`` anew, on a real Airflow against the emulator."""

from __future__ import annotations

import argparse
import json
import re
import shutil
import sys
from contextlib import ExitStack, contextmanager
from itertools import chain, cycle, repeat
from pathlib import Path
from typing import TYPE_CHECKING

from playwright.sync_api import Browser, Locator, Page, expect, sync_playwright

from airflow_riffusion.emulator import EmulatorServer
from dev.airflow_stack import AirflowStack
from dev.demo import REPOSITORY, own_folder
from tests.browser import (
    FLAGS,
    card,
    find_browser,
    log_in,
    open_capacity_page,
    open_connection_form,
    open_extra_fields,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dev.airflow_client import DagRun

FOLDER = REPOSITORY / "docs"
LARGEST = 300_000  # bytes of an image
PAGES = ("capacity-page", "connection-form", "connection-form-extra", "task-page")
THEMES = {"light": "", "dark": "-dark"}
IMAGES = {f"{page}{suffix}.png" for page in PAGES for suffix in THEMES.values()}

SERVICE = "tempolor"  # its list of executing jobs has all that the capacity page shows
ACCOUNTS = {"alice@example.com": 4, "bob@example.com": 4, "carol@example.com": 2}
SONGS = ["a lullaby for a lighthouse", "polka on the moon", "rain on a tin roof", "ballad of a lost sock"]
# All longer than the time between two readings. The first songs are for the page of a finished task; the
# others last until all is taken.
JOB_SECONDS = chain(repeat(8, 2), cycle((25, 32, 41, 50)))

_TIMEOUT = 60_000  # milliseconds
_HISTORY = 75_000  # milliseconds for the line of slots in use to become one
_HELD = 120_000  # milliseconds to wait for a reading with a held slot


def take_all(home: Path, browser: str) -> None:
    """
    Take all screenshots.

    :param home: an empty folder for Airflow.
    :param browser: the path of a chromium.
    """
    with ExitStack() as at_end:
        emulator = EmulatorServer(
            service=SERVICE, accounts=ACCOUNTS, job_seconds=JOB_SECONDS.__next__, seed=1
        )
        at_end.enter_context(emulator)
        connection = {
            "conn_type": "riffusion",
            "host": emulator.url,
            "password": "user:1234-demo",
            "extra": json.dumps({"service": SERVICE}),
        }
        dags = home / "dags"
        for folder in ("example_dags", "dev/dags"):
            shutil.copytree(REPOSITORY / folder, dags, dirs_exist_ok=True)
        airflow = AirflowStack(home, dags_folder=dags, connections={"riffusion_default": connection})
        at_end.enter_context(airflow)
        chromium = at_end.enter_context(_chromium(browser))
        pages = {theme: _visitor(chromium, airflow, theme) for theme in THEMES}
        run = airflow.trigger("riffusion_songs", {"prompts": SONGS[:2]})
        for theme, page in pages.items():
            _take_connection_form(page, airflow, theme)
        airflow.wait(run)
        for theme, page in pages.items():
            _take_task_page(page, airflow, run, theme)
        _take_capacity_page(pages, airflow)


@contextmanager
def _chromium(browser: str) -> Iterator[Browser]:
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=browser, headless=True, args=FLAGS)
        expect.set_options(timeout=_TIMEOUT)
        yield chromium
        chromium.close()


def _visitor(chromium: Browser, airflow: AirflowStack, theme: str) -> Page:
    context = chromium.new_context(color_scheme=theme, reduced_motion="reduce")
    context.set_default_timeout(_TIMEOUT)
    page = context.new_page()
    log_in(page, airflow)
    return page


def _take_connection_form(page: Page, airflow: AirflowStack, theme: str) -> None:
    page.set_viewport_size({"width": 1280, "height": 1250})  # all of the form, without scrolling
    form = open_connection_form(page, airflow, "riffusion_default")
    form.get_by_label("Base URL").fill("https://api.useapi.net")
    form.get_by_label("API token").fill("user:1234-abcDEF5678")
    form.get_by_label("Port").fill("443")
    form.get_by_label("Port").blur()
    _take(form, "connection-form", theme)

    open_extra_fields(form)
    form.get_by_label("Service").click()
    form.get_by_role("option", name="flowmusic").click()
    form.get_by_label("Service").blur()
    _take(form, "connection-form-extra", theme)


def _take_task_page(page: Page, airflow: AirflowStack, run: DagRun, theme: str) -> None:
    page.set_viewport_size({"width": 1280, "height": 600})
    page.goto(f"{airflow.url}/dags/{run.dag_id}/runs/{run.run_id}/tasks/song/mapped/0/details")
    expect(page.get_by_role("link", name="Listen")).to_be_visible()
    # The right half, without the list of runs and tasks, and without the handle between them.
    page.add_style_tag(content="[role=separator] { visibility: hidden !important }")
    _take(page.locator("[data-panel]").last, "task-page", theme)


def _take_capacity_page(pages: dict[str, Page], airflow: AirflowStack) -> None:
    for page in pages.values():
        page.set_viewport_size({"width": 1280, "height": 960})
        open_capacity_page(page)
        page.mouse.move(0, 0)
        expect(card(page, "riffusion_default")).to_be_visible()
    for dag_id in ("riffusion_songs", "jingles") * 8:
        airflow.trigger(dag_id, {"prompts": SONGS})
    page.wait_for_timeout(_HISTORY)
    for theme, page in pages.items():
        expect(card(page, "riffusion_default")).to_contain_text(re.compile("[1-9] held"), timeout=_HELD)
        _take(page, "capacity-page", theme)


def _take(shown: Page | Locator, name: str, theme: str) -> None:
    path = FOLDER / f"{name}{THEMES[theme]}.png"
    shown.screenshot(path=path, animations="disabled", caret="hide")
    size = path.stat().st_size
    print(f"{path.relative_to(REPOSITORY)}  {size / 1000:.0f} kB", flush=True)
    if size > LARGEST:
        raise RuntimeError(f"{path} has {size} bytes, more than {LARGEST}")


def main() -> None:
    """Take them, and exit with 1 if that can't be done."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--home", type=Path, required=True, help="where Airflow writes to")
    browser = find_browser()
    if browser is None:
        sys.exit("No browser found: install Debian's chromium")
    with own_folder(parser.parse_args().home) as home:
        take_all(home, browser)


if __name__ == "__main__":
    main()
