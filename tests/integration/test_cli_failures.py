"""What the console script says where it can't work: Airflow's database, its settings, its own output."""

from __future__ import annotations

import errno
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from airflow_riffusion.emulator import EmulatorServer

TOKEN = "user:1234-abcDEF"
DATABASE = "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"
FERNET_KEY = "AIRFLOW__CORE__FERNET_KEY"
KEY = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="
OTHER_KEY = "YWJjZGVmMDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODk="


@pytest.fixture
def service(connect):
    with EmulatorServer(accounts={"ünï": 2}, job_seconds=3600, token=TOKEN) as service:
        connect(service.url, conn_id="riffusion_default")
        yield service


@pytest.fixture
def airflow_home(tmp_path):
    """Return the environment of an Airflow with a database that has one connection, 'stored'."""
    environ = {
        "AIRFLOW_HOME": str(tmp_path),
        DATABASE: f"sqlite:///{tmp_path}/airflow.db",
        FERNET_KEY: KEY,
        "AIRFLOW__CORE__UNIT_TEST_MODE": "False",
    }
    code = (
        "from airflow.models import Connection, import_all_models\n"
        "from airflow.utils.session import create_session\n"
        "import_all_models()\n"
        "NEEDED = ('connection', 'team')\n"
        "with create_session() as session:\n"
        "    tables = [table for name, table in Connection.metadata.tables.items() if name in NEEDED]\n"
        "    Connection.metadata.create_all(session.get_bind(), tables=tables)\n"
        f"    session.add(Connection(conn_id='stored', conn_type='riffusion', host='http://127.0.0.1:1', "
        f"password={TOKEN!r}))\n"
    )
    subprocess.run(
        [sys.executable, "-c", code], env=os.environ | environ, check=True, capture_output=True, timeout=120
    )
    return environ


def ended(program):
    out, err = program.communicate(timeout=120)
    return program.returncode, out, err


def test_a_connection_that_is_in_neither_place_does_not_exist(start, airflow_home):
    exit_code, _, err = ended(start("capacity", "--conn-id", "nobodys", environ=airflow_home))

    assert exit_code == 2
    assert re.fullmatch(r"The connection 'nobodys' does not exist \(.*create it under .*\n", err)


def test_a_database_without_tables_is_told_from_a_missing_connection(start, tmp_path):
    environ = {DATABASE: f"sqlite:///{tmp_path}/empty.db"}
    exit_code, _, err = ended(start("capacity", "--conn-id", "stored", environ=environ))

    assert exit_code == 2
    assert "Airflow's database has no tables: check sql_alchemy_conn, or run `airflow db migrate`" in err


def test_a_database_that_can_not_be_asked_is_unavailable(start, airflow_home, tmp_path):
    (tmp_path / "airflow.db").write_bytes(b"no database" * 100)
    exit_code, out, err = ended(start("capacity", "--conn-id", "stored", environ=airflow_home))

    assert (exit_code, out) == (1, "")
    assert re.fullmatch(r"Airflow's database can't be asked: .*\n", err)


def test_watching_lasts_through_an_outage_of_the_database(start, airflow_home, tmp_path):
    database, there = tmp_path / "airflow.db", (tmp_path / "airflow.db").read_bytes()
    database.write_bytes(b"no database" * 100)
    arguments = ("capacity", "--conn-id", "stored", "--watch", "--interval", "1")
    program = start(*arguments, environ=airflow_home)
    assert "Airflow's database can't be asked" in program.stderr.readline()

    (tmp_path / "mended.db").write_bytes(there)
    (tmp_path / "mended.db").replace(database)
    assert "Connection refused" in program.stderr.readline()


def test_a_key_that_can_not_read_the_connection_is_told_from_a_missing_one(start, airflow_home):
    environ = airflow_home | {FERNET_KEY: OTHER_KEY}
    exit_code, _, err = ended(start("capacity", "--conn-id", "stored", environ=environ))

    assert exit_code == 2
    assert re.fullmatch(r"The connection 'stored' is stored, but can't be read .*fernet_key.*\n", err)


@pytest.mark.parametrize(
    "value", ['{"conn_type": "riffusion", "password": "user:1234-abcDEF"', "riffusion://user:1234-abcDEF"]
)
def test_a_variable_that_can_not_be_read_is_named_but_not_quoted(start, value):
    exit_code, _, err = ended(start("capacity", "--conn-id", "mine", environ={"AIRFLOW_CONN_MINE": value}))

    assert exit_code == 2
    assert "'mine' can't be read: AIRFLOW_CONN_MINE holds neither valid JSON nor a valid URI" in err
    assert "abcDEF" not in err


@pytest.mark.parametrize(
    "environ",
    [
        {DATABASE: "postgresql+nodriver://me:secret@localhost/airflow"},
        {"AIRFLOW__SECRETS__BACKEND": "nowhere.to.be.Found"},
    ],
    ids=["database driver", "secrets backend"],
)
def test_settings_that_airflow_can_not_start_with_are_one_line(start, service, environ):
    exit_code, out, err = ended(start("capacity", environ=environ))

    assert (exit_code, out) == (3, "")
    assert re.fullmatch(r"airflow-riffusion capacity can't go on here: .*\n", err)
    assert "secret@" not in err


def test_a_full_disk_is_one_line(start, service):
    with Path("/dev/full").open("w") as full:
        exit_code, _, err = ended(start("capacity", stdout=full))

    assert exit_code == 3
    assert re.fullmatch(rf"airflow-riffusion capacity can't go on here: .*{os.strerror(errno.ENOSPC)}\n", err)


def test_a_closed_stdout_is_one_line(start, service):
    program = start("capacity", stdout=None, preexec_fn=lambda: os.close(1))

    exit_code, _, err = ended(program)
    assert exit_code == 3
    assert err == "airflow-riffusion capacity can't go on here: OSError: stdout is closed\n"


@pytest.mark.parametrize(("conn_id", "exit_code"), [("riffusion_default", 0), ("nowhere", 1)])
def test_nobody_at_stderr_changes_no_exit_code(start, service, connect, conn_id, exit_code):
    connect("http://127.0.0.1:1", conn_id="nowhere")
    read, write = os.pipe()
    os.close(read)
    program = start("capacity", "--conn-id", conn_id, stderr=write)
    os.close(write)

    assert ended(program)[0] == exit_code


def test_a_name_that_stdout_can_not_spell_is_no_reason_to_end(start, service):
    exit_code, out, err = ended(start("capacity", environ={"PYTHONIOENCODING": "ascii"}))

    assert (exit_code, err) == (0, "")
    assert "?n?" in out
