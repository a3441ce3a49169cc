from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import pytest

from airflow_riffusion.emulator.records import Job, Stats
from dev.demo import REPOSITORY, own_folder
from dev.demo_story import SONGS, Event, event_text, happenings, shortcomings, summary

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def a_task(task_id="song.wait_for_slot", state="success", map_index=0, deferred_at=None):
    trigger = None if deferred_at is None else {"created_date": f"2026-01-01T12:00:{deferred_at:02}Z"}
    return {
        "task_id": task_id,
        "state": state,
        "map_index": map_index,
        "trigger": trigger,
        "try_number": 1,
    }


def a_grant(account, *, reading, waited):
    return {"user_id": account, "observed_at": f"2026-01-01T12:00:{reading:02}", "waited_seconds": waited}


def a_job(song, started, ended=None, status="executing"):
    return Job(
        job_id="0123abcd-ffff-4000-8000-000000000000",
        user_id="alice",
        prompt=song,
        instrumental=False,
        started=NOON + timedelta(seconds=started),
        over_at=NOON + timedelta(seconds=started + 8),
        ended=None if ended is None else NOON + timedelta(seconds=ended),
        status=status,
    )


def stats(**counted):
    return Stats(
        **{
            "slots": 4,
            "requests": 20,
            "requests_by_endpoint": {"available": 5, "create-prompt": 8},
            "unauthorized": 0,
            "refusals": 0,
            "accepted": 8,
            "completed": 8,
            "cancelled": 0,
            "executing": 0,
            "peak": 4,
            "peak_by_account": {"alice": 2, "bob": 2},
            **counted,
        }
    )


def all_well():
    mapped = [
        a_task(task_id, map_index=n) for task_id in ("song.wait_for_slot", "song.submit") for n in range(8)
    ]
    return [a_task("prompts", map_index=-1), *mapped, a_task("summary", map_index=-1)]


class TestHappenings:
    def test_nothing_happens_before_the_songs_are_known(self):
        tasks = [a_task("prompts", "running", -1), a_task("song.wait_for_slot", None, -1)]
        assert happenings(tasks, {}, []) == []

    def test_songs_wait_in_the_order_in_which_they_began(self):
        tasks = [a_task(state="deferred", map_index=n, deferred_at=9 - n) for n in range(2)]
        assert happenings(tasks, {}, []) == [Event("waits", SONGS[1]), Event("waits", SONGS[0])]

    def test_who_waited_longest_was_granted_first(self):
        grants = {
            0: a_grant("alice", reading=20, waited=17.2),
            1: a_grant("bob", reading=10, waited=1.6),
            2: a_grant("alice", reading=10, waited=2.4),
        }
        assert happenings([], grants, []) == [
            Event("granted", SONGS[2], "alice, after 2 s"),
            Event("granted", SONGS[1], "bob, after 2 s"),
            Event("granted", SONGS[0], "alice, after 17 s"),
        ]

    def test_jobs_are_told_in_the_order_of_time(self):
        jobs = [a_job("one", 0, ended=8, status="completed"), a_job("two", 3), a_job("three", 9)]
        assert happenings([], {}, jobs) == [
            Event("submitted", "one", "alice, job 0123abcd"),
            Event("submitted", "two", "alice, job 0123abcd"),
            Event("done", "one", "alice, in 8 s"),
            Event("submitted", "three", "alice, job 0123abcd"),
        ]

    def test_a_dropped_job_is_not_done(self):
        jobs = [a_job("one", 0, ended=5, status="cancelled")]
        assert happenings([], {}, jobs)[-1] == Event("cancelled", "one", "alice, in 5 s")

    def test_a_failure_names_the_task(self):
        assert happenings([a_task("song.submit", "failed", 3)], {}, []) == [
            Event("failed", SONGS[3], "song.submit")
        ]


def test_events_are_aligned_and_fit_a_terminal():
    events = [
        Event("waits", min(SONGS, key=len)),
        Event("submitted", max(SONGS, key=len), "alice, job 0123abcd"),
        Event("failed", max(SONGS, key=len), "song.wait_for_slot"),
    ]
    lines = [event_text(event, free=3) for event in events]
    assert lines[0].split("  ")[0] == "waits"
    assert {line.index("3 of 4 slots free") for line in lines} == {lines[0].index("3 of 4 slots free")}
    assert max(map(len, lines)) <= 80


def test_the_summary_says_what_was_counted():
    assert summary(stats(), 71.4) == (
        "Songs made            8 of 8\n"
        "Submissions refused   0\n"
        "Status requests sent  5\n"
        "Most jobs at once     4 on 4 slots\n"
        "Time in all           71 s"
    )


class TestShortcomings:
    def test_none(self, tmp_path):
        assert shortcomings(all_well(), stats(), tmp_path) == []

    def test_a_refusal(self, tmp_path):
        assert shortcomings(all_well(), stats(refusals=1), tmp_path) == ["Submissions refused: 1."]

    def test_a_missing_song(self, tmp_path):
        assert shortcomings(all_well(), stats(completed=7), tmp_path) == ["Songs made: only 7 of 8."]

    def test_a_run_without_end(self, tmp_path):
        tasks = [a_task(state="deferred"), a_task(state="deferred", map_index=1), a_task("summary", None, -1)]
        assert shortcomings(tasks, stats(), tmp_path) == [
            "The DAG run did not end within 150 s.",
            "song.wait_for_slot: 2 deferred.",
            "summary: 1 not begun.",
        ]

    def test_failed_tasks_with_the_reason_of_one(self, tmp_path):
        log = tmp_path / "task_id=song.submit" / "map_index=2" / "attempt=1.log"
        log.parent.mkdir(parents=True)
        error = {"error_detail": [{"exc_type": "RiffusionRejected", "exc_value": "401 Unauthorized"}]}
        log.write_text(
            "\n".join(json.dumps(entry) for entry in ({"event": "begun"}, error, {"event": "over"}))
        )
        tasks = [
            a_task("song.submit", "failed", 2),
            a_task("song.submit", "failed", 3),
            a_task("summary", "upstream_failed", -1),
        ]
        assert shortcomings(tasks, stats(), tmp_path) == [
            "song.submit: 2 failed. RiffusionRejected: 401 Unauthorized",
            f"  Log: {log}",
        ]

    def test_a_failed_task_that_left_no_log(self, tmp_path):
        assert shortcomings([a_task("prompts", "failed", -1)], stats(), tmp_path) == [
            "prompts: 1 failed. It did not say why.",
            f"  Log: {tmp_path / 'task_id=prompts' / 'attempt=1.log'}",
        ]


class TestOwnFolder:
    def test_is_made_with_its_parents(self, tmp_path):
        with own_folder(tmp_path / "a" / "b") as home:
            assert home.is_dir()

    def test_is_emptied_when_used_again(self, tmp_path):
        kept = tmp_path / "elsewhere"
        kept.mkdir()
        (kept / "file").touch()
        with own_folder(tmp_path / "demo") as home:
            (home / "logs").mkdir()
            (home / "logs" / "a.log").touch()
            (home / "a.log").touch()
            (home / "link").symlink_to(kept)
            marker = set(home.iterdir()) - {home / "logs", home / "a.log", home / "link"}
        with own_folder(home):
            assert set(home.iterdir()) == marker
        assert (kept / "file").exists()

    def test_an_empty_one_will_do(self, tmp_path):
        with own_folder(tmp_path) as home:
            assert home == tmp_path

    def test_somebody_elses_is_left_alone(self, tmp_path):
        (tmp_path / "thesis").touch()
        command = [sys.executable, "-m", "dev.demo", "--home", str(tmp_path)]
        ended = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=60)
        assert ended.returncode == 1
        assert ended.stderr.startswith(f"The demo can't start: {tmp_path} is not empty")
        assert [entry.name for entry in tmp_path.iterdir()] == ["thesis"]

    def test_serves_one_demo_at_a_time(self, tmp_path):
        with (
            own_folder(tmp_path),
            pytest.raises(RuntimeError, match="runs in"),
            own_folder(tmp_path),
        ):
            pass
