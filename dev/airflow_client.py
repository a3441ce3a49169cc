"""A small client of Airflow's public REST API (v2), for the demo, the system tests and the benchmarks."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import requests

if TYPE_CHECKING:
    from collections.abc import Iterator

FINAL_STATES = frozenset({"success", "failed"})

_LOCKED_AT_MOST = 15.0  # seconds

# What a log entry starts with, what all entries of a task share, and where in Airflow's code they come from.
_NO_DETAILS = frozenset(
    {"timestamp", "level", "event", "dag_id", "run_id", "task_id", "map_index", "try_number", "ti_id"}
    | {"logger", "filename", "lineno"}
)


class AirflowApiError(RuntimeError):
    """
    Airflow refused a request.

    :param response: Airflow's answer.
    """

    def __init__(self, response: requests.Response) -> None:
        request = response.request
        super().__init__(f"{request.method} {request.url}: {response.status_code} {response.text[:2000]}")
        self.status = response.status_code


@dataclass(frozen=True)
class DagRun:
    """One run of a DAG."""

    dag_id: str
    run_id: str

    @property
    def path(self) -> str:
        """Where the REST API keeps the run."""
        return f"dags/{_quoted(self.dag_id)}/dagRuns/{_quoted(self.run_id)}"


class AirflowClient:
    """
    Speaks to one Airflow as one user.

    :param url: the address of Airflow's API server.
    :param username: who to log in as.
    :param password: that user's password.
    """

    def __init__(self, url: str, username: str, password: str) -> None:
        self.url = url.rstrip("/")
        self.username = username
        self.password = password
        self._session = requests.Session()
        # Neither a proxy nor a .netrc of the machine has a say in requests to loopback.
        self._session.trust_env = False

    def trigger(self, dag_id: str, conf: dict[str, Any] | None = None, *, timeout: float = 60) -> DagRun:
        """
        Start a run of a DAG, unpaused if need be.

        :param dag_id: the DAG.
        :param conf: the run's configuration.
        :param timeout: how long to wait until Airflow has parsed the DAG, in seconds.
        :return: the run, which has only just been queued.
        """
        self.await_dag(dag_id, timeout)
        path = f"dags/{_quoted(dag_id)}"
        self.request("PATCH", path, json={"is_paused": False})
        created = self.request("POST", f"{path}/dagRuns", json={"conf": conf or {}, "logical_date": None})
        return DagRun(dag_id, created["dag_run_id"])

    def await_dag(self, dag_id: str, timeout: float = 60) -> None:
        """
        Wait until Airflow has parsed a DAG.

        :param dag_id: the DAG.
        :param timeout: how long to wait, in seconds.
        """
        for _ in attempts(timeout):
            try:
                self.request("GET", f"dags/{_quoted(dag_id)}")
            except AirflowApiError as error:
                if error.status != requests.codes.not_found:
                    raise
            else:
                return
        broken = self.request("GET", "importErrors")["import_errors"]
        reasons = "\n".join(f"{error['filename']}: {error['stack_trace']}" for error in broken)
        raise TimeoutError(f"Airflow doesn't know the DAG {dag_id} after {timeout:g} s. {reasons}".strip())

    def wait(self, run: DagRun, timeout: float = 120) -> str:
        """
        Wait for the end of a run.

        :param run: the run.
        :param timeout: how long to wait, in seconds.
        :return: ``success`` or ``failed``.
        """
        for _ in attempts(timeout):
            state = self.state(run)
            if state in FINAL_STATES:
                return state
        raise TimeoutError(f"{run.dag_id} is still {state} after {timeout:g} s. {self._describe_tasks(run)}")

    def state(self, run: DagRun) -> str:
        """
        Look up the state of a run.

        :param run: the run.
        :return: ``queued``, ``running``, ``success`` or ``failed``.
        """
        state: str = self.request("GET", run.path)["state"]
        return state

    def task_instances(self, run: DagRun) -> list[dict[str, Any]]:
        """
        List a run's task instances.

        :param run: the run.
        :return: one dict per task instance, with ``task_id``, ``map_index``, ``state`` and the rest of
            what Airflow tells.
        """
        found: list[dict[str, Any]] = []
        while True:
            page = self.request("GET", f"{run.path}/taskInstances", params={"offset": len(found)})
            found += page["task_instances"]
            if not page["task_instances"] or len(found) >= page["total_entries"]:
                return found

    def mark_failed(self, run: DagRun, task_id: str, map_index: int = -1) -> None:
        """
        Mark a task instance as failed, as a person does in the UI.

        :param run: the run.
        :param task_id: the task.
        :param map_index: which instance of a mapped task.
        """
        path = f"{run.path}/taskInstances/{_quoted(task_id)}/{map_index}"
        self.request("PATCH", path, json={"new_state": "failed"})

    def clear(self, run: DagRun, task_id: str) -> None:
        """
        Clear a task, with all of its mapped instances, so that it runs once more.

        :param run: the run.
        :param task_id: the task.
        """
        wanted = {"dry_run": False, "dag_run_id": run.run_id, "task_ids": [task_id], "only_failed": False}
        self.request("POST", f"dags/{_quoted(run.dag_id)}/clearTaskInstances", json=wanted)

    def xcom(self, run: DagRun, task_id: str, key: str = "return_value", map_index: int = -1) -> Any:
        """
        Read a value that a task left.

        :param run: the run.
        :param task_id: the task.
        :param key: the name of the value.
        :param map_index: which instance of a mapped task.
        :return: the value.
        """
        path = f"{run.path}/taskInstances/{_quoted(task_id)}/xcomEntries/{_quoted(key)}"
        return self.request("GET", path, params={"map_index": map_index})["value"]

    def log(self, run: DagRun, task_id: str, map_index: int = -1, try_number: int = 1) -> str:
        """
        Read the log of one try of a task.

        :param run: the run.
        :param task_id: the task.
        :param map_index: which instance of a mapped task.
        :param try_number: which try, from 1.
        :return: one line per entry: its time, its level, its message and what else was logged with it.
        """
        path = f"{run.path}/taskInstances/{_quoted(task_id)}/logs/{try_number}"
        content = self.request("GET", path, params={"map_index": map_index, "full_content": True})["content"]
        return "\n".join(_as_line(entry) for entry in content)

    def create_connection(self, conn_id: str, conn_type: str, **fields: Any) -> None:
        """
        Store a connection in Airflow's database, in place of any of the same name.

        :param conn_id: the connection's name.
        :param conn_type: its type.
        :param fields: any of ``host``, ``port``, ``login``, ``password``, ``schema``, ``description`` and
            ``extra`` (a JSON string).
        """
        body = {"connection_id": conn_id, "conn_type": conn_type, **fields}
        try:
            self.request("POST", "connections", json=body)
        except AirflowApiError as error:
            if error.status != requests.codes.conflict:
                raise
            self.delete_connection(conn_id)
            self.request("POST", "connections", json=body)

    def change_connection(self, conn_id: str, **fields: Any) -> None:
        """
        Change some fields of a connection in Airflow's database, as its form does.

        :param conn_id: the connection's name.
        :param fields: any of those of :meth:`create_connection`.
        """
        path = f"connections/{_quoted(conn_id)}"
        body = {"connection_id": conn_id, "conn_type": self.connection(conn_id)["conn_type"], **fields}
        self.request("PATCH", path, params={"update_mask": [*fields]}, json=body)

    def connection(self, conn_id: str) -> dict[str, Any]:
        """
        Read a connection from Airflow's database.

        :param conn_id: the connection's name.
        :return: its fields, secrets masked.
        """
        found: dict[str, Any] = self.request("GET", f"connections/{_quoted(conn_id)}")
        return found

    def delete_connection(self, conn_id: str) -> None:
        """
        Remove a connection from Airflow's database.

        :param conn_id: the connection's name.
        """
        self.request("DELETE", f"connections/{_quoted(conn_id)}")

    def health(self) -> dict[str, Any]:
        """
        Ask how Airflow's components are.

        :return: the status of each component and when it was last heard of.
        """
        found: dict[str, Any] = self.request("GET", "monitor/health")
        return found

    def request(self, method: str, path: str, **options: Any) -> Any:
        """
        Send one request to the REST API.

        Airflow on sqlite answers 500 while another of its processes writes for long. It has rolled back then
        what was asked, so the request is sent again.

        :param method: the HTTP method.
        :param path: below ``/api/v2/``.
        :param options: whatever else ``requests`` is to be given.
        :return: the answer, parsed; None where there is none.
        """
        if "Authorization" not in self._session.headers:
            self._session.headers["Authorization"] = f"Bearer {self.token()}"
        for _ in attempts(_LOCKED_AT_MOST, interval=1):
            try:
                return self._send(method, f"/api/v2/{path}", **options)
            except AirflowApiError as error:
                if "Database error" not in str(error):
                    raise
                last = error
        raise last

    def token(self) -> str:
        """Log in, and return what proves it to Airflow."""
        credentials = {"username": self.username, "password": self.password}
        token: str = self._send("POST", "/auth/token", json=credentials)["access_token"]
        return token

    def _send(self, method: str, path: str, **options: Any) -> Any:
        response = self._session.request(method, self.url + path, timeout=30, **options)
        if not response.ok:
            raise AirflowApiError(response)
        return response.json() if response.content else None

    def _describe_tasks(self, run: DagRun) -> str:
        states = Counter((task["task_id"], task["state"]) for task in self.task_instances(run))
        return "Its tasks: " + ", ".join(
            f"{task_id} {state}" + (f" ({count} times)" if count > 1 else "")
            for (task_id, state), count in sorted(states.items(), key=str)
        )


def attempts(timeout: float, interval: float = 0.25) -> Iterator[None]:
    """
    Pace a loop that waits for something: at least one turn, and one more at the end of the time.

    :param timeout: how long to go on, in seconds.
    :param interval: the pause between two turns, in seconds.
    """
    deadline = time.monotonic() + timeout
    yield
    while time.monotonic() < deadline:
        time.sleep(interval)
        yield


def _quoted(part: str) -> str:
    return quote(part, safe="")


def _as_line(entry: dict[str, Any] | str) -> str:
    if isinstance(entry, str):
        return entry
    start = [str(entry[key]) for key in ("timestamp", "level", "event") if entry.get(key)]
    details = [f"{key}={value!r}" for key, value in entry.items() if key not in _NO_DETAILS]
    return " ".join(start + details)
