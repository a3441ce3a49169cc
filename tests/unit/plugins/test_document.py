from __future__ import annotations

import json
from collections import Counter
from datetime import UTC, datetime, timedelta

from airflow_riffusion.core.capacity import Capacity
from airflow_riffusion.plugins.page.document import (
    MOST_ACCOUNTS,
    MOST_JOBS,
    MOST_NOTES,
    Outcome,
    Tasks,
    WaitingTask,
    connection_document,
)
from tests.readings import NOON, job, parsed, reading

SCRIPT = "<script>alert(1)</script>"


def at(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


def good(capacity: Capacity) -> Outcome:
    return Outcome(capacity, None, NOON)


def shown(outcome: Outcome | None, held: Counter[str] | None = None, tasks: Tasks | None = None, **more):
    now = more.pop("now", at(3))
    return connection_document("riffusion_default", outcome, held, tasks or Tasks(), now=now, **more)


def waiting(seconds: float, dag_id: str = "songs") -> WaitingTask:
    return WaitingTask(dag_id, "manual__1", "song", 4, at(-seconds))


def test_document_held_slot_is_neither_executing_nor_free():
    document = shown(good(reading(a=(3, 4), b=(0, 2))), Counter(a=2))

    assert document["slots"] == {"slots": 6, "executing": 3, "held": 2, "free": 1, "unknown": 0}
    assert document["accounts"] == [
        {"account": "a", "slots": 4, "executing": 1, "held": 2, "free": 1, "unknown": 0},
        {"account": "b", "slots": 2, "executing": 2, "held": 0, "free": 0, "unknown": 0},
    ]


def test_document_counts_no_more_slots_as_held_than_are_free():
    (account,) = shown(good(reading(a=(1, 4))), Counter(a=3))["accounts"]

    assert (account["held"], account["free"]) == (1, 0)


def test_document_with_unknown_holds_has_held_none():
    document = shown(good(reading(a=(3, 4))), held=None)

    assert document["slots"]["held"] is None
    assert document["accounts"][0]["held"] is None
    assert document["slots"]["free"] == 3


def test_document_with_unreadable_available_has_unknown_slots():
    capacity = parsed({"available": [{"user_id": "a", "maxJobs": 5, "executing": 1, "available": "many"}]})

    document = shown(good(capacity))

    assert document["slots"] == {"slots": 5, "executing": 1, "held": None, "free": 0, "unknown": 4}
    assert document["notes"] == ["account 'a': available is 'many'"]


def test_document_slots_without_max_jobs_are_executing_and_free_ones():
    capacity = parsed({"available": [{"user_id": "a", "executing": 2, "available": 1}]}, "kling")

    assert shown(good(capacity))["accounts"][0]["slots"] == 3


def test_document_jobs_that_no_account_counts_are_executing():
    document = shown(good(reading(job("1"), job("2"), a=(1, 2))))

    assert document["slots"]["executing"] == 2


def test_document_empty_reading_has_zero_slots():
    document = shown(good(reading()), Counter())

    assert document["slots"] == {"slots": 0, "executing": 0, "held": 0, "free": 0, "unknown": 0}
    assert document["jobs"] == []


def test_document_jobs_have_account_reference_and_elapsed_time():
    payload = {
        "executing": [
            {"job_id": "j", "user_id": "a", "elapsed": "01:05", "replyRef": "songs/1/song/0"},
            {"job_id": "k", "email": "bob@example.com", "started": "2026-01-01T11:59:00Z"},
            {},
        ]
    }
    capacity = parsed(payload)

    jobs = shown(good(capacity))["jobs"]

    assert jobs == [
        {"job_id": "j", "account": "a", "elapsed_seconds": 65.0, "reference": "songs/1/song/0"},
        {"job_id": "k", "account": "bob@example.com", "elapsed_seconds": 60.0, "reference": None},
        {"job_id": None, "account": None, "elapsed_seconds": None, "reference": None},
    ]


def test_document_callback_addresses_are_left_out():
    payload = {"executing": [{"job_id": "j", "replyUrl": "https://example.com/secret-path?key=1"}]}
    capacity = parsed(payload)

    assert "example.com" not in json.dumps(shown(good(capacity)))


def test_document_long_lists_are_cut_and_the_rest_is_counted():
    payload = {
        "executing": [{"job_id": str(number)} for number in range(MOST_JOBS + 7)],
        "available": [{"user_id": f"u{n}", "maxJobs": "?"} for n in range(MOST_ACCOUNTS + 3)],
    }
    document = shown(good(parsed(payload)))

    assert (len(document["jobs"]), document["more_jobs"]) == (MOST_JOBS, 7)
    assert (len(document["accounts"]), document["more_accounts"]) == (MOST_ACCOUNTS, 3)
    assert len(document["notes"]) == MOST_NOTES


def test_document_totals_of_long_lists_count_all_accounts():
    many = [
        {"user_id": f"u{number}", "maxJobs": 5, "executing": 1, "available": 3}
        for number in range(MOST_ACCOUNTS + 100)
    ]
    capacity = parsed({"available": many})
    document = shown(good(capacity), Counter({f"u{MOST_ACCOUNTS + 50}": 2}))

    assert document["slots"] == {"slots": 1500, "executing": 300, "held": 2, "free": 898, "unknown": 300}


def test_document_long_texts_are_shortened_after_1024_characters():
    endless, longest = "x" * 100_000, "y" * 1024
    payload = {
        "executing": [{"job_id": endless, "user_id": endless, "replyRef": longest}],
        "available": [{"user_id": endless, "maxJobs": 3, "executing": 1}],
    }
    capacity = parsed(payload)
    document = shown(good(capacity), Counter({endless: 1}))

    (each,), (account,) = document["jobs"], document["accounts"]
    assert {len(each["job_id"]), len(each["account"]), len(account["account"])} == {1024}
    assert each["reference"] == longest
    assert (account["held"], account["free"]) == (1, 1)


def test_document_next_try_is_given_only_with_an_error():
    assert shown(good(reading(a=1)), next_try=4.0)["next_try_seconds"] is None
    assert shown(Outcome(None, "503", NOON), next_try=540.0)["next_try_seconds"] == 540.0


def test_document_reading_has_time_and_age():
    document = shown(good(reading(a=1)), now=at(7.5))

    assert document["read_at"] == NOON.isoformat()
    assert document["age_seconds"] == 7.5


def test_document_age_with_a_clock_set_back_is_zero():
    assert shown(good(reading(a=1)), now=at(-60))["age_seconds"] == 0


def test_document_error_replaces_the_numbers_of_the_last_reading():
    document = shown(Outcome(reading(a=1), "401 Unauthorized", at(20)), now=at(30))

    assert document["error"] == "401 Unauthorized"
    assert (document["slots"], document["accounts"], document["jobs"]) == (None, [], [])
    assert (document["age_seconds"], document["failed_seconds"]) == (30.0, 10.0)


def test_document_without_an_outcome_has_neither_numbers_nor_error():
    document = shown(None, asking_for=2.5)

    assert (document["slots"], document["error"], document["read_at"]) == (None, None, None)
    assert document["asking_seconds"] == 2.5


def test_document_shows_tasks_when_the_service_is_down():
    tasks = Tasks(waiting=40, longest=(waiting(90), waiting(10)), watching=3)

    counted = shown(Outcome(None, "503", NOON), tasks=tasks, now=NOON, readable_dags={"songs"})["tasks"]

    assert (counted["waiting"], counted["longest_seconds"], counted["watching"]) == (40, 90.0, 3)
    assert counted["first"][0] == {
        "dag_id": "songs",
        "run_id": "manual__1",
        "task_id": "song",
        "map_index": 4,
        "seconds": 90.0,
    }


def test_document_tasks_of_an_unreadable_dag_are_counted_without_names():
    tasks = Tasks(waiting=2, longest=(waiting(90, "secret"), waiting(10)))

    counted = shown(None, tasks=tasks, now=NOON, readable_dags={"songs"})["tasks"]

    assert [task["dag_id"] for task in counted["first"]] == ["songs"]
    assert (counted["waiting"], counted["longest_seconds"]) == (2, 90.0)
    assert "secret" not in json.dumps(counted)


def test_document_hostile_fields_become_text_or_none():
    names = ("job_id", "user_id", "started", "elapsed", "replyUrl", "replyRef")
    account = dict.fromkeys(("user_id", "maxJobs", "executing", "available"), SCRIPT)
    payload = {"executing": [dict.fromkeys(names, SCRIPT)], "available": [account, {"email": SCRIPT + "2"}]}
    document = shown(good(parsed(payload)), Counter())

    assert document["jobs"] == [
        {"job_id": SCRIPT, "account": SCRIPT, "elapsed_seconds": None, "reference": SCRIPT}
    ]
    assert document["accounts"][0]["account"] == SCRIPT
    assert {type(value) for each in document["accounts"] for value in each.values()} == {str, int}


def test_document_is_plain_json():
    tasks = Tasks(waiting=1, longest=(waiting(1),))
    document = shown(
        good(reading(job("1", "a", "r"), a=1)),
        Counter(a=1),
        tasks,
        readable_dags={"songs"},
        now=datetime.now(UTC),
    )

    assert json.loads(json.dumps(document)) == document
