"""What the capacity page shows when there is little to show, in a real browser in a running Airflow."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

import pytest
from playwright.sync_api import Page, expect

from tests import cards
from tests.browser import card, frame, tab_to, take_screenshot

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from airflow_riffusion.emulator import EmulatorServer


@pytest.fixture
def page(open_page: Callable[..., Page]) -> Iterator[Page]:
    page = open_page()
    yield page
    page.close()


def answer_with(page: Page, document: dict[str, Any] | None, status: int = 200) -> None:
    """Answer the page in Airflow's place from now on; None for no answer at all."""
    if document is None:
        page.route("**/riffusion/capacity/cards", lambda route: route.abort())
    else:
        page.route("**/riffusion/capacity/cards", lambda route: route.fulfill(status=status, json=document))


def test_capacity_page_without_connections_says_how_to_add_one(page: Page):
    answer_with(page, cards.document())

    expect(frame(page).get_by_role("heading", name="No connection yet")).to_be_visible()
    expect(frame(page).get_by_text("airflow connections add")).to_be_visible()
    take_screenshot(page, "capacity-page-empty")


def test_capacity_page_old_reading_shows_its_age(page: Page):
    answer_with(page, cards.document(cards.card("slow", age_seconds=100, asking_seconds=95)))

    expect(card(page, "slow")).to_contain_text(re.compile("1 min 4. s ago; asking again for 1 min 3. s"))
    expect(card(page, "slow").get_by_text("held")).to_have_count(0)


def test_capacity_page_by_keyboard_reaches_everything_and_keeps_the_focus(page: Page):
    accounts = [cards.account(f"account-{number}@example.com") for number in range(60)]
    waiting = cards.tasks(cards.task("capacity_page"))
    answer_with(page, cards.document(cards.card("busy", accounts=accounts, tasks=waiting)))
    busy = card(page, "busy")
    expect(busy).to_contain_text("1 of 2 slots free")
    pause = frame(page).get_by_role("button", name="Pause")
    stops = [busy.get_by_role("region", name="Accounts"), busy.get_by_role("link", name="capacity_page")]

    tab_to(page, pause)
    for executing, stop in enumerate(stops):
        page.keyboard.press("Tab")
        expect(stop).to_be_focused()
        changed = {"read_at": f"2026-01-01T12:00:0{1 + executing}Z", "slots": cards.numbers(2 * executing)}
        more = cards.tasks(cards.task("capacity_page"), *[cards.task()] * (1 + executing))
        answer_with(page, cards.document(cards.card("busy", accounts=accounts, tasks=more, **changed)))
        expect(busy).to_contain_text(f"{2 - 2 * executing} of 2 slots free")
        expect(stop).to_be_focused()

    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Shift+Tab")
    expect(pause).to_be_focused()
    page.keyboard.press("Space")
    expect(pause).to_have_attribute("aria-pressed", "true")
    expect(frame(page).get_by_text("Paused")).to_be_visible()
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.wait_for_url("**/dags/capacity_page/runs/manual__1/tasks/song")


def test_capacity_page_script_in_a_task_name_is_text_and_its_link_works(page: Page):
    # Airflow's own patterns forbid this, but that of runs is a setting, and a name may be older than it.
    script = "<script>top.ran = true</script><img src=x onerror='top.ran = true'>"
    names = [f'{kind}"&amp;&lt;#?/%2F é{script}' for kind in ("dag", "run", "task")]
    answer_with(page, cards.document(cards.card("hostile", tasks=cards.tasks(cards.task(*names)))))
    hostile = card(page, "hostile")

    expect(hostile.get_by_role("link")).to_contain_text(names[0])
    expect(hostile.get_by_role("link")).to_contain_text(names[2])
    expect(hostile).to_contain_text(f"in {names[1]}")
    assert frame(page).locator("main script, main img").count() == 0
    hostile.get_by_role("link").click()
    page.wait_for_url(lambda url: "/runs/" in url)
    parts = [unquote(part) for part in urlsplit(page.url).path.split("/")]
    assert parts == ["", "dags", names[0], "runs", names[1], "tasks", names[2]]
    assert page.evaluate("window.ran") is None


def test_capacity_page_after_log_out_shows_no_numbers(page: Page, studio: EmulatorServer):
    expect(card(page, "studio")).to_be_visible()
    answer_with(page, {}, status=401)

    expect(frame(page).get_by_text("You are no longer logged in.").first).to_be_visible()
    expect(card(page, "studio")).to_be_hidden()


def test_capacity_page_airflow_gone_keeps_the_last_numbers_with_their_time(
    page: Page, studio: EmulatorServer
):
    expect(card(page, "studio")).to_be_visible()
    answer_with(page, None)

    expect(frame(page).get_by_text("Airflow does not answer. What you see is from").first).to_be_visible()
    expect(card(page, "studio")).to_be_visible()
