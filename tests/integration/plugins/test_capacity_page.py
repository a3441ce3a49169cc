"""The capacity page as Airflow's API server has it, with the emulator behind it, but without a database."""

from __future__ import annotations

import json
import re
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest

from airflow_riffusion.compat import HAS_PAGES_OF_PLUGINS

if not HAS_PAGES_OF_PLUGINS:
    pytest.skip("needs Airflow 3.1", allow_module_level=True)

from airflow.api_fastapi.app import create_auth_manager
from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity
from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser
from airflow.api_fastapi.core_api.security import get_user
from airflow.models import DagModel
from fastapi.routing import APIRoute
from starlette.testclient import TestClient

from airflow_riffusion.compat import CAN_LIST_VARIABLES
from airflow_riffusion.core.peers import HeldSlots, PeerState
from airflow_riffusion.emulator import EmulatorServer
from airflow_riffusion.emulator.dialects import ACCOUNT_SECRET
from airflow_riffusion.emulator.faults import Fault
from airflow_riffusion.gate.peer_store import peer_key_prefix
from airflow_riffusion.plugins.capacity_page import PageOnDemand
from airflow_riffusion.plugins.page.app import MEDIA_TYPES, create_app
from airflow_riffusion.plugins.page.database import Tables
from airflow_riffusion.plugins.page.document import Tasks, WaitingTask
from airflow_riffusion.plugins.page.views import ConnectionViews
from airflow_riffusion.services import SERVICES

CONN_ID = "riffusion_test"
TIMEOUT = 30.0  # seconds: a thread of a busy machine may take its time
SCRIPT = "<script>alert(1)</script>"
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'self'"
    ),
    "Cache-Control": "no-store",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
}
PATHS = ("/", "/cards", *(f"/{name}" for name in MEDIA_TYPES))


@pytest.fixture(autouse=True)
def auth_manager():
    """Return Airflow's simple one, which needs no database."""
    return create_auth_manager()


@pytest.fixture
def service(request):
    return getattr(request, "param", "riffusion")


@pytest.fixture
def emulator(service):
    with EmulatorServer(
        service=service, accounts={"alice": 2, "bob": 2}, job_seconds=600, token="user:1234-abcDEF"
    ) as emulator:
        yield emulator


@pytest.fixture
def tables(emulator, connect, service):
    """Return a list whose last item is what Airflow's database says."""
    extra = {"service": service, "max_jobs": 2}
    return [Tables(conn_ids=(connect(emulator.url, conn_id=CONN_ID, extra=extra),))]


@pytest.fixture
def clock():
    return time.monotonic


@pytest.fixture
def client(tables, clock):
    """Return a function that logs a role in; all roles use the same page."""
    app = create_app(ConnectionViews(lambda: tables[-1], clock, TIMEOUT))
    with TestClient(app) as client:

        def as_role(role: str | None) -> TestClient:
            app.dependency_overrides.clear()
            if role is not None:
                user = SimpleAuthManagerUser(username="a_user", role=role)
                app.dependency_overrides[get_user] = lambda: user
            return client

        yield as_role


def card(client: TestClient) -> dict:
    (card,) = client.get("/cards").json()["cards"]
    return card


def test_app_has_only_the_tested_paths(tables):
    routes = create_app(ConnectionViews(lambda: tables[-1])).routes

    assert {route.path for route in routes if isinstance(route, APIRoute)} == {"/", "/cards", "/{name}"}
    assert len(routes) == 3


@pytest.mark.parametrize("service", SERVICES, indirect=True)
def test_cards_show_the_slots_and_jobs_of_each_service(client, emulator, service):
    emulator.service.submit("polka on the moon", user_id="alice")

    shown = card(client("admin"))

    assert (shown["service"], shown["slots"]["slots"], shown["slots"]["executing"]) == (service, 4, 1)
    assert [job["account"] for job in shown["jobs"]] == ["alice"]


@pytest.mark.parametrize("path", [*PATHS, "/unknown.js"])
def test_app_without_a_login_answers_401(client, path):
    assert client(None).get(path).status_code == 401


@pytest.mark.parametrize("path", [*PATHS, "/unknown.js"])
@pytest.mark.parametrize("role", ["viewer", "user"])
def test_app_without_permission_to_read_connections_answers_403(client, emulator, path, role):
    assert client(role).get(path).status_code == 403
    assert emulator.service.stats().requests == 0


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("role", ["op", "admin"])
def test_app_with_permission_to_read_connections_serves_the_page(client, path, role):
    answer = client(role).get(path)

    assert answer.status_code == 200
    assert {name: answer.headers[name] for name in HEADERS} == HEADERS
    assert answer.headers["Content-Type"].split(";")[0] == MEDIA_TYPES.get(
        path[1:], "text/html" if path == "/" else "application/json"
    )


@pytest.mark.parametrize(
    ("role", "reason"), [(None, "not logged in"), ("viewer", "who may read connections")]
)
def test_app_refused_browser_gets_a_page_with_the_reason(client, role, reason):
    answer = client(role).get("/", headers={"Accept": "text/html,*/*"})

    assert answer.status_code == (403 if role else 401)
    assert reason in answer.text
    assert re.fullmatch(
        r"default-src 'none'; style-src 'sha256-[A-Za-z0-9+/]{43}='; frame-ancestors 'self'",
        answer.headers["Content-Security-Policy"],
    )
    assert answer.headers["Cache-Control"] == "no-store"


def test_app_other_paths_and_methods_are_refused(client):
    admin = client("admin")

    assert admin.get("/page.html").status_code == 404
    assert admin.get("/..%2fapp.py").status_code == 404
    assert admin.get("/docs").status_code == 404
    assert admin.post("/cards").status_code == 405


def test_cards_unreadable_connection_is_left_out(client, tables, auth_manager, monkeypatch):
    tables.append(Tables(conn_ids=(CONN_ID, "secret")))
    allowed = auth_manager.is_authorized_connection
    monkeypatch.setattr(
        auth_manager,
        "is_authorized_connection",
        lambda *, method, user, details: details.conn_id != "secret" and allowed(method=method, user=user),
        raising=False,
    )

    answer = client("admin").get("/cards")

    assert [card["connection_id"] for card in answer.json()["cards"]] == [CONN_ID]
    assert "secret" not in answer.text


def test_cards_show_slots_and_jobs_of_the_service(client, emulator):
    emulator.service.submit("a song", user_id="alice", reply_ref="songs/1/song/0")

    shown = card(client("admin"))

    assert shown["error"] is None
    assert (shown["slots"]["executing"], shown["slots"]["free"]) == (1, 3)
    assert [(job["account"], job["reference"]) for job in shown["jobs"]] == [("alice", "songs/1/song/0")]


@pytest.mark.skipif(not CAN_LIST_VARIABLES, reason="needs Airflow 3.3")
def test_cards_full_accounts_that_the_service_does_not_list_are_shown_as_full(client, connect, tables):
    with EmulatorServer(
        accounts={"alice": 2, "bob": 2}, job_seconds=600, hide_full_accounts=True
    ) as emulator:
        connect(emulator.url, conn_id=CONN_ID)
        for _ in range(4):
            emulator.service.submit("polka")
        emulator.service.log_out("bob")
        answer = client("admin").get("/cards")

    assert ACCOUNT_SECRET not in answer.text
    (shown,) = answer.json()["cards"]
    assert [(each["account"], each["slots"], each["executing"]) for each in shown["accounts"]] == [
        ("alice", 2, 2)
    ]
    assert shown["notes"] == ["account bob needs its login renewed at useapi.net"]


@pytest.mark.skipif(not CAN_LIST_VARIABLES, reason="needs Airflow 3.3")
def test_cards_slots_held_by_gates_are_not_free(client, tables):
    holds = (HeldSlots(reply_ref="r", slots={"bob": 1}, one_job=True, lasts=60),)
    state = PeerState(sequence=1, intent=False, held=holds)
    tables.append(Tables(conn_ids=(CONN_ID,), states={peer_key_prefix(CONN_ID) + "0": state}))

    slots = card(client("admin"))["slots"]

    assert (slots["executing"], slots["held"], slots["free"]) == (0, 1, 3)


def test_cards_held_slots_of_separate_triggerers_are_unknown(client, emulator, connect):
    connect(emulator.url, conn_id=CONN_ID, extra={"separate_triggerers": True})

    assert card(client("admin"))["slots"]["held"] is None


def test_cards_count_waiting_tasks_and_name_the_longest_waits(client, tables):
    task = WaitingTask("songs", "manual__1", "song", 3, datetime.now(UTC) - timedelta(hours=1))
    tables.append(Tables(conn_ids=(CONN_ID,), tasks={CONN_ID: Tasks(waiting=7, longest=(task,))}))

    shown = card(client("admin"))["tasks"]

    assert shown["waiting"] == 7
    assert 3600 <= shown["longest_seconds"] < 3700
    assert (shown["first"][0]["task_id"], shown["first"][0]["map_index"]) == ("song", 3)


def waiting_in(*dag_ids: str) -> Tables:
    since = datetime.now(UTC)
    longest = tuple(WaitingTask(dag_id, "manual__1", "song", -1, since) for dag_id in dag_ids)
    return Tables(conn_ids=(CONN_ID,), tasks={CONN_ID: Tasks(waiting=len(longest), longest=longest)})


def test_cards_name_only_tasks_whose_dag_the_user_may_read(client, tables, auth_manager, monkeypatch):
    tables.append(waiting_in("songs", "secret_songs", "songs"))
    asked = []

    def may_read(*, method, user, access_entity=None, details=None):
        asked.append((method, access_entity, details.id, details.team_name))
        return details.id == "songs"

    monkeypatch.setattr(auth_manager, "is_authorized_dag", may_read, raising=False)

    answer = client("admin").get("/cards")

    shown = answer.json()["cards"][0]["tasks"]
    assert [task["dag_id"] for task in shown["first"]] == ["songs", "songs"]
    assert shown["waiting"] == 3
    assert "secret_songs" not in answer.text
    of_tasks = DagAccessEntity.TASK_INSTANCE
    assert sorted(asked, key=str) == [
        ("GET", of_tasks, "secret_songs", None),
        ("GET", of_tasks, "songs", None),
    ]


def test_cards_with_teams_check_the_permission_for_the_team_of_the_dag(
    client, tables, auth_manager, monkeypatch
):
    monkeypatch.setenv("AIRFLOW__CORE__MULTI_TEAM", "True")
    monkeypatch.setattr(DagModel, "get_team_name", lambda dag_id: f"team_of_{dag_id}")
    monkeypatch.setattr(
        auth_manager,
        "is_authorized_dag",
        lambda *, method, user, access_entity, details: details.team_name == "team_of_songs",
        raising=False,
    )
    tables.append(waiting_in("songs", "secret_songs"))

    assert [task["dag_id"] for task in card(client("admin"))["tasks"]["first"]] == ["songs"]


def test_cards_unreadable_connection_asks_for_no_dag_permission(client, tables, auth_manager, monkeypatch):
    tables.append(waiting_in("songs"))
    monkeypatch.setattr(
        auth_manager,
        "is_authorized_connection",
        lambda *, method, user, details: details.conn_id is None,  # the page itself
        raising=False,
    )
    monkeypatch.setattr(
        auth_manager, "is_authorized_dag", lambda **_: pytest.fail("asked about a DAG"), raising=False
    )

    assert client("admin").get("/cards").json()["cards"] == []


def test_cards_name_no_task_and_log_once_when_the_permission_check_fails(
    client, tables, auth_manager, monkeypatch, caplog
):
    tables.append(waiting_in("songs"))
    monkeypatch.setattr(auth_manager, "is_authorized_dag", lambda **_: 1 / 0, raising=False)
    admin = client("admin")

    for _ in range(2):
        shown = card(admin)["tasks"]
        assert (shown["first"], shown["waiting"]) == ([], 1)
    assert caplog.text.count("can't check which DAGs a user may read") == 1


def test_cards_connection_known_only_by_tasks_is_shown_unless_a_template(client, tables):
    tables.append(Tables(tasks={CONN_ID: Tasks(waiting=1), "{{ params.conn }}": Tasks(waiting=1)}))

    assert card(client("admin"))["connection_id"] == CONN_ID


@pytest.mark.parametrize("clock", [lambda: 0.0], ids=["stopped clock"])
def test_cards_twenty_browsers_at_once_cost_one_request(client, emulator, clock):
    admin = client("admin")
    with ThreadPoolExecutor(20) as browsers:
        answers = list(browsers.map(lambda _: admin.get("/cards").json(), range(20)))

    assert len({json.dumps(answer["cards"][0]["read_at"]) for answer in answers}) == 1
    assert emulator.service.stats().requests == 1


def test_cards_error_of_a_wrong_token_names_the_connection_and_no_token(client, emulator, connect):
    connect(emulator.url, conn_id=CONN_ID, password="user:9999-wrongTOKEN")

    answer = client("admin").get("/cards")

    (shown,) = answer.json()["cards"]
    assert shown["error"].startswith("401 Unauthorized from")
    assert f"check the API token in connection '{CONN_ID}'" in shown["error"]
    assert shown["slots"] is None
    assert "wrongTOKEN" not in answer.text


def test_cards_error_replaces_the_numbers_when_the_service_is_down(client, emulator):
    emulator.faults.add(Fault(status=503))

    shown = card(client("admin"))

    assert shown["error"].startswith("503 Service Unavailable")
    assert (shown["slots"], shown["accounts"], shown["jobs"]) == (None, [], [])


def test_cards_error_says_that_the_token_is_missing(client, connect):
    connect(conn_id=CONN_ID, password="")

    assert "the API token is missing" in card(client("admin"))["error"]


def test_cards_error_names_the_setting_of_missing_certificates(client, connect, monkeypatch):
    connect("https://api.example.com", conn_id=CONN_ID)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/missing.pem")

    shown = card(client("admin"))

    assert "REQUESTS_CA_BUNDLE names '/missing.pem'" in shown["error"]
    assert shown["slots"] is None


def test_cards_have_an_error_when_the_database_fails(connect, emulator, client, tables):
    tables.clear()

    answer = client("admin").get("/cards").json()

    assert answer["error"] == "Airflow's database can't be read: see the API server's log."


def test_app_fields_of_a_hostile_service_are_only_in_json(client, emulator):
    job = dict.fromkeys(("job_id", "user_id", "started", "elapsed", "replyUrl", "replyRef"), SCRIPT)
    account = dict.fromkeys(("user_id", "maxJobs", "executing", "available"), SCRIPT)
    emulator.faults.add(Fault(body=json.dumps({"executing": [job], "available": [account]})))
    admin = client("admin")

    answer = admin.get("/cards")

    assert answer.json()["cards"][0]["jobs"][0]["reference"] == SCRIPT
    assert answer.headers["Content-Type"] == "application/json"
    assert all(SCRIPT not in admin.get(path).text for path in PATHS if path != "/cards")


def test_static_files_parse_no_html_and_name_no_other_host():
    words = r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|Function\(|DOMParser|srcdoc"
    sources = {name: _source(name) for name in (*MEDIA_TYPES, "page.html", "refused.html")}

    assert [name for name, source in sources.items() if re.search(words, source)] == []
    assert [
        name for name, source in sources.items() if "://" in source.replace("http://www.w3.org", "")
    ] == []


def test_page_on_demand_first_request_imports_the_page(auth_manager):
    with TestClient(PageOnDemand()) as client:
        assert client.get("/").status_code == 401


def _source(name: str) -> str:
    from importlib.resources import files

    return (files("airflow_riffusion.plugins.page") / "static" / name).read_text("utf-8")
