"""What there is to tell of the demo: from what Airflow and the emulator say to lines of text."""

from __future__ import annotations

import json
from collections import defaultdict
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
    from datetime import datetime
    from pathlib import Path

    from airflow_riffusion.emulator.records import Job, Stats

SONGS = (
    "lullaby for a lighthouse",
    "polka on the moon",
    "sea shanty in space",
    "bossa nova for bees",
    "waltz of the wombats",
    "tango with a toaster",
    "ballad of a lost sock",
    "funk for a foggy day",
)
ACCOUNTS = {"alice": 2, "bob": 2}
SLOTS = sum(ACCOUNTS.values())
RUN_TIMEOUT = 180
"""How long the DAG runs may take, in seconds."""

PLAYLIST = "album.m3u8"
"""The file that riffusion_album writes beside the songs."""

OVER = frozenset({"success", "failed", "upstream_failed", "skipped", "removed"})
"""The states in which a task or a run stays."""

Task = dict[str, Any]
"""A task instance, as Airflow's REST API tells of it."""


class Way(NamedTuple):
    """
    A way to make songs, of which there is an example DAG.

    :param name: a word or two for it.
    :param how: the same, in a sentence.
    :param dag_id: the DAG.
    :param task_id: its task that waits for a slot, mapped over the songs.
    :param songs: those that are made in this way.
    """

    name: str
    how: str
    dag_id: str
    task_id: str
    songs: tuple[str, ...]


SENSOR = Way(
    name="sensor",
    how="a sensor waits, another task submits",
    dag_id="riffusion_capacity_gate",
    task_id="song.wait_for_slot",
    songs=SONGS[::2],
)
ONE_TASK = Way(
    name="one task",
    how="one task waits, submits, and sees the end",
    dag_id="riffusion_album",
    task_id="song",
    songs=SONGS[1::2],
)
WAYS = (SENSOR, ONE_TASK)
_WAYS_BY_DAG = {way.dag_id: way for way in WAYS}
_WAYS_BY_SONG = {song: way for way in WAYS for song in way.songs}


class Event(NamedTuple):
    """
    Something that happens to a song, at most once.

    :param kind: one word for it.
    :param song: the song's name.
    :param detail: what else there is to say.
    """

    kind: str
    song: str
    detail: str = ""


def happenings(tasks: Iterable[Task], xcoms: Mapping[str, Any], jobs: Collection[Job]) -> list[Event]:
    """
    List what is seen to have happened by now, in an order in which it can have happened.

    :param tasks: the task instances of all DAG runs.
    :param xcoms: what those that waited for a slot, and are over, left as XCom, by song.
    :param jobs: the jobs that the emulator has accepted.
    """
    mapped = [task for task in tasks if task["map_index"] >= 0]
    return [
        *_waits(mapped, {job.prompt for job in jobs}),
        *_grants([(song, xcoms[song]) for song in SENSOR.songs if song in xcoms]),
        *(event for _, event in sorted(_jobs_events(jobs))),
        *(Event("sees end", song, _outcome(xcoms[song])) for song in ONE_TASK.songs if song in xcoms),
        *(Event("failed", song_of(task), task["task_id"]) for task in mapped if task["state"] == "failed"),
    ]


def _waits(mapped: Iterable[Task], submitted: Collection[str]) -> list[Event]:
    deferred = [task for task in mapped if task["state"] == "deferred" and task["trigger"]]
    deferred.sort(key=lambda task: task["trigger"]["created_date"])
    # A song's one task is deferred for its job's end, too.
    return [Event("waits", song) for song in map(song_of, deferred) if song not in submitted]


def _grants(granted: list[tuple[str, Any]]) -> list[Event]:
    granted.sort(key=lambda each: (each[1]["observed_at"], -each[1]["waited_seconds"]))
    return [Event("granted", song, grant["user_id"]) for song, grant in granted]


def _jobs_events(jobs: Iterable[Job]) -> Iterator[tuple[datetime, Event]]:
    for job in jobs:
        yield job.started, Event("submitted", job.prompt, f"{job.user_id}, job {str(job.job_id)[:4]}")
        if job.ended:
            kind = "done" if job.status == "completed" else job.status
            seconds = (job.ended - job.started).total_seconds()
            yield job.ended, Event(kind, job.prompt, f"{job.user_id}, in {seconds:.0f} s")


def _outcome(xcom: Any) -> str:
    files = len(xcom["audio"])
    return f"{files} audio file{'s' if files > 1 else ''}" if files else "no audio"


def song_of(task: Task) -> str:
    """
    Tell which song a mapped task is for.

    :param task: the task instance.
    """
    return _WAYS_BY_DAG[task["dag_id"]].songs[task["map_index"]]


def order_text() -> str:
    """Say what is ordered, and what the ways to make a song are called in the lines that follow."""
    ways = [f"{'':7}{way.name:<8}  {way.dag_id}: {way.how}" for way in WAYS]
    return "\n".join([f"{len(SONGS)} songs are ordered at once, half of them from each of two DAGs", *ways])


def event_text(event: Event, free: int) -> str:
    """
    Format an event in columns.

    :param event: what happened.
    :param free: how many slots are free after it.
    """
    way = _WAYS_BY_SONG[event.song].name
    return f"{way:<8}  {event.kind:<9}  {event.song:<24}  {event.detail:<18}  {free} free"


def summary(stats: Stats, seconds: float) -> str:
    """
    Format the result.

    :param stats: what the emulator counted.
    :param seconds: the time that all took.
    """
    lines = {
        "Songs made": f"{stats.completed} of {len(SONGS)}",
        "Submissions refused": stats.refusals,
        "Status requests sent": f"{stats.requests_by_endpoint['capacity']} in all",
        "Most jobs at once": f"{stats.peak} on {stats.slots} slots",
        "Time in all": f"{seconds:.0f} s",
    }
    return "\n".join(f"{name:<22}{value}" for name, value in lines.items())


def shortcomings(tasks: Sequence[Task], states: Mapping[str, str], stats: Stats, logs: Path) -> list[str]:
    """
    List what went wrong: nothing, if the demo succeeded.

    :param tasks: the task instances of all DAG runs, in the end.
    :param states: the states of the DAG runs, in the end, by DAG.
    :param stats: what the emulator counted.
    :param logs: the folder of Airflow's logs.
    """
    found = []
    if stats.refusals:
        found.append(f"Submissions refused: {stats.refusals}.")
    if stats.completed != len(SONGS):
        found.append(f"Songs made: {stats.completed}, not {len(SONGS)}.")
    for dag_id, state in states.items():
        if state != "success":
            found.append(f"{dag_id} {'failed' if state in OVER else f'did not end within {RUN_TIMEOUT} s'}.")
    return found + _tasks_shortcomings(tasks, logs)


def album(folder: Path) -> str:
    """
    Say what there is to listen to.

    :param folder: where the album was saved.
    """
    files = [f"  {path.name:<14}{path.stat().st_size:>9,} bytes" for path in sorted(folder.iterdir())]
    return "\n".join([f"Listen to it: {folder / PLAYLIST}", *files])


def missing_files(folder: Path) -> list[str]:
    """
    List what is missing in an album: nothing, if the demo succeeded.

    :param folder: where it should have been saved.
    """
    if not (folder / PLAYLIST).is_file():
        return [f"{ONE_TASK.dag_id}: there is no {folder / PLAYLIST}."]
    lines = (folder / PLAYLIST).read_text().splitlines()
    files = [folder / line for line in lines if not line.startswith("#")]
    found = [f"{ONE_TASK.dag_id}: {file} is missing or empty." for file in files if not _has_content(file)]
    if len(files) != len(ONE_TASK.songs):
        found.append(f"{ONE_TASK.dag_id}: the playlist has {len(files)} songs, not {len(ONE_TASK.songs)}.")
    return found


def _has_content(file: Path) -> bool:
    return file.is_file() and file.stat().st_size > 0


def _tasks_shortcomings(tasks: Sequence[Task], logs: Path) -> list[str]:
    alike: dict[tuple[str, str | None], list[Task]] = defaultdict(list)
    for task in tasks:
        alike[f"{task['dag_id']}, {task['task_id']}", task["state"]].append(task)
    found = []
    for (name, state), group in alike.items():
        if state in {"failed", "up_for_retry"}:
            log = _log(logs, group[0])
            found += [f"{name}: {len(group)} {state}. {_last_error(log)}", f"  Log: {log}"]
        elif state not in OVER:
            found.append(f"{name}: {len(group)} {state or 'not begun'}.")
    return found


def _log(logs: Path, task: Task) -> Path:
    folder = logs / f"dag_id={task['dag_id']}" / f"run_id={task['dag_run_id']}" / f"task_id={task['task_id']}"
    if task["map_index"] >= 0:
        folder /= f"map_index={task['map_index']}"
    return folder / f"attempt={task['try_number']}.log"


def _last_error(log: Path) -> str:
    entries = log.read_text(encoding="utf-8").splitlines() if log.exists() else []
    causes = [json.loads(entry)["error_detail"][0] for entry in entries if '"error_detail":' in entry]
    return f"{causes[-1]['exc_type']}: {causes[-1]['exc_value']}" if causes else "It did not say why."
