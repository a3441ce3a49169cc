"""PostgreSQL and Redis for one test: how to start them on loopback, and how to end them without a trace."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import subprocess
import tempfile
from contextlib import suppress
from pathlib import Path

import psycopg
import redis

from dev.airflow_stack import free_port
from dev.processes import kill

_DATABASE_USER = "airflow"


def _program(name: str) -> str | None:
    # Debian keeps the server's programs out of the path, in a folder for each version.
    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return shutil.which(name, path=os.pathsep.join([os.environ.get("PATH", os.defpath), *map(str, debian)]))


PROGRAMS = {name: _program(name) for name in ("initdb", "postgres", "redis-server")}
"""Where the programs are that the servers need; None for one that is not installed."""


class Postgres:
    """A PostgreSQL server with an empty database, in a folder of its own."""

    name = "postgres"

    def __init__(self) -> None:
        self._port = free_port()
        self._password = secrets.token_urlsafe(12)
        self._folder: tempfile.TemporaryDirectory[str] | None = None

    def url(self, scheme: str = "postgresql") -> str:
        """
        Return its address.

        :param scheme: what the address begins with; SQLAlchemy wants the driver named there.
        """
        return f"{scheme}://{_DATABASE_USER}:{self._password}@127.0.0.1:{self._port}/postgres"

    def prepare(self) -> list[str]:
        """
        Make an empty database.

        :return: the command that starts the server.
        """
        # Not below the test's folder: that is closed to the user "postgres".
        self._folder = tempfile.TemporaryDirectory(prefix="airflow-postgres-")
        folder = Path(self._folder.name)
        password = folder / "password"
        password.write_text(self._password, encoding="utf-8")
        if os.geteuid() == 0:
            shutil.chown(folder, "postgres", "postgres")
            shutil.chown(password, "postgres", "postgres")
        initdb = [f"--pgdata={folder}/data", f"--username={_DATABASE_USER}", f"--pwfile={password}"]
        initdb += ["--auth=scram-sha-256", "--encoding=UTF8", "--locale=C", "--no-sync"]
        command = _as_postgres("initdb", *initdb)
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60, check=False)
        if done.returncode:
            raise RuntimeError(f"PostgreSQL can't be set up. {done.stdout[-2000:]}{done.stderr[-2000:]}")
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": self._port,
            "unix_socket_directories": "",
            # What is in there need not outlive the machine, or even the server.
            "fsync": "off",
            "synchronous_commit": "off",
            "full_page_writes": "off",
            # Every component of Airflow keeps up to 15 connections.
            "max_connections": 200,
            # In its folder, not in /dev/shm.
            "dynamic_shared_memory_type": "mmap",
        }
        options = [f"--{name}={value}" for name, value in settings.items()]
        return _as_postgres("postgres", "-D", f"{folder}/data", *options)

    def answers(self) -> bool:
        """Tell whether it is ready."""
        with suppress(psycopg.OperationalError), self.connect():
            return True
        return False

    def connect(self) -> psycopg.Connection[tuple[object, ...]]:
        """Return a connection that can only read."""
        read_only = "-c default_transaction_read_only=on"
        return psycopg.connect(self.url(), options=read_only, connect_timeout=5)

    def end(self, process: subprocess.Popen[bytes]) -> None:
        """
        End the server, and remove its folder.

        :param process: what its command became.
        """
        # Killed, it would leave behind a piece of shared memory.
        process.send_signal(signal.SIGQUIT)
        with suppress(subprocess.TimeoutExpired):
            process.wait(timeout=10)
        kill([process])
        self.forget()

    def forget(self) -> None:
        """Remove its folder."""
        if self._folder:
            self._folder.cleanup()


class Redis:
    """
    A Redis server that keeps nothing.

    :param home: the folder for its settings.
    """

    name = "redis"

    def __init__(self, home: Path) -> None:
        self._port = free_port()
        self._password = secrets.token_urlsafe(12)
        self._settings = home / "redis.conf"

    @property
    def url(self) -> str:
        """Its address."""
        return f"redis://:{self._password}@127.0.0.1:{self._port}/0"

    def prepare(self) -> list[str]:
        """Write its settings, and return the command that starts the server."""
        settings = ["bind 127.0.0.1", f"port {self._port}", f"requirepass {self._password}", 'save ""']
        self._settings.write_text("\n".join(settings) + "\n", encoding="utf-8")
        return [str(PROGRAMS["redis-server"]), str(self._settings)]

    def answers(self) -> bool:
        """Tell whether it is ready."""
        with suppress(redis.ConnectionError), redis.Redis.from_url(self.url) as client:
            return bool(client.ping())
        return False


def _as_postgres(program: str, *arguments: str) -> list[str]:
    """Return a command as somebody else than root, for whom PostgreSQL does not work."""
    user = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"] if os.geteuid() == 0 else []
    return [*user, str(PROGRAMS[program]), *arguments]
