"""The capacity page, in a real browser against a running Airflow."""

from __future__ import annotations

import json
import re
import socket
import time
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import pytest
import requests
from playwright.sync_api import Browser, Page, expect

from airflow_riffusion.emulator import EmulatorServer
from airflow_riffusion.emulator.faults import Fault
from airflow_riffusion.plugins.page.app import MEDIA_TYPES
from airflow_riffusion.plugins.page.view import INTERVAL
from dev.airflow_client import AirflowClient, attempts
from tests.browser import card, frame, log_in, tab_to, take_screenshot

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from dev.airflow_stack import AirflowStack

PATHS = ("", "cards", *MEDIA_TYPES)
SCRIPT = "<script>window.ran = parent.ran = top.ran = true</script><img src=x onerror='top.ran = true'>"


@pytest.fixture
def page(open_page: Callable[..., Page]) -> Iterator[Page]:
    page = open_page()
    yield page
    page.close()


@pytest.fixture
def emulator_of(
    token: str, store_connection: Callable[..., None], airflow_stack: AirflowStack
) -> Iterator[Callable[..., EmulatorServer]]:
    """Return a function that makes a service with a connection to it, which both are gone afterwards."""
    with ExitStack() as at_end:

        def make(conn_id: str, password: str = token, **options: Any) -> EmulatorServer:
            emulator = at_end.enter_context(EmulatorServer(token=token, **options))
            store_connection(conn_id, emulator, password=password)
            at_end.callback(airflow_stack.delete_connection, conn_id)
            return emulator

        yield make


@contextmanager
def six_songs_on_four_slots(airflow: AirflowStack) -> Iterator[None]:
    run = airflow.trigger("capacity_page")
    try:
        yield
    finally:
        for task in airflow.task_instances(run):
            airflow.mark_failed(run, task["task_id"], task["map_index"])


def test_capacity_page_with_running_tasks_updates_to_true_numbers(
    open_page: Callable[..., Page], airflow_stack: AirflowStack, studio: EmulatorServer
):
    page = open_page()
    shown = card(page, "studio")
    expect(shown).to_contain_text("4 of 4 slots free")
    expect(shown).to_contain_text("0 executing")

    with six_songs_on_four_slots(airflow_stack):
        expect(shown).to_contain_text("0 of 4 slots free", timeout=90_000)
        expect(shown).to_contain_text("4 executing", timeout=90_000)
        expect(shown).to_contain_text("alice@example.com")
        expect(shown).to_contain_text(re.compile("2 executing(, 0 held)?, 0 free"))
        expect(shown.get_by_role("row")).to_have_count(1 + 4)
        expect(shown.get_by_role("row").nth(1)).to_contain_text(
            re.compile(r"\d:\d\d.*capacity_page/manual__")
        )
        expect(shown).to_contain_text("2 tasks, the longest for")
        expect(shown.get_by_role("link")).to_have_count(2)
        expect(shown.get_by_role("img", name=re.compile("Executing since .*: from 0 to 4"))).to_be_visible()
        for name, (width, height, theme) in SIZES.items():
            other = open_page(width, height, theme)
            expect(card(other, "studio")).to_contain_text("the longest for")
            expect(card(other, "studio").get_by_role("row")).to_have_count(1 + 4)
            take_screenshot(other, f"capacity-page-{name}")
            assert widths(other) == (True, True), name
            assert theme_of(other) == theme
            other.close()

        shown.get_by_role("link").first.click()
        page.wait_for_url(re.compile("/dags/capacity_page/runs/[^/]+/tasks/song/mapped/[0-5]"))
    page.close()


SIZES = {
    "light-1280": (1280, 860, "light"),
    "dark-1280": (1280, 860, "dark"),
    "light-380": (380, 1400, "light"),
    "dark-1920": (1920, 1080, "dark"),
}


def widths(page: Page) -> tuple[bool, bool]:
    """Return whether neither Airflow nor the page in it scrolls sideways."""
    fits = "() => document.documentElement.scrollWidth <= window.innerWidth"
    return page.evaluate(fits), page.locator("iframe").element_handle().content_frame().evaluate(fits)


def theme_of(page: Page) -> str:
    return frame(page).locator("html").evaluate("html => getComputedStyle(html).colorScheme")


def test_capacity_page_follows_the_theme_chosen_in_airflow(page: Page, studio: EmulatorServer):
    expect(card(page, "studio")).to_be_visible()
    assert theme_of(page) == "light"

    page.evaluate("document.documentElement.classList.replace('light', 'dark')")

    expect(frame(page).locator("html")).to_have_attribute("data-theme", "dark")
    assert theme_of(page) == "dark"


def test_capacity_page_paused_sends_no_request(page: Page, studio: EmulatorServer):
    expect(card(page, "studio")).to_be_visible()
    pause = frame(page).get_by_role("button", name="Pause")
    tab_to(page, pause)
    page.keyboard.press("Enter")

    expect(pause).to_have_attribute("aria-pressed", "true")
    expect(frame(page).get_by_text("Paused")).to_be_visible()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.wait_for_timeout(2 * INTERVAL * 1000)
    assert [url for url in asked if url.endswith("/cards")] == []
    page.keyboard.press("Enter")
    expect(frame(page).get_by_text("Updates every 5 s")).to_be_visible()


def test_capacity_page_error_replaces_the_numbers_until_it_is_fixed(
    page: Page, emulator_of: Callable[..., EmulatorServer], store_connection, token: str
):
    service = emulator_of("fixed", password=f"{token}wrong")
    fixed = card(page, "fixed")

    expect(fixed).to_contain_text("401 Unauthorized from")
    expect(fixed).to_contain_text("check the API token in connection 'fixed'")
    expect(fixed.get_by_text("slots free")).to_be_hidden()
    expect(frame(page).get_by_role("status")).to_contain_text("fixed: 401 Unauthorized")
    take_screenshot(page, "capacity-page-error")

    store_connection("fixed", service)
    expect(fixed).to_contain_text("4 of 4 slots free")
    expect(fixed.get_by_text("401 Unauthorized")).to_be_hidden()

    service.faults.add(Fault(status=503))
    expect(fixed).to_contain_text("503 Service Unavailable from")
    expect(fixed).to_contain_text("Last good reading of")

    service.faults.clear()
    service.faults.add(Fault(status=429, retry_after=300))
    asked_to_wait = re.compile(r"Tried \d+ s ago; the service asked to wait, next try in (5|4) min \d+ s\.")
    expect(fixed).to_contain_text(asked_to_wait)
    take_screenshot(page, "capacity-page-asked-to-wait")
    assert token not in page.content() + frame(page).locator("html").inner_html()


def test_capacity_page_script_in_any_field_is_shown_as_text(
    page: Page, emulator_of: Callable[..., EmulatorServer]
):
    job = dict.fromkeys(("job_id", "user_id", "started", "elapsed", "replyUrl", "replyRef"), SCRIPT)
    account = dict.fromkeys(("user_id", "maxJobs", "executing", "available"), SCRIPT)
    service = emulator_of("hostile")
    service.faults.add(
        Fault(
            body=json.dumps(
                {"executing": [job], "available": [account, {**account, "user_id": f"{SCRIPT}2"}]}
            )
        )
    )
    hostile = card(page, "hostile")

    expect(hostile.get_by_role("row").nth(1)).to_contain_text(SCRIPT)
    expect(hostile).to_contain_text(re.compile("Note: account .<script>"))
    service.faults.clear()
    service.faults.add(Fault(status=400, body=json.dumps({"error": SCRIPT})))
    expect(hostile).to_contain_text(f"({SCRIPT})")
    assert page.evaluate("window.ran") is None
    assert frame(page).locator("html").evaluate("() => window.ran") is None
    assert frame(page).locator("main script, main img").count() == 0


def test_capacity_page_three_browsers_cost_one_request_in_five_seconds(
    open_page: Callable[..., Page], emulator_of: Callable[..., EmulatorServer]
):
    pages = [open_page() for _ in range(3)]
    began = time.monotonic()
    service = emulator_of("watched").service
    for page in pages:
        expect(card(page, "watched")).to_contain_text("4 of 4 slots free")
    for _ in attempts(90):
        if service.stats().requests >= 6:
            break
    requests = service.stats().requests
    seconds = time.monotonic() - began
    for page in pages:
        page.close()

    assert 6 <= requests <= 1 + seconds / INTERVAL


def test_capacity_page_loads_nothing_from_another_host(
    open_page: Callable[..., Page], airflow_stack: AirflowStack
):
    page = open_page()
    asked: list[str] = []
    complaints: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("console", lambda said: complaints.append(said.text) if "Content Security" in said.text else None)
    page.reload()
    expect(frame(page).get_by_role("heading", name="Riffusion capacity")).to_be_visible()
    expect(frame(page).get_by_text("Updates every 5 s")).to_be_visible()
    page.close()

    own = [
        url
        for url in asked
        if "/riffusion/capacity/" in url.removeprefix(airflow_stack.url).partition("?")[0]
    ]
    assert {url.rpartition("/")[2] for url in own} >= set(PATHS)
    assert [url for url in asked if not url.startswith((airflow_stack.url, "data:", "blob:"))] == []
    assert complaints == []


@pytest.mark.parametrize("path", PATHS)
def test_capacity_page_paths_need_permission_to_read_connections(airflow_stack: AirflowStack, path: str):
    def status(username: str | None) -> int:
        with requests.Session() as session:
            session.trust_env = False
            if username is not None:
                token = AirflowClient(airflow_stack.url, username, airflow_stack.password).token()
                session.headers["Authorization"] = f"Bearer {token}"
            return session.get(f"{airflow_stack.url}/riffusion/capacity/{path}", timeout=30).status_code

    assert (status(None), status("viewer"), status("admin")) == (401, 403, 200)


def test_capacity_page_for_a_viewer_says_which_permission_is_missing(
    chromium: Browser, airflow_stack: AirflowStack
):
    context = chromium.new_context()
    page = context.new_page()
    log_in(page, airflow_stack, "viewer")
    answer = page.goto(f"{airflow_stack.url}/riffusion/capacity/")
    text = page.locator("body").inner_text()
    context.close()

    assert answer is not None
    assert answer.status == 403
    assert "This page is for users who may read connections." in text


def test_capacity_page_connection_to_nowhere_shows_the_error(page: Page, airflow_stack: AirflowStack):
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    airflow_stack.create_connection("gone", "riffusion", host="http://127.0.0.1", port=port, password="t")
    expect(card(page, "gone")).to_contain_text("No answer from http://127.0.0.1")
    airflow_stack.delete_connection("gone")
    expect(card(page, "gone")).to_be_hidden()
