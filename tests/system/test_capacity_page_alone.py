"""The capacity page in a real browser, but without Airflow: what it says, and a clock, are the test's own."""

from __future__ import annotations

import re
from importlib.resources import files
from typing import TYPE_CHECKING, Any

import pytest
from playwright.sync_api import Browser, Page, Route, expect

from airflow_riffusion.plugins.page.app import HEADERS, MEDIA_TYPES
from tests.cards import account, card, document, failed, tasks
from tests.system.conftest import TIMEOUT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

URL = "http://page.test/"
STATIC = files("airflow_riffusion.plugins.page") / "static"


@pytest.fixture
def page(chromium: Browser) -> Iterator[Page]:
    context = chromium.new_context(timezone_id="UTC")
    context.set_default_timeout(TIMEOUT)
    page = context.new_page()
    page.clock.install(time="2026-01-01T11:59:00Z")
    page.clock.pause_at("2026-01-01T12:00:00Z")
    page.route(f"{URL}**", give_file)
    yield page
    context.close()


def give_file(route: Route) -> None:
    name = route.request.url.removeprefix(URL) or "page.html"
    media_type = MEDIA_TYPES.get(name, "text/html")
    route.fulfill(body=(STATIC / name).read_text("utf-8"), content_type=media_type, headers=HEADERS)


@pytest.fixture
def show(page: Page) -> Callable[..., None]:
    """Return a function that shows documents one after the other, the last one for good."""

    def show(*documents: dict[str, Any], **answer: Any) -> None:
        left = list(documents)

        def fulfill(route: Route) -> None:
            shown = left.pop(0) if len(left) > 1 else left[0]
            route.fulfill(**{"status": 200, "json": shown, **answer})

        page.unroute(f"{URL}cards")
        page.route(f"{URL}cards", fulfill)
        if page.url == "about:blank":
            page.goto(URL)

    return show


def wait(page: Page, seconds: float) -> None:
    """Let the page's own time go by."""
    page.clock.run_for(round(seconds * 1000))


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (failed(9, next_try_seconds=300), "9 s ago; the service asked to wait, next try in 5 min 0 s."),
        (failed(2, next_try_seconds=3), "2 s ago; next try in 3 s."),
        (failed(30, next_try_seconds=4.2), "30 s ago; next try in 5 s."),
        (failed(6, next_try_seconds=None, asking_seconds=1), "6 s ago; being tried again."),
        (failed(6, next_try_seconds=None), "6 s ago; next try now."),
    ],
    ids=["asked to wait", "ordinary", "timed out", "under way", "due"],
)
def test_capacity_page_error_shows_the_last_and_the_next_try(
    page: Page, show: Callable[..., None], error: dict[str, Any], said: str
):
    show(document(error, interval=5))

    expect(page.get_by_text(f"Tried {said}", exact=True)).to_be_visible()


def test_capacity_page_times_of_an_error_go_on_between_two_answers(page: Page, show: Callable[..., None]):
    show(document(failed(58, next_try_seconds=62), interval=5))
    expect(page.get_by_text("Tried 58 s ago")).to_be_visible()

    wait(page, 3)
    said = "Tried 1 min 1 s ago; the service asked to wait, next try in 59 s."
    expect(page.get_by_text(said)).to_be_visible()


def test_capacity_page_paused_error_shows_the_time_of_day(page: Page, show: Callable[..., None]):
    show(document(failed(60, next_try_seconds=300), interval=5))
    expect(page.get_by_text("Tried 1 min 0 s ago")).to_be_visible()

    wait(page, 2)
    page.get_by_role("button", name="Pause").click()
    expect(page.get_by_text("Tried at 11:59:00.", exact=True)).to_be_visible()


def test_capacity_page_fixed_connection_shows_no_tries(page: Page, show: Callable[..., None]):
    show(document(failed(1, next_try_seconds=4)), document(card()))
    expect(page.get_by_text("Tried 1 s ago")).to_be_visible()

    wait(page, 1)
    expect(page.get_by_text("1 of 2 slots free")).to_be_visible()
    expect(page.get_by_text("Tried")).to_be_hidden()


def test_capacity_page_hour_without_readings_is_drawn_as_a_gap(page: Page, show: Callable[..., None]):
    show(*(document(card(read_at=f"2026-01-01T12:{minute:02}:00Z")) for minute in range(60)))
    line = page.locator(".plot .line")
    for _ in range(3):
        wait(page, 1)
        page.wait_for_timeout(50)
    expect(line).to_have_attribute("d", re.compile("^M[^M]+$"))

    page.clock.fast_forward("01:00:00")

    expect(page.get_by_text("with gaps where nothing was read")).to_be_visible()
    first, second = re.findall(r"M([\d.]+) [^M]*", line.get_attribute("d") or "")
    until = re.findall(r"H([\d.]+)", (line.get_attribute("d") or "").split("M")[1])
    assert float(first) == 0
    assert float(until[-1]) < 1
    assert float(second) > 599
    expect(page.get_by_role("img", name=re.compile("; 1 gap without a reading"))).to_be_visible()


def test_capacity_page_history_keeps_gaps_in_bounded_memory(page: Page, show: Callable[..., None]):
    show(document(card()))

    drawn = page.evaluate(
        """async () => {
            const { History } = await import("./history.js");
            const history = new History();
            const read = (number) => ({ slots: 2, executing: number % 2, held: null });
            const line = history.svg.querySelector(".line");
            const drawn = (letters) => line.getAttribute("d").match(letters).length;
            const pieces = () => ({ rows: drawn(/M/g), readings: drawn(/[MV]/g) });
            for (let number = 0; number < 2000; number += 1) {
                const outage = number % 50 === 49;
                history.add(outage ? null : read(number), 5000, number * 5000);
            }
            const rare = pieces();
            for (let number = 2000; number < 4400; number += 1) {
                history.add(number % 2 ? null : read(number), 5000, number * 5000);
            }
            return { rare, often: pieces() };
        }"""
    )

    assert drawn["rare"]["rows"] == 40
    assert 720 <= drawn["rare"]["readings"] <= 1440
    assert 720 <= drawn["often"]["rows"] <= drawn["often"]["readings"] <= 1440


def test_capacity_page_only_a_list_that_scrolls_is_a_named_region(page: Page, show: Callable[..., None]):
    few = [account("alice")]
    many = [account(f"account-{number}@example.com") for number in range(60)]
    show(document(card(accounts=few)), document(card(accounts=many)), document(card(accounts=few)))
    region = page.get_by_role("region", name="Accounts")
    expect(page.get_by_text("1 account", exact=True)).to_be_visible()
    expect(region).to_have_count(0)
    expect(page.locator("[aria-label]:not([role])")).to_have_count(0)

    wait(page, 1)
    expect(region).to_have_attribute("tabindex", "0")

    wait(page, 1)
    expect(region).to_have_count(0)
    expect(page.locator("[aria-label]:not([role])")).to_have_count(0)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ({"json": None, "body": "<h1>Bad</h1>", "status": 502}, "Airflow answers with an error (502)."),
        ({"json": None, "body": "<h1>Log in</h1>"}, "The answer (status 200) is not what this page asked"),
        ({"json": {"detail": "something else"}}, "The answer (status 200) is not what this page asked"),
    ],
    ids=["error", "HTML", "other JSON"],
)
def test_capacity_page_unexpected_answer_is_not_reported_as_no_answer(
    page: Page, show: Callable[..., None], answer: dict[str, Any], said: str
):
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text))
    show(document(card()))
    expect(page.get_by_text("1 of 2 slots free")).to_be_visible()

    show(None, **answer)
    wait(page, 1)

    expect(page.locator("#problem")).to_contain_text(said)
    expect(page.locator("#problem")).to_contain_text("What you see is from 12:00:0")
    assert [text for text in complaints if "Failed to load resource" not in text] == []


def test_capacity_page_error_of_its_own_is_shown_and_it_goes_on(page: Page, show: Callable[..., None]):
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(f"{message.type}: {message.text}"))
    show(document({"connection_id": "made_up"}), document(card()))

    expect(page.locator("#problem")).to_have_text(
        "This page has an error of its own: reload it. The browser's console says more."
    )
    assert [text for text in complaints if re.match("error: .*TypeError", text)]

    wait(page, 5)
    expect(page.get_by_text("1 of 2 slots free")).to_be_visible()
    expect(page.locator("#problem")).to_be_hidden()


@pytest.mark.parametrize(
    ("status", "detail", "said"),
    [
        (401, "Not authenticated", "You are no longer logged in."),
        (401, "Token Expired", "You are no longer logged in."),
        (403, "Invalid JWT token", "You are no longer logged in."),
        (403, "Forbidden", "You may no longer read connections."),
    ],
)
def test_capacity_page_ended_session_or_lost_permission_says_which(
    page: Page, show: Callable[..., None], status: int, detail: str, said: str
):
    show(document(card()))
    expect(page.get_by_text("1 of 2 slots free")).to_be_visible()

    show({"detail": detail}, status=status)
    wait(page, 1)

    expect(page.locator("#problem")).to_contain_text(said)
    expect(page.locator(".card:visible")).to_have_count(0)


@pytest.mark.parametrize(
    ("counted", "said"),
    [
        (tasks(), "none"),
        (tasks(complete=False), "none found, but not all could be counted"),
        (tasks(waiting=7, longest_seconds=60, complete=False), "at least 7 tasks, the longest for 1 min 0 s"),
    ],
)
def test_capacity_page_task_count_says_whether_it_is_complete(
    page: Page, show: Callable[..., None], counted: dict[str, Any], said: str
):
    show(document(card(tasks=counted)))

    expect(page.get_by_text(said, exact=True).first).to_be_visible()
