from __future__ import annotations

import json
from collections import Counter
from datetime import UTC, datetime, timedelta

from airflow_riffusion.core.capacity import Capacity
from airflow_riffusion.plugins.page.reading import MOST_ACCOUNTS, MOST_JOBS, MOST_NOTES, Reading
from airflow_riffusion.plugins.page.view import Outcome, Tasks, WaitingTask, card
from tests.readings import NOON, job, reading

SCRIPT = "<script>alert(1)</script>"


def at(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


def good(capacity: Capacity) -> Outcome:
    return Outcome(Reading.of(capacity), None, NOON)


def shown(outcome: Outcome | None, held: Counter[str] | None = None, tasks: Tasks | None = None, **more):
    return card("riffusion_default", outcome, held, tasks or Tasks(), now=more.pop("now", at(3)), **more)


def waiting(seconds: float, dag_id: str = "songs") -> WaitingTask:
    return WaitingTask(dag_id, "manual__1", "song", 4, at(-seconds))


def test_a_held_slot_is_neither_executing_nor_free():
    document = shown(good(reading(a=(3, 4), b=(0, 2))), Counter(a=2))

    assert document["slots"] == {"slots": 6, "executing": 3, "held": 2, "free": 1, "unknown": 0}
    assert document["accounts"] == [
        {"account": "a", "slots": 4, "executing": 1, "held": 2, "free": 1, "unknown": 0},
        {"account": "b", "slots": 2, "executing": 2, "held": 0, "free": 0, "unknown": 0},
    ]


def test_never_more_slots_are_shown_as_held_than_the_service_says_are_free():
    (account,) = shown(good(reading(a=(1, 4))), Counter(a=3))["accounts"]

    assert (account["held"], account["free"]) == (1, 0)


def test_where_holds_can_not_be_known_none_are_shown():
    document = shown(good(reading(a=(3, 4))), held=None)

    assert document["slots"]["held"] is None
    assert document["accounts"][0]["held"] is None
    assert document["slots"]["free"] == 3


def test_slots_of_which_nothing_is_known_are_not_free():
    capacity = Capacity.parse(
        {"available": [{"user_id": "a", "maxJobs": 5, "executing": 1, "available": "many"}]},
        service="riffusion",
        observed_at=NOON,
    )

    document = shown(good(capacity))

    assert document["slots"] == {"slots": 5, "executing": 1, "held": None, "free": 0, "unknown": 4}
    assert document["notes"] == ["account 'a': available is 'many'"]


def test_an_account_that_does_not_say_how_many_slots_it_has_has_those_that_are_known():
    capacity = Capacity.parse(
        {"available": [{"user_id": "a", "executing": 2, "available": 1}]}, service="kling", observed_at=NOON
    )

    assert shown(good(capacity))["accounts"][0]["slots"] == 3


def test_jobs_that_no_account_counts_are_executing_all_the_same():
    document = shown(good(reading(job("1"), job("2"), a=(1, 2))))

    assert document["slots"]["executing"] == 2


def test_no_account_and_no_job_are_shown_as_such():
    document = shown(good(reading()), Counter())

    assert document["slots"] == {"slots": 0, "executing": 0, "held": 0, "free": 0, "unknown": 0}
    assert document["jobs"] == []


def test_a_job_shows_its_account_its_reference_and_how_long_it_has_run():
    payload = {
        "executing": [
            {"job_id": "j", "user_id": "a", "elapsed": "01:05", "replyRef": "songs/1/song/0"},
            {"job_id": "k", "email": "bob@example.com", "started": "2026-01-01T11:59:00Z"},
            {},
        ]
    }
    capacity = Capacity.parse(payload, service="riffusion", observed_at=NOON)

    jobs = shown(good(capacity))["jobs"]

    assert jobs == [
        {"job_id": "j", "account": "a", "elapsed_seconds": 65.0, "reference": "songs/1/song/0"},
        {"job_id": "k", "account": "bob@example.com", "elapsed_seconds": 60.0, "reference": None},
        {"job_id": None, "account": None, "elapsed_seconds": None, "reference": None},
    ]


def test_callback_addresses_are_not_shown():
    payload = {"executing": [{"job_id": "j", "replyUrl": "https://example.com/secret-path?key=1"}]}
    capacity = Capacity.parse(payload, service="riffusion", observed_at=NOON)

    assert "example.com" not in json.dumps(shown(good(capacity)))


def test_more_than_a_page_can_show_is_counted():
    payload = {
        "executing": [{"job_id": str(number)} for number in range(MOST_JOBS + 7)],
        "available": [{"user_id": f"u{n}", "maxJobs": "?"} for n in range(MOST_ACCOUNTS + 3)],
    }
    document = shown(good(Capacity.parse(payload, service="riffusion", observed_at=NOON)))

    assert (len(document["jobs"]), document["more_jobs"]) == (MOST_JOBS, 7)
    assert (len(document["accounts"]), document["more_accounts"]) == (MOST_ACCOUNTS, 3)
    assert len(document["notes"]) == MOST_NOTES


def test_the_totals_are_those_of_all_accounts_also_of_those_that_are_not_listed():
    many = [
        {"user_id": f"u{number}", "maxJobs": 5, "executing": 1, "available": 3}
        for number in range(MOST_ACCOUNTS + 100)
    ]
    capacity = Capacity.parse({"available": many}, service="riffusion", observed_at=NOON)
    document = shown(good(capacity), Counter({f"u{MOST_ACCOUNTS + 50}": 2}))

    assert document["slots"] == {"slots": 1500, "executing": 300, "held": 2, "free": 898, "unknown": 300}


def test_endless_names_are_shortened_and_the_longest_reference_is_whole():
    endless, longest = "x" * 100_000, "y" * 1024
    payload = {
        "executing": [{"job_id": endless, "user_id": endless, "replyRef": longest}],
        "available": [{"user_id": endless, "maxJobs": 3, "executing": 1}],
    }
    capacity = Capacity.parse(payload, service="riffusion", observed_at=NOON)
    document = shown(good(capacity), Counter({endless: 1}))

    (each,), (account,) = document["jobs"], document["accounts"]
    assert {len(each["job_id"]), len(each["account"]), len(account["account"])} == {1024}
    assert each["reference"] == longest
    assert (account["held"], account["free"]) == (1, 1)


def test_when_it_is_tried_again_is_told_beside_an_error_only():
    assert shown(good(reading(a=1)), next_try=4.0)["next_try_seconds"] is None
    assert shown(Outcome(None, "503", NOON), next_try=540.0)["next_try_seconds"] == 540.0


def test_the_age_of_the_reading_is_told_in_seconds():
    document = shown(good(reading(a=1)), now=at(7.5))

    assert document["read_at"] == NOON.isoformat()
    assert document["age_seconds"] == 7.5


def test_a_clock_that_was_set_back_makes_no_negative_age():
    assert shown(good(reading(a=1)), now=at(-60))["age_seconds"] == 0


def test_an_error_stands_in_place_of_the_numbers_and_says_when_there_were_any():
    document = shown(Outcome(Reading.of(reading(a=1)), "401 Unauthorized", at(20)), now=at(30))

    assert document["error"] == "401 Unauthorized"
    assert (document["slots"], document["accounts"], document["jobs"]) == (None, [], [])
    assert (document["age_seconds"], document["failed_seconds"]) == (30.0, 10.0)


def test_before_the_first_reading_there_is_neither_number_nor_error():
    document = shown(None, asking_for=2.5)

    assert (document["slots"], document["error"], document["read_at"]) == (None, None, None)
    assert document["asking_seconds"] == 2.5


def test_tasks_wait_also_while_the_service_is_down():
    tasks = Tasks(waiting=40, longest=(waiting(90), waiting(10)), watching=3)

    told = shown(Outcome(None, "no answer", NOON), tasks=tasks, now=NOON, readable_dags={"songs"})["tasks"]

    assert (told["waiting"], told["longest_seconds"], told["watching"]) == (40, 90.0, 3)
    assert told["first"][0] == {
        "dag_id": "songs",
        "run_id": "manual__1",
        "task_id": "song",
        "map_index": 4,
        "seconds": 90.0,
    }


def test_a_task_of_a_dag_that_the_user_may_not_read_is_only_counted():
    tasks = Tasks(waiting=2, longest=(waiting(90, "secret"), waiting(10)))

    told = shown(None, tasks=tasks, now=NOON, readable_dags={"songs"})["tasks"]

    assert [task["dag_id"] for task in told["first"]] == ["songs"]
    assert (told["waiting"], told["longest_seconds"]) == (2, 90.0)
    assert "secret" not in json.dumps(told)


def test_whatever_the_service_says_becomes_text_or_nothing():
    names = ("job_id", "user_id", "started", "elapsed", "replyUrl", "replyRef")
    account = dict.fromkeys(("user_id", "maxJobs", "executing", "available"), SCRIPT)
    payload = {"executing": [dict.fromkeys(names, SCRIPT)], "available": [account, {"email": SCRIPT + "2"}]}
    document = shown(good(Capacity.parse(payload, service="riffusion", observed_at=NOON)), Counter())

    assert document["jobs"] == [
        {"job_id": SCRIPT, "account": SCRIPT, "elapsed_seconds": None, "reference": SCRIPT}
    ]
    assert document["accounts"][0]["account"] == SCRIPT
    assert {type(value) for each in document["accounts"] for value in each.values()} == {str, int}


def test_the_document_is_plain_json():
    tasks = Tasks(waiting=1, longest=(waiting(1),))
    document = shown(
        good(reading(job("1", "a", "r"), a=1)),
        Counter(a=1),
        tasks,
        readable_dags={"songs"},
        now=datetime.now(UTC),
    )

    assert json.loads(json.dumps(document)) == document
