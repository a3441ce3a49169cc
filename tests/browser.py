"""A real browser in front of a running Airflow."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from playwright.sync_api import FrameLocator, Locator, Page

    from dev.airflow_stack import AirflowStack

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def find_browser() -> str | None:
    """Return the path of a browser."""
    return next(filter(None, map(shutil.which, BROWSERS)), None)


def log_in(page: Page, airflow: AirflowStack, username: str | None = None) -> None:
    page.goto(airflow.url)
    page.get_by_label("Username").fill(username or airflow.username)
    page.get_by_label("Password").fill(airflow.password)
    page.get_by_role("button", name="Sign in").click()
    page.get_by_role("button", name="Browse").wait_for()


def open_connection_form(page: Page, airflow: AirflowStack, conn_id: str) -> Locator:
    """Open the form for a new Riffusion connection."""
    page.goto(airflow.url)
    page.get_by_role("button", name="Admin").click()
    page.get_by_role("menuitem", name="Connections").click()
    page.get_by_role("button", name="Add Connection").click()
    form = page.get_by_role("dialog")
    form.get_by_label("Connection ID").fill(conn_id)
    form.get_by_label("Connection Type").fill("Riffusion")
    form.get_by_role("option", name="Riffusion", exact=True).click()
    return form


def open_extra_fields(form: Locator) -> None:
    form.get_by_role("button", name="Extra Fields", exact=True).click()


def open_capacity_page(page: Page) -> None:
    """Open the capacity page by Airflow's menu."""
    page.get_by_role("button", name="Browse").click()
    page.get_by_role("menuitem", name="Riffusion capacity").click()


def take_screenshot(page: Page, name: str) -> None:
    if folder := os.environ.get("RIFFUSION_SCREENSHOTS"):
        page.screenshot(path=Path(folder) / f"{name}.png", animations="disabled", caret="hide")


def tab_to(page: Page, target: Locator, most: int = 60) -> None:
    """Press Tab until an element has the focus."""
    for _ in range(most):
        if target.evaluate("element => document.hasFocus() && document.activeElement === element"):
            return
        page.keyboard.press("Tab")
    raise AssertionError(f"{target} is not reached by pressing Tab {most} times")


def frame(page: Page) -> FrameLocator:
    """Return the capacity page, which Airflow shows in a frame."""
    return page.frame_locator("iframe[title='Riffusion capacity']")


def card(page: Page, conn_id: str) -> Locator:
    """Return what the capacity page shows of a connection."""
    return frame(page).get_by_role("region", name=conn_id, exact=True)
