"""An Airflow as on several machines: with Celery workers and triggerers, as many as one likes."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import requests
from celery import Celery

from dev.airflow_client import AirflowApiError, attempts
from dev.airflow_stack import AIRFLOW, COMPONENTS, AirflowStack
from dev.processes import has_ended, interrupts_wait
from dev.servers import Postgres, Redis

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime


class AirflowCluster(AirflowStack):
    """
    A real Airflow with CeleryExecutor, PostgreSQL and Redis, that runs as long as the ``with`` block.

    Of workers and triggerers there are several: ``worker-1``, ``worker-2``, ``triggerer-1`` … Each can be
    killed and started by its name, also one that was not there at the beginning. Airflow's database knows
    them by it as well: it is the ``unixname`` of a triggerer's job, and of a task instance that a worker has
    begun.

    :param home: a folder for all that Airflow writes.
    :param dags_folder: where the DAGs are, inside of `home` or not.
    :param workers: how many Celery workers there are.
    :param worker_concurrency: how many tasks each of them runs at once.
    :param triggerers: how many triggerers there are at the beginning.
    :param env: more environment variables for Airflow, which win over those set here.
    :param start_timeout: how long migration and start may take in all, in seconds.
    """

    def __init__(
        self,
        home: Path | str,
        *,
        dags_folder: Path | str,
        workers: int = 2,
        worker_concurrency: int = 4,
        triggerers: int = 2,
        env: Mapping[str, str] | None = None,
        start_timeout: float = 180,
    ) -> None:
        self._postgres = Postgres()
        self._redis = Redis(Path(home).resolve())
        self._worker_concurrency = worker_concurrency
        database = self._postgres.url("postgresql+psycopg")
        settings = {
            "AIRFLOW__CORE__EXECUTOR": "CeleryExecutor",
            # One driver for both engines; by default the asynchronous one would take another.
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": database,
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN_ASYNC": database,
            "AIRFLOW__CELERY__BROKER_URL": self._redis.url,
            "AIRFLOW__CELERY__RESULT_BACKEND": f"db+{database}",
            # Twice what the workers run at once, so that the next task is there when one ends.
            "AIRFLOW__CORE__PARALLELISM": str(2 * workers * worker_concurrency),
            # A worker may state only at its next heartbeat that a task has ended, and is taken until then:
            # with the default, 5 s, most tasks took one for 5 s.
            "AIRFLOW__WORKERS__MIN_HEARTBEAT_INTERVAL": "1",
            # A turn of the scheduler's loop looks at all tasks of so many runs, not of 20, so that it comes
            # round to starting tasks more often.
            "AIRFLOW__SCHEDULER__MAX_DAGRUNS_PER_LOOP_TO_SCHEDULE": "3",
            # Turns that find nothing to do take CPU time from the workers.
            "AIRFLOW__SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "0.5",
        }
        super().__init__(
            home, dags_folder=dags_folder, env={**settings, **(env or {})}, start_timeout=start_timeout
        )
        several = {"worker": workers, "triggerer": triggerers}
        self.components = (
            *(name for name in COMPONENTS if name not in several),
            *(f"{kind}-{number + 1}" for kind, count in several.items() for number in range(count)),
        )

    def query(self, sql: str, *parameters: Any) -> list[tuple[Any, ...]]:
        """
        Ask Airflow's database.

        :param sql: a SELECT.
        :param parameters: the values of its question marks.
        """
        with closing(self._postgres.connect()) as connection:
            return connection.execute(sql.replace("?", "%s"), parameters).fetchall()

    def _start(self) -> None:
        self.home.mkdir(parents=True, exist_ok=True)
        for server in (self._postgres, self._redis):
            self._run(server.name, *server.prepare())
            self._await_server(server)
        super()._start()

    def _await_server(self, server: Postgres | Redis) -> None:
        for _ in attempts(30):
            if server.answers():
                return
            if has_ended(self._running[server.name]):
                break
        raise RuntimeError(f"{server.name} does not answer. {self._last_words(server.name)}")

    def _launch(self, name: str) -> None:
        kind = name.rstrip("0123456789").removesuffix("-")
        command = self._worker(name) if kind == "worker" else COMPONENTS[kind]
        self._run(name, *AIRFLOW, *command, LOGNAME=name)

    def _worker(self, name: str) -> tuple[str, ...]:
        options = ("--skip-serve-logs", "--without-mingle", "--without-gossip")
        concurrency = str(self._worker_concurrency)
        return ("celery", "worker", "--celery-hostname", name, "--concurrency", concurrency, *options)

    def _alive(self, since: datetime) -> set[str]:
        beats = self.query("SELECT unixname FROM job WHERE latest_heartbeat >= ?", since)
        alive = {name for (name,) in beats} | self._answering_workers()
        try:
            self.health()
        except (requests.RequestException, AirflowApiError):
            return alive
        return alive | {"api-server"}

    def _answering_workers(self) -> set[str]:
        with Celery(broker=self._redis.url) as app:
            answers = app.control.ping(timeout=0.5)
        return {node.removeprefix("celery@") for answer in answers for node in answer}

    def _stop(self) -> None:
        with interrupts_wait():
            database = self._running.pop(self._postgres.name, None)
            try:
                super()._stop()
            finally:
                if database:
                    self._postgres.end(database)
                self._postgres.forget()
