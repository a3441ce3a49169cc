"""A real Airflow of its own: started under one folder, driven over its REST API, ended without a trace."""

from __future__ import annotations

import atexit
import base64
import json
import os
import random
import secrets
import socket
import sqlite3
import subprocess
import sys
import time
from contextlib import ExitStack, closing, suppress
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import requests

from dev.airflow_client import AirflowApiError, AirflowClient, attempts
from dev.processes import has_ended, interrupts_unwind, interrupts_wait, kill, resume, suspend

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

# -P: a folder named "airflow" in the working directory is not taken for Airflow.
AIRFLOW = (sys.executable, "-P", "-m", "airflow")

AIRFLOW_2 = version("apache-airflow").startswith("2.")

COMPONENTS = {
    "api-server": ("api-server",),
    # Log servers would listen on every network interface, and the API server reads the files by itself.
    "scheduler": ("scheduler", "--skip-serve-logs"),
    "dag-processor": ("dag-processor",),
    "triggerer": ("triggerer", "--skip-serve-logs"),
}
if AIRFLOW_2:  # whose scheduler parses DAGs, and whose tasks need no API server
    del COMPONENTS["api-server"], COMPONENTS["dag-processor"]


class AirflowStack(AirflowClient):
    """
    A real Airflow that runs as long as the ``with`` block.

    API server, scheduler, DAG processor and triggerer are processes of their own, of this interpreter's
    Airflow, with a LocalExecutor and sqlite. What each of them prints is in ``<component>.log`` under `home`.

    An Airflow 2 has neither API server nor DAG processor, and one worker: only :meth:`cli` and
    :meth:`query` reach it.

    :param home: a folder for all that Airflow writes; one that has served another stack is refused.
    :param dags_folder: where the DAGs are, inside of `home` or not.
    :param connections: connections by name, each a dict as in Airflow's JSON format. Airflow gets them as
        environment variables; :meth:`create_connection` stores one in the database.
    :param roles: more users, by name, each with a role such as ``viewer``. They have the admin's password.
    :param env: more environment variables for Airflow, which win over those set here.
    :param start_timeout: how long migration and start may take in all, in seconds.
    """

    def __init__(
        self,
        home: Path | str,
        *,
        dags_folder: Path | str,
        connections: Mapping[str, Mapping[str, Any]] | None = None,
        roles: Mapping[str, str] | None = None,
        env: Mapping[str, str] | None = None,
        start_timeout: float = 180,
    ) -> None:
        port = free_port()
        super().__init__(f"http://127.0.0.1:{port}", "admin", secrets.token_urlsafe(12))
        self.home = Path(home).resolve()
        self.start_timeout = start_timeout
        self.components: Collection[str] = COMPONENTS.keys()
        self.roles = {self.username: "admin", **(roles or {})}
        self.env = {
            **_environment_without_airflow(),
            **_settings(self.home / "airflow", Path(dags_folder).resolve(), self.roles, port),
            **{
                f"AIRFLOW_CONN_{name.upper()}": json.dumps(each) for name, each in (connections or {}).items()
            },
            **(env or {}),
        }
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._at_end = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as at_end:
            at_end.enter_context(interrupts_unwind())
            # For a Ctrl-C in the moment between here and the with block.
            atexit.register(self._stop)
            at_end.callback(atexit.unregister, self._stop)
            at_end.callback(self._stop)
            self._start()
            self._at_end = at_end.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._at_end.close()

    def kill(self, name: str) -> None:
        """
        Kill a component and all that it started, at once, as if its machine had lost power.

        :param name: one of ``components``.
        """
        kill([self._running[name]])
        del self._running[name]

    def suspend(self, name: str) -> None:
        """
        Stop a component, as if its machine stalled.

        :param name: one of ``components``.
        """
        suspend(self._running[name])

    def resume(self, name: str) -> None:
        """
        Let a component go on that was stopped.

        :param name: one of ``components``.
        """
        resume(self._running[name])

    def start(self, name: str, timeout: float = 60) -> None:
        """
        Start a component that was killed.

        :param name: one of ``components``.
        :param timeout: how long to wait for its first sign of life, in seconds.
        """
        if name in self._running:
            raise RuntimeError(f"Airflow's {name} is running already")
        began = datetime.now(UTC)
        self._launch(name)
        self._await_life([name], began, timeout)

    def cli(self, *arguments: str, timeout: float = 60) -> subprocess.CompletedProcess[str]:
        """
        Run an ``airflow`` command with this Airflow's settings.

        :param arguments: such as ``"connections", "list"``.
        :param timeout: how long it may take, in seconds.
        :return: its exit code, and what it printed as ``stdout`` and ``stderr``.
        """
        return subprocess.run(
            [*AIRFLOW, *arguments],
            env=self.env,
            cwd=self.home,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    def query(self, sql: str, *parameters: Any) -> list[tuple[Any, ...]]:
        """
        Ask Airflow's database.

        :param sql: a SELECT.
        :param parameters: the values of its question marks.
        """
        database = Path(self.env["AIRFLOW_HOME"]) / "airflow.db"
        with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
            return connection.execute(sql, parameters).fetchall()

    def _start(self) -> None:
        Path(self.env["AIRFLOW_HOME"]).mkdir(parents=True, mode=0o700)
        passwords = Path(self.env["AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE"])
        passwords.write_text(json.dumps(dict.fromkeys(self.roles, self.password)), encoding="utf-8")

        deadline = time.monotonic() + self.start_timeout
        self._migrate(self.start_timeout)
        began = datetime.now(UTC)
        for name in self.components:
            self._launch(name)
        self._await_life(self.components, began, deadline - time.monotonic())
        if not AIRFLOW_2:
            # The tasks' API is built when it is first asked, which takes 4 s; not at a task's expense.
            self._send("GET", "/execution/health")

    def _migrate(self, timeout: float) -> None:
        migration = self._run("db", *AIRFLOW, "db", "migrate")
        for _ in attempts(timeout):
            if has_ended(migration):
                break
        else:
            raise TimeoutError(f"Airflow has no database after {timeout:g} s. {self._last_words('db')}")
        if self._running.pop("db").wait():
            raise RuntimeError(f"Airflow's database can't be set up. {self._last_words('db')}")

    def _launch(self, name: str) -> None:
        self._run(name, *AIRFLOW, *COMPONENTS[name])

    def _run(self, name: str, *command: str, **env: str) -> subprocess.Popen[bytes]:
        with interrupts_wait(), self._output(name).open("ab") as output:
            self._running[name] = subprocess.Popen(
                command,
                env={**self.env, **env},
                cwd=self.home,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                # Out of reach of the terminal's Ctrl-C, and what it starts is known by its session.
                start_new_session=True,
            )
        return self._running[name]

    def _await_life(self, names: Collection[str], since: datetime, timeout: float) -> None:
        silent = set(names)
        for _ in attempts(timeout):
            silent -= self._alive(since)
            if not silent:
                return
            for name in names:
                if has_ended(self._running[name]):
                    raise RuntimeError(f"Airflow's {name} ended while starting. {self._last_words(name)}")
        reports = "\n".join(self._last_words(name) for name in sorted(silent))
        raise TimeoutError(f"No sign of life from Airflow's {', '.join(sorted(silent))}.\n{reports}")

    def _alive(self, since: datetime) -> set[str]:
        if AIRFLOW_2:
            beats = self.query("SELECT job_type FROM job WHERE latest_heartbeat >= ?", since.isoformat(" "))
            return {job_type.removesuffix("Job").lower() for (job_type,) in beats}
        try:
            health = self.health()
        except (requests.RequestException, AirflowApiError):
            return set()
        alive = {"api-server"}
        for name in COMPONENTS.keys() - alive:
            key = name.replace("-", "_")
            heartbeat = health[key][f"latest_{key}_heartbeat"]
            if heartbeat and datetime.fromisoformat(heartbeat) >= since:
                alive.add(name)
        return alive

    def _output(self, name: str) -> Path:
        return self.home / f"{name}.log"

    def _last_words(self, name: str) -> str:
        lines = self._output(name).read_text(encoding="utf-8", errors="replace").splitlines()
        return "\n".join([f"The end of {self._output(name)}:", *lines[-30:]])

    def _stop(self) -> None:
        kill(self._running.values())
        self._running.clear()


def _environment_without_airflow() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW", "_AIRFLOW"))}
    # Without bytecode files each of the processes compiles the same 1,500 modules: 28 s to start, not 16 s.
    kept.pop("PYTHONDONTWRITEBYTECODE", None)
    return kept


def _settings(airflow_home: Path, dags_folder: Path, roles: Mapping[str, str], port: int) -> dict[str, str]:
    users = ",".join(f"{name}:{role}" for name, role in roles.items())
    return {
        "AIRFLOW_HOME": str(airflow_home),
        # Airflow 2 starts its tasks by the name "airflow".
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]),
        "AIRFLOW__CORE__DAGS_FOLDER": str(dags_folder),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__TEST_CONNECTION": "Enabled",
        "AIRFLOW__CORE__EXECUTOR": "SequentialExecutor" if AIRFLOW_2 else "LocalExecutor",
        # The default of 32 means 32 processes from the start.
        "AIRFLOW__CORE__PARALLELISM": "8",
        # The default asks DNS for the machine's full name, which takes long where there is no network.
        "AIRFLOW__CORE__HOSTNAME_CALLABLE": "socket.gethostname",
        "AIRFLOW__CORE__FERNET_KEY": base64.urlsafe_b64encode(secrets.token_bytes(32)).decode(),
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": users,
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(airflow_home / "passwords.json"),
        "AIRFLOW__API__HOST": "127.0.0.1",
        "AIRFLOW__API__PORT": str(port),
        # Where tasks and triggers find the API server.
        "AIRFLOW__API__BASE_URL": f"http://127.0.0.1:{port}",
        "AIRFLOW__API__SECRET_KEY": secrets.token_urlsafe(32),
        # HS512 wants 64 bytes.
        "AIRFLOW__API_AUTH__JWT_SECRET": secrets.token_urlsafe(64),
        # A new DAG file is seen after seconds, not after 5 minutes.
        "AIRFLOW__DAG_PROCESSOR__REFRESH_INTERVAL": "2",
        "AIRFLOW__DAG_PROCESSOR__BUNDLE_REFRESH_CHECK_INTERVAL": "1",
        # A changed file is parsed at once in any case; parsing the others again only takes CPU time.
        "AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "300",
        # The pause between two steps of a run, where the default is 1 s.
        "AIRFLOW__SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "0.2",
        # Airflow talks to itself over loopback, which a proxy in the environment would break.
        "NO_PROXY": "127.0.0.1,localhost",
        "no_proxy": "127.0.0.1,localhost",
        "PYTHONUNBUFFERED": "1",
    }


def free_port() -> int:
    """Return a port below those that the kernel gives away by itself: no other server gets it meanwhile."""
    for _ in range(100):
        port = random.randrange(20_000, 32_768)
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port
    raise RuntimeError("no port from 20000 to 32767 is free")
