"""The emulator in a process of its own, full of other clients' jobs until it is told otherwise."""

from __future__ import annotations

import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import requests

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_TOKEN = "user:1234-abcDEF"
_ROOT = Path(__file__).parents[1]


class Service:
    """
    The emulator, and others who take its slots.

    :param url: its address.
    :param slots: how many slots it has.
    """

    def __init__(self, url: str, slots: int) -> None:
        self.url = url
        self._slots = slots
        self._session = requests.Session()
        self._session.trust_env = False
        self._session.headers["Authorization"] = f"Bearer {_TOKEN}"

    def readings(self) -> int:
        """Return how many readings were asked for, since it began or was freed."""
        return int(self.stats()["requests_by_endpoint"]["capacity"])

    def stats(self) -> dict[str, Any]:
        """Return what the emulator has counted since it began or was freed."""
        stats: dict[str, Any] = self._ask("GET", "emulator/stats").json()
        return stats

    def jobs(self) -> list[dict[str, Any]]:
        """Return all jobs since it began or was freed, in the order in which they took their slots."""
        jobs: list[dict[str, Any]] = self._ask("GET", "emulator/jobs").json()
        return jobs

    def connection(self, **extra: Any) -> dict[str, Any]:
        """Return what leads Airflow to it: a connection, with these extra fields."""
        return {"conn_type": "riffusion", "host": self.url, "password": _TOKEN, "extra": extra}

    def http_connection(self) -> dict[str, Any]:
        """Return what leads providers-http to it."""
        return {"conn_type": "http", "host": self.url, "extra": {"Authorization": f"Bearer {_TOKEN}"}}

    def free_all(self) -> None:
        """Free all slots, and count from 0 again."""
        self._ask("POST", "emulator/reset")

    def fill(self, grant_ids: Sequence[str] = ()) -> None:
        """
        Take all slots, all of which must be free.

        :param grant_ids: submit a job for each of these grants; the slots that are left get others' jobs.
        """
        references = [{"replyRef": grant_id} for grant_id in grant_ids]
        for reference in references + [{}] * (self._slots - len(references)):
            self._ask("POST", "v1/riffusion/music/create-prompt", json={"prompt": "a song", **reference})

    def _ask(self, method: str, endpoint: str, **arguments: Any) -> requests.Response:
        answer = self._session.request(method, f"{self.url}/{endpoint}", timeout=30, **arguments)
        answer.raise_for_status()
        return answer


@contextmanager
def emulator(
    slots: int, job_seconds: float = 86400, *, service: str = "riffusion", max_jobs: int = 10
) -> Iterator[Service]:
    """
    Run the emulator.

    :param slots: how many slots it has at least.
    :param job_seconds: how long a job executes.
    :param service: which service it plays.
    :param max_jobs: the slots of each account.
    """
    accounts = -(-slots // max_jobs)
    command = [
        sys.executable,
        "-m",
        "airflow_riffusion.emulator",
        "--port=0",
        f"--service={service}",
        f"--job-seconds={job_seconds:g}",
        f"--accounts={accounts}",
        f"--max-jobs={max_jobs}",
    ]
    with subprocess.Popen(command, cwd=_ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            ready = process.stdout.readline().partition("ready on ")[2]
            if not ready:
                raise RuntimeError("the emulator did not start")
            yield Service(ready.split()[0], accounts * max_jobs)
        finally:
            process.kill()
