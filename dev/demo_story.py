"""What there is to tell of the demo: from what Airflow and the emulator say to lines of text."""

from __future__ import annotations

import json
from collections import defaultdict
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from datetime import datetime
    from pathlib import Path

    from airflow_riffusion.emulator.records import Job, Stats

WAIT_TASK = "song.wait_for_slot"
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
RUN_TIMEOUT = 150
"""How long the DAG run may take, in seconds."""

OVER = frozenset({"success", "failed", "upstream_failed", "skipped", "removed"})

Task = dict[str, Any]
"""A task instance, as Airflow's REST API tells of it."""


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


def happenings(tasks: Iterable[Task], grants: Mapping[int, Any], jobs: Iterable[Job]) -> list[Event]:
    """
    List what is seen to have happened by now, in an order in which it can have happened.

    :param tasks: the DAG run's task instances.
    :param grants: what the waits that are over left as XCom, by map index.
    :param jobs: the jobs that the emulator has accepted.
    """
    mapped = [task for task in tasks if task["map_index"] >= 0]
    waiting = [task for task in mapped if task["state"] == "deferred" and task["trigger"]]
    waiting.sort(key=lambda task: task["trigger"]["created_date"])
    served = sorted(grants.items(), key=lambda item: (item[1]["observed_at"], -item[1]["waited_seconds"]))
    return [
        *(Event("waits", _song(task)) for task in waiting),
        *(
            Event("granted", SONGS[index], f"{grant['user_id']}, after {grant['waited_seconds']:.0f} s")
            for index, grant in served
        ),
        *(event for _, event in sorted(_jobs_events(jobs))),
        *(Event("failed", _song(task), task["task_id"]) for task in mapped if task["state"] == "failed"),
    ]


def _jobs_events(jobs: Iterable[Job]) -> Iterator[tuple[datetime, Event]]:
    for job in jobs:
        yield job.started, Event("submitted", job.prompt, f"{job.user_id}, job {str(job.job_id)[:8]}")
        if job.ended:
            kind = "done" if job.status == "completed" else job.status
            seconds = (job.ended - job.started).total_seconds()
            yield job.ended, Event(kind, job.prompt, f"{job.user_id}, in {seconds:.0f} s")


def _song(task: Task) -> str:
    return SONGS[task["map_index"]]


def event_text(event: Event, free: int) -> str:
    """
    Format an event in columns.

    :param event: what happened.
    :param free: how many slots are free after it.
    """
    return f"{event.kind:<9}  {event.song:<24}  {event.detail:<20}  {free} of {SLOTS} slots free"


def summary(stats: Stats, seconds: float) -> str:
    """
    Format the result.

    :param stats: what the emulator counted.
    :param seconds: the time that all took.
    """
    lines = {
        "Songs made": f"{stats.completed} of {len(SONGS)}",
        "Submissions refused": stats.refusals,
        "Status requests sent": stats.requests_by_endpoint["available"],
        "Most jobs at once": f"{stats.peak} on {stats.slots} slots",
        "Time in all": f"{seconds:.0f} s",
    }
    return "\n".join(f"{name:<22}{value}" for name, value in lines.items())


def shortcomings(tasks: Sequence[Task], stats: Stats, logs: Path) -> list[str]:
    """
    List what went wrong: nothing, if the demo succeeded.

    :param tasks: the DAG run's task instances, in the end.
    :param stats: what the emulator counted.
    :param logs: the folder of the DAG run's logs.
    """
    found = []
    if stats.refusals:
        found.append(f"Submissions refused: {stats.refusals}.")
    if stats.completed != len(SONGS):
        found.append(f"Songs made: only {stats.completed} of {len(SONGS)}.")
    if any(task["state"] not in OVER for task in tasks):
        found.append(f"The DAG run did not end within {RUN_TIMEOUT} s.")
    alike: dict[tuple[str, str | None], list[Task]] = defaultdict(list)
    for task in tasks:
        alike[task["task_id"], task["state"]].append(task)
    for (task_id, state), group in alike.items():
        if state == "failed":
            log = _log(logs, group[0])
            found += [f"{task_id}: {len(group)} failed. {_last_error(log)}", f"  Log: {log}"]
        elif state not in OVER:
            found.append(f"{task_id}: {len(group)} {state or 'not begun'}.")
    return found


def _log(logs: Path, task: Task) -> Path:
    folder = logs / f"task_id={task['task_id']}"
    if task["map_index"] >= 0:
        folder /= f"map_index={task['map_index']}"
    return folder / f"attempt={task['try_number']}.log"


def _last_error(log: Path) -> str:
    entries = log.read_text(encoding="utf-8").splitlines() if log.exists() else []
    causes = [json.loads(entry)["error_detail"][0] for entry in entries if '"error_detail":' in entry]
    return f"{causes[-1]['exc_type']}: {causes[-1]['exc_value']}" if causes else "It did not say why."
