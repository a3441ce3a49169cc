"""What the capacity page shows when there is little to show, in a real browser in a running Airflow."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest
from playwright.sync_api import Page, expect

from tests.browser import card, frame, take_screenshot

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from airflow_riffusion.emulator import EmulatorServer


@pytest.fixture
def page(open_page: Callable[..., Page]) -> Iterator[Page]:
    page = open_page()
    yield page
    page.close()


def answer_with(page: Page, document: dict[str, Any] | None, status: int = 200) -> None:
    """Answer the page in Airflow's place; None for no answer at all."""
    page.unroute_all()
    if document is None:
        page.route("**/riffusion/capacity/cards", lambda route: route.abort())
    else:
        page.route("**/riffusion/capacity/cards", lambda route: route.fulfill(status=status, json=document))


def test_without_a_connection_it_says_how_to_make_one(page: Page):
    answer_with(page, {"interval_seconds": 1, "error": None, "cards": []})

    expect(frame(page).get_by_role("heading", name="No connection yet")).to_be_visible()
    expect(frame(page).get_by_text("airflow connections add")).to_be_visible()
    take_screenshot(page, "capacity-page-empty")


def test_an_old_reading_says_so(page: Page):
    tasks = {"waiting": 0, "longest_seconds": None, "first": [], "watching": 0, "complete": True}
    slots = {"slots": 2, "executing": 1, "held": None, "free": 1, "unknown": 0}
    old = {"connection_id": "slow", "service": "kling", "read_at": "2026-01-01T12:00:00Z", "age_seconds": 100}
    lists = {"accounts": [], "more_accounts": 0, "jobs": [], "more_jobs": 0, "notes": []}
    shown = {**old, "asking_seconds": 95, "error": None, "slots": slots, "tasks": tasks, **lists}
    answer_with(page, {"interval_seconds": 1, "error": None, "cards": [shown]})

    expect(card(page, "slow")).to_contain_text(re.compile("1 min 4. s ago; asking again for 1 min 3. s"))
    expect(card(page, "slow").get_by_text("held")).to_have_count(0)


def test_who_is_logged_out_sees_no_numbers_any_longer(page: Page, studio: EmulatorServer):
    expect(card(page, "studio")).to_be_visible()
    answer_with(page, {}, status=401)

    expect(frame(page).get_by_text("You are no longer logged in.").first).to_be_visible()
    expect(card(page, "studio")).to_be_hidden()


def test_when_airflow_is_gone_the_last_numbers_stay_and_say_of_when_they_are(
    page: Page, studio: EmulatorServer
):
    expect(card(page, "studio")).to_be_visible()
    answer_with(page, None)

    expect(frame(page).get_by_text("Airflow does not answer. What you see is from").first).to_be_visible()
    expect(card(page, "studio")).to_be_visible()
