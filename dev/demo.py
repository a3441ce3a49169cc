"""``make demo``: 8 songs of two DAGs wait for 4 job slots, in a real Airflow, against the emulator."""

from __future__ import annotations

import argparse
import fcntl
import shutil
import signal
import sys
import time
from collections import Counter
from contextlib import contextmanager, suppress
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from dev.demo_story import (
    ACCOUNTS,
    OVER,
    RUN_TIMEOUT,
    SLOTS,
    WAYS,
    Event,
    Task,
    album,
    event_text,
    happenings,
    missing_files,
    order_text,
    shortcomings,
    song_of,
    summary,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from airflow_riffusion.emulator import EmulatorServer
    from dev.airflow_client import DagRun
    from dev.airflow_stack import AirflowStack

# Longer than the DAGs' poke_interval of 5 s, or a job could come and go unseen and leave its slot held; and
# not all the same, so that slots become free one after another.
JOB_SECONDS = (7, 8, 9, 10)

# Where Airflow's UI shows the capacity page. Not asked of the plugin, which would import all of Airflow.
CAPACITY_PAGE = "/plugin/riffusion-capacity"

REPOSITORY = Path(__file__).parents[1]
MARKER = ".airflow-riffusion-demo"


def main(arguments: Sequence[str] | None = None) -> int:
    """
    Run the demo.

    :param arguments: the command line's, without the program's name; by default this process's.
    :return: the exit code: 0 only if all songs were made and no submission was refused.
    """
    options = _parser().parse_args(arguments)
    _let_signals_unwind()
    try:
        with own_folder(options.home) as home:
            return _make_songs(home, keep=options.keep)
    except SystemExit:
        print("Ended early: Airflow and the emulator are gone.", file=sys.stderr)
        raise
    except (OSError, RuntimeError) as error:
        print(f"The demo can't start: {error}", file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m dev.demo", description=__doc__, allow_abbrev=False)
    option = parser.add_argument
    default = REPOSITORY / ".work" / "demo"
    option("--home", type=Path, default=default, metavar="DIR", help="where to write to (.work/demo)")
    option("--keep", action="store_true", help="leave Airflow and the emulator up, until Ctrl-C")
    return parser


def _let_signals_unwind() -> None:
    """Let signals end the demo by way of every clean-up."""

    def unwind(number: int, _frame: object) -> NoReturn:
        raise SystemExit(128 + number)

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, unwind)


@contextmanager
def own_folder(path: Path) -> Iterator[Path]:
    """
    Provide an empty folder, and keep other demos out of it.

    :param path: where it shall be. What an earlier demo left there is deleted; nothing else ever is.
    :return: its full path.
    """
    home = path.resolve()
    marker = home / MARKER
    if home.is_dir() and any(home.iterdir()) and not marker.is_file():
        raise RuntimeError(f"{home} is not empty, and no earlier demo's. Choose another folder with --home.")
    home.mkdir(parents=True, exist_ok=True)
    with marker.open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RuntimeError(f"a demo runs in {home} already. Choose another folder with --home.") from None
        for entry in home.iterdir():
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry)
            elif entry != marker:
                entry.unlink()
        yield home


def _make_songs(home: Path, *, keep: bool) -> int:
    """Show how the songs are made; return the exit code."""
    story = _Story()
    story.tell("Airflow is starting, which takes half a minute or so")
    # Late, since these imports take a second, in which Ctrl-C would end in a traceback.
    from airflow_riffusion.emulator import EmulatorServer
    from dev.airflow_stack import AirflowStack

    emulator = EmulatorServer(accounts=ACCOUNTS, job_seconds=cycle(JOB_SECONDS).__next__)
    try:
        with emulator:
            connection = {"conn_type": "riffusion", "host": emulator.url, "password": "user:1234-demo"}
            airflow = AirflowStack(
                home, dags_folder=REPOSITORY / "example_dags", connections={"riffusion_default": connection}
            )
            with airflow:
                problems = _run_dags(airflow, emulator, story)
                _complain(problems, home)
                if keep:
                    _stay_up(airflow, emulator)
    except (OSError, RuntimeError) as error:
        problems = [str(error)]
        _complain(problems, home)
    return 1 if problems else 0


def _run_dags(airflow: AirflowStack, emulator: EmulatorServer, story: _Story) -> list[str]:
    """Run the DAGs side by side, tell their story and print its result; return what went wrong."""
    story.tell(f"Airflow and the emulator are up: {len(ACCOUNTS)} accounts with 2 slots each, all free")
    folder = airflow.home / "album"
    look = _Look(
        airflow,
        [airflow.trigger(way.dag_id, {"prompts": way.songs, "folder": folder.as_uri()}) for way in WAYS],
    )
    story.tell(order_text())
    _follow(look, emulator, story)
    stats = emulator.service.stats()
    print(f"\n{summary(stats, story.seconds)}", flush=True)
    found = shortcomings(look.tasks, look.states, stats, airflow.home / "airflow" / "logs")
    found += missing_files(folder)
    if not found:
        print(f"\n{album(folder)}", flush=True)
    return found


def _complain(problems: Sequence[str], home: Path) -> None:
    if problems:
        print("\nThe demo failed.", *problems, f"All logs: {home}", sep="\n", file=sys.stderr)


class _Story:
    """Prints what happens, as it happens."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._told: set[Event] = set()

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._began

    @property
    def free(self) -> int:
        kinds = Counter(event.kind for event in self._told)
        return SLOTS - kinds["submitted"] + kinds["done"] + kinds["cancelled"]

    def tell(self, text: str) -> None:
        print(f"{self.seconds:3.0f} s  {text}", flush=True)

    def tell_new(self, events: Iterable[Event]) -> None:
        for event in events:
            if event not in self._told:
                self._told.add(event)
                self.tell(event_text(event, self.free))


class _Look:
    """What Airflow says of the DAG runs."""

    def __init__(self, airflow: AirflowStack, runs: Sequence[DagRun]) -> None:
        self._airflow = airflow
        self._runs = runs
        self._tasks: dict[str, list[Task]] = {}
        self.states = dict.fromkeys((run.dag_id for run in runs), "queued")
        self.xcoms: dict[str, Any] = {}

    @property
    def tasks(self) -> list[Task]:
        return [task for tasks in self._tasks.values() for task in tasks]

    @property
    def over(self) -> bool:
        return OVER.issuperset(self.states.values())

    def again(self) -> None:
        """Ask anew about the runs that were not over."""
        for run in self._runs:
            if self.states[run.dag_id] not in OVER:
                # The state first: then the tasks, asked later, are over if the run is.
                self.states[run.dag_id] = self._airflow.state(run)
                self._tasks[run.dag_id] = self._airflow.task_instances(run)
                self._read_xcoms(run)

    def _read_xcoms(self, run: DagRun) -> None:
        waiting = {way.task_id for way in WAYS}
        for task in self._tasks[run.dag_id]:
            if task["task_id"] in waiting and task["state"] == "success" and song_of(task) not in self.xcoms:
                found = self._airflow.xcom(run, task["task_id"], map_index=task["map_index"])
                self.xcoms[song_of(task)] = found


def _follow(look: _Look, emulator: EmulatorServer, story: _Story) -> None:
    """Tell the story until the DAG runs and all jobs have ended."""
    from dev.airflow_client import attempts

    for _ in attempts(RUN_TIMEOUT, interval=1):
        # Jobs first: then Airflow, asked later, knows of every grant that led to one.
        jobs = emulator.service.jobs()
        look.again()
        story.tell_new(happenings(look.tasks, look.xcoms, jobs))
        if look.over and all(job.ended for job in jobs):
            break


def _stay_up(airflow: AirflowStack, emulator: EmulatorServer) -> None:
    with suppress(SystemExit):
        print("\nAirflow and the emulator stay up until Ctrl-C.")
        print(f"Airflow        {airflow.url}  (user {airflow.username}, password {airflow.password})")
        print(f"Capacity page  {airflow.url}{CAPACITY_PAGE}")
        print(f"Emulator       {emulator.url}", flush=True)
        signal.pause()


if __name__ == "__main__":
    sys.exit(main())
