"""The connection form, in a real browser against a running Airflow."""

from __future__ import annotations

import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import Page, expect, sync_playwright

from airflow_riffusion.services import SERVICES
from tests.browser import FLAGS, log_in, open_connection_form, open_extra_fields

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

from dev.airflow_stack import AirflowStack

TOKEN = "user:1234-abcDEF5678"
ALWAYS_THERE = ["Connection ID *", "Connection Type *"]


@pytest.fixture(scope="module")
def page(
    browser: str, airflow_stack: AirflowStack, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Page]:
    """Return a browser's page that is logged in to Airflow."""
    with sync_playwright() as playwright:
        context = playwright.chromium.launch_persistent_context(
            tmp_path_factory.mktemp("browser-profile"),
            executable_path=browser,
            headless=True,
            args=FLAGS,
            viewport={"width": 1280, "height": 960},
            reduced_motion="reduce",
        )
        # The first page makes the API server load what later ones find ready.
        context.set_default_timeout(30_000)
        expect.set_options(timeout=30_000)
        page = context.new_page()
        log_in(page, airflow_stack)
        yield page
        context.close()


@pytest.fixture
def service(contract: Callable[[str], bytes]) -> Iterator[ThreadingHTTPServer]:
    """Return a server on loopback that answers like tempolor if asked with the right token."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            allowed = self.headers["Authorization"] == f"Bearer {TOKEN}"
            found = self.path == "/v1/tempolor/scheduler/available"
            self.send_response(401 if not allowed else 200 if found else 404)
            body = contract("tempolor") if allowed and found else b"{}"
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def test_connection_form_shows_only_our_fields_under_our_names(page: Page, airflow_stack: AirflowStack):
    form = open_connection_form(page, airflow_stack, "riffusion_default")
    labels = form.locator("label:visible").filter(has_text=re.compile(r"\w"))

    expect(labels).to_have_text([*ALWAYS_THERE, "Description", "Base URL", "API token", "Port"])
    expect(form.get_by_label("API token")).to_have_attribute("type", "password")
    form.get_by_label("API token").fill(TOKEN)
    form.get_by_label("Base URL").fill("https://api.useapi.net")
    form.get_by_label("Port").fill("443")
    form.get_by_label("Port").blur()

    open_extra_fields(form)
    expect(labels).to_have_text(
        [
            *ALWAYS_THERE,
            "Service",
            "Slots per account",
            "Timeout (seconds)",
            "Allow plain HTTP",
            "Separate triggerers",
        ]
    )
    expect(form.get_by_label("Timeout (seconds)")).to_have_value("30")
    expect(form.get_by_label("Allow plain HTTP")).not_to_be_checked()
    expect(form.get_by_label("Separate triggerers")).not_to_be_checked()

    form.get_by_label("Service").click()
    expect(form.get_by_role("option")).to_have_text(list(SERVICES))


def test_connection_form_filled_in_saves_a_working_connection(
    page: Page, airflow_stack: AirflowStack, service: ThreadingHTTPServer
):
    form = open_connection_form(page, airflow_stack, "from_the_form")
    form.get_by_label("Base URL").fill("http://127.0.0.1")
    form.get_by_label("API token").fill(TOKEN)
    form.get_by_label("Port").fill(str(service.server_port))
    open_extra_fields(form)
    form.get_by_label("Service").click()
    form.get_by_role("option", name="tempolor").click()
    form.get_by_label("Slots per account").fill("8")
    form.get_by_label("Timeout (seconds)").fill("45")
    form.get_by_label("Allow plain HTTP").press("Space")
    form.get_by_label("Separate triggerers").press("Space")
    form.get_by_role("button", name="Save").click()
    expect(form).to_be_hidden()

    saved = airflow_stack.connection("from_the_form")
    assert saved["conn_type"] == "riffusion"
    assert saved["host"] == "http://127.0.0.1"
    assert saved["port"] == service.server_port
    assert saved["login"] is None
    assert saved["schema"] is None
    assert json.loads(saved["extra"]) == {
        "service": "tempolor",
        "max_jobs": 8,
        "timeout": 45,
        "allow_http": True,
        "separate_triggerers": True,
    }

    # Only the right token gets an answer, so this also proves that it was saved whole.
    tested = airflow_stack.cli("connections", "test", "from_the_form")
    assert "Connection success!" in tested.stdout, tested.stdout + tested.stderr

    page.get_by_role("row", name="from_the_form").get_by_role("button", name="Test Connection").click()
    success = page.get_by_role("status", name="Test Connection Successful")
    expect(success).to_contain_text("14 of 15 slots free on 2 accounts")
