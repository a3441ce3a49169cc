from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from airflow_riffusion.emulator.records import Job
from airflow_riffusion.emulator.service import SchedulerService
from airflow_riffusion.plugins.capacity_page import CapacityPagePlugin
from dev.demo import CAPACITY_PAGE, REPOSITORY, own_folder
from dev.demo_story import (
    ACCOUNTS,
    ONE_TASK,
    PLAYLIST,
    SENSOR,
    SONGS,
    WAYS,
    Event,
    album,
    event_text,
    happenings,
    missing_files,
    order_text,
    shortcomings,
    summary,
)
from tests.versions import needs_pages_of_plugins

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def a_task(task_id="song.wait_for_slot", state="success", map_index=0, deferred_at=None, way=SENSOR):
    trigger = None if deferred_at is None else {"created_date": f"2026-01-01T12:00:{deferred_at:02}Z"}
    run = {"dag_id": way.dag_id, "dag_run_id": "a-run"}
    return run | {
        "task_id": task_id,
        "map_index": map_index,
        "try_number": 1,
        "state": state,
        "trigger": trigger,
    }


def one_task(state="success", map_index=0, deferred_at=None):
    return a_task("song", state, map_index, deferred_at, way=ONE_TASK)


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
    counted = {"completed": 8, "peak": 4, "requests_by_endpoint": {"capacity": 5}} | counted
    return replace(SchedulerService(ACCOUNTS, new_job_id=a_job).stats(), **counted)


def all_well():
    gate = [a_task(task, map_index=n) for task in ("song.wait_for_slot", "song.submit") for n in range(4)]
    return [*gate, a_task("summary", map_index=-1), *(one_task(map_index=n) for n in range(4))]


def ended(**states):
    return {way.dag_id: "success" for way in WAYS} | states


def test_ways_share_the_songs_equally():
    assert sorted(SENSOR.songs + ONE_TASK.songs) == sorted(SONGS)
    assert len(SENSOR.songs) == len(ONE_TASK.songs)


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.name)
def test_way_has_the_dag_and_task_of_an_example(way):
    example = (REPOSITORY / "example_dags" / f"{way.dag_id}.py").read_text()
    assert f"def {way.dag_id}():" in example
    assert f'task_id="{way.task_id.split(".")[-1]}"' in example


@needs_pages_of_plugins
def test_capacity_page_address_is_the_plugins_own():
    (view,) = CapacityPagePlugin.external_views
    assert f"/plugin/{view['url_route']}" == CAPACITY_PAGE


def test_happenings_before_the_songs_are_known_are_none():
    tasks = [a_task("prompts", "running", -1), a_task("song.wait_for_slot", None, -1)]
    assert happenings(tasks, {}, []) == []


def test_happenings_waiting_songs_have_the_order_of_their_start():
    tasks = [
        a_task(state="deferred", map_index=0, deferred_at=9),
        a_task(state="deferred", map_index=1, deferred_at=7),
        one_task("deferred", 0, deferred_at=8),
    ]
    assert happenings(tasks, {}, []) == [
        Event("waits", SENSOR.songs[1]),
        Event("waits", ONE_TASK.songs[0]),
        Event("waits", SENSOR.songs[0]),
    ]


def test_happenings_task_waiting_for_its_job_is_not_waiting_for_a_slot():
    song = ONE_TASK.songs[0]
    tasks = [one_task("deferred", 0, deferred_at=1)]
    assert happenings(tasks, {}, [a_job(song, 0)]) == [Event("submitted", song, "alice, job 0123")]


def test_happenings_grants_of_one_reading_begin_with_the_longest_wait():
    grants = {
        SENSOR.songs[0]: a_grant("alice", reading=20, waited=17.2),
        SENSOR.songs[1]: a_grant("bob", reading=10, waited=1.6),
        SENSOR.songs[2]: a_grant("alice", reading=10, waited=2.4),
    }
    assert happenings([], grants, []) == [
        Event("granted", SENSOR.songs[2], "alice"),
        Event("granted", SENSOR.songs[1], "bob"),
        Event("granted", SENSOR.songs[0], "alice"),
    ]


def test_happenings_jobs_have_the_order_of_time():
    jobs = [a_job("one", 0, ended=8, status="completed"), a_job("two", 3), a_job("three", 9)]
    assert happenings([], {}, jobs) == [
        Event("submitted", "one", "alice, job 0123"),
        Event("submitted", "two", "alice, job 0123"),
        Event("done", "one", "alice, in 8 s"),
        Event("submitted", "three", "alice, job 0123"),
    ]


def test_happenings_cancelled_job_is_not_done():
    jobs = [a_job("one", 0, ended=5, status="cancelled")]
    assert happenings([], {}, jobs)[-1] == Event("cancelled", "one", "alice, in 5 s")


@pytest.mark.parametrize(
    ("audio", "outcome"), [([{}], "1 audio file"), ([{}, {}], "2 audio files"), ([], "no audio")]
)
def test_happenings_one_task_sees_its_songs_end_after_the_job(audio, outcome):
    song = ONE_TASK.songs[3]
    jobs = [a_job(song, 0, ended=8, status="completed")]
    last_events = happenings([], {song: {"audio": audio}}, jobs)[1:]
    assert last_events == [Event("done", song, "alice, in 8 s"), Event("sees end", song, outcome)]


def test_happenings_failure_names_the_task():
    [event] = happenings([a_task("song.submit", "failed", 3)], {}, [])
    assert event == Event("failed", SENSOR.songs[3], "song.submit")


def test_event_text_lines_are_aligned_and_fit_80_columns():
    long, account = max(SONGS, key=len), max(ACCOUNTS, key=len)
    events = [
        Event("waits", min(SONGS, key=len)),
        Event("submitted", long, f"{account}, job 0123"),
        Event("cancelled", long, f"{account}, in 10 s"),
        Event("failed", long, "song.wait_for_slot"),
    ]
    lines = [event_text(event, free=3) for event in events]
    assert {line.index("3 free") for line in lines} == {lines[0].index("3 free")}
    assert max(len(" 99 s  " + line) for line in (*lines, *order_text().split("\n       "))) <= 80


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.name)
def test_event_text_begins_with_the_way_that_order_text_explains(way):
    assert event_text(Event("waits", way.songs[0]), free=3).startswith(f"{way.name:<8}  waits")
    assert f"\n       {way.name:<8}  {way.dag_id}: {way.how}" in order_text()


def test_summary_says_what_was_counted():
    assert summary(stats(), 71.4) == (
        "Songs made            8 of 8\n"
        "Submissions refused   0\n"
        "Status requests sent  5 in all\n"
        "Most jobs at once     4 on 4 slots\n"
        "Time in all           71 s"
    )


def an_album(folder, *missing):
    """Save an album, without some of its files."""
    names = [f"0{number}-1.wav" for number in range(1, len(ONE_TASK.songs) + 1)]
    for name in names:
        (folder / name).write_bytes(b"" if name in missing else b"a tone")
    (folder / PLAYLIST).write_text("\n".join(["#EXTM3U", *names]))
    return folder


def test_missing_files_of_a_whole_album_are_none(tmp_path):
    assert missing_files(an_album(tmp_path)) == []


def test_missing_files_without_a_playlist_names_it(tmp_path):
    assert missing_files(tmp_path) == [f"riffusion_album: there is no {tmp_path / PLAYLIST}."]


def test_missing_files_empty_song_is_named(tmp_path):
    file = tmp_path / "02-1.wav"

    assert missing_files(an_album(tmp_path, file.name)) == [f"riffusion_album: {file} is missing or empty."]


def test_missing_files_playlist_with_too_few_songs_is_named(tmp_path):
    (tmp_path / PLAYLIST).write_text("#EXTM3U\n")

    assert missing_files(tmp_path) == ["riffusion_album: the playlist has 0 songs, not 4."]


def test_album_lists_its_files(tmp_path):
    assert album(an_album(tmp_path)).splitlines()[:2] == [
        f"Listen to it: {tmp_path / PLAYLIST}",
        "  01-1.wav              6 bytes",
    ]


def test_shortcomings_all_well_are_none(tmp_path):
    assert shortcomings(all_well(), ended(), stats(), tmp_path) == []


def test_shortcomings_refused_submission_is_counted(tmp_path):
    found = shortcomings(all_well(), ended(), stats(refusals=1), tmp_path)
    assert found == ["Submissions refused: 1."]


@pytest.mark.parametrize("completed", [7, 9])
def test_shortcomings_wrong_number_of_songs_is_named(tmp_path, completed):
    found = shortcomings(all_well(), ended(), stats(completed=completed), tmp_path)
    assert found == [f"Songs made: {completed}, not 8."]


def test_shortcomings_run_without_end_lists_its_tasks(tmp_path):
    waiting = [a_task(state="deferred", map_index=n) for n in range(2)]
    tasks = [*waiting, a_task("summary", None, -1), one_task("running")]
    states = ended(riffusion_capacity_gate="running", riffusion_album="running")
    assert shortcomings(tasks, states, stats(), tmp_path) == [
        "riffusion_capacity_gate did not end within 180 s.",
        "riffusion_album did not end within 180 s.",
        "riffusion_capacity_gate, song.wait_for_slot: 2 deferred.",
        "riffusion_capacity_gate, summary: 1 not begun.",
        "riffusion_album, song: 1 running.",
    ]


def test_shortcomings_run_that_never_began_is_named(tmp_path):
    assert shortcomings([], ended(riffusion_album="queued"), stats(), tmp_path) == [
        "riffusion_album did not end within 180 s."
    ]


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.name)
def test_shortcomings_failed_tasks_have_the_reason_of_one(tmp_path, way):
    folder = tmp_path / f"dag_id={way.dag_id}" / "run_id=a-run" / f"task_id={way.task_id}"
    log = folder / "map_index=2" / "attempt=1.log"
    log.parent.mkdir(parents=True)
    error = {"error_detail": [{"exc_type": "RiffusionRejected", "exc_value": "401 Unauthorized"}]}
    entries = ({"event": "begun"}, error, {"event": "over"})
    log.write_text("\n".join(json.dumps(entry) for entry in entries))
    failed = [a_task(way.task_id, "failed", n, way=way) for n in (2, 3)]
    tasks = [*failed, a_task("summary", "upstream_failed", -1)]
    assert shortcomings(tasks, ended(**{way.dag_id: "failed"}), stats(), tmp_path) == [
        f"{way.dag_id} failed.",
        f"{way.dag_id}, {way.task_id}: 2 failed. RiffusionRejected: 401 Unauthorized",
        f"  Log: {log}",
    ]


@pytest.mark.parametrize("state", ["failed", "up_for_retry"])
def test_shortcomings_failed_try_without_a_log_says_so(tmp_path, state):
    log = tmp_path / "dag_id=riffusion_album" / "run_id=a-run" / "task_id=songs" / "attempt=1.log"
    assert shortcomings([a_task("songs", state, -1, way=ONE_TASK)], ended(), stats(), tmp_path) == [
        f"riffusion_album, songs: 1 {state}. It did not say why.",
        f"  Log: {log}",
    ]


def test_own_folder_missing_is_made_with_its_parents(tmp_path):
    with own_folder(tmp_path / "a" / "b") as home:
        assert home.is_dir()


def test_own_folder_used_again_is_emptied(tmp_path):
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


def test_own_folder_empty_is_taken(tmp_path):
    with own_folder(tmp_path) as home:
        assert home == tmp_path


def test_demo_in_a_folder_with_other_files_exits_with_1_and_keeps_them(tmp_path):
    (tmp_path / "thesis").touch()
    command = [sys.executable, "-m", "dev.demo", "--home", str(tmp_path)]
    ended = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 1
    assert ended.stderr.startswith(f"The demo can't start: {tmp_path} is not empty")
    assert [entry.name for entry in tmp_path.iterdir()] == ["thesis"]


def test_own_folder_in_use_is_an_error(tmp_path):
    with (
        own_folder(tmp_path),
        pytest.raises(RuntimeError, match="runs in"),
        own_folder(tmp_path),
    ):
        pass
