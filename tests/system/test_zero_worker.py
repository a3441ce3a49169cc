from __future__ import annotations

import pytest

from airflow_riffusion.emulator import EmulatorServer
from dev.airflow_client import attempts

WITHOUT_ANY_WORKER = {
    ("both", -1),
    *(("mapped", index) for index in range(3)),
    *(("mapped_slots", index) for index in range(2)),
    ("group.in_group", 0),
}
SONGS = {("one", -1), ("literal", 0), ("literal", 1), ("of_a_task", 0), ("of_a_task", 1)}


@pytest.fixture(scope="module")
def service(token, store_connection):
    with EmulatorServer(accounts=2, max_jobs=2, token=token) as emulator:
        store_connection("riffusion_zero_worker", emulator)
        store_connection("riffusion_zero_worker_rejected", emulator, password="user:0-wrong")
        yield emulator.service


@pytest.fixture(scope="module")
def run(airflow_stack, service):
    account = service.read().accounts[1].user_id
    run = airflow_stack.trigger("zero_worker", {"account": account, "slots": 2})
    assert airflow_stack.wait(run, 120) == "success"
    return run


def test_zero_worker_tasks_start_no_worker_process(airflow_stack, run):
    tasks = {(task["task_id"], task["map_index"]): task for task in airflow_stack.task_instances(run)}

    assert {tasks[key]["pid"] for key in WITHOUT_ANY_WORKER} == {None}
    assert {tasks[key]["hostname"] for key in WITHOUT_ANY_WORKER} == {""}
    assert tasks["starts", -1]["pid"]  # resumed in a worker, so pids do tell


@pytest.mark.parametrize(
    ("task_id", "map_index"),
    [("both", -1), ("starts", -1), ("ends", -1), ("mapped", 2), ("mapped_slots", 1), ("group.in_group", 1)],
)
def test_zero_worker_xcom_of_rendered_templates_is_complete(airflow_stack, run, service, task_id, map_index):
    account = service.read().accounts[1].user_id

    xcom = airflow_stack.xcom(run, task_id, map_index=map_index)

    assert (xcom["user_id"], xcom["granted"], xcom["max_jobs"]) == (account, {account: 2}, 2)
    assert 0 <= xcom["waited_seconds"] < 60  # 0: by a reading just before it began to wait


def test_zero_worker_log_shows_what_was_granted(airflow_stack, run):
    assert "Granted 2 slots on account" in airflow_stack.log(run, "both")


def test_zero_worker_failures_end_as_in_every_other_mode(airflow_stack, service, store_connection, token):
    with EmulatorServer(
        accounts=1, max_jobs=1, job_seconds=3600, hide_full_accounts=True, token=token
    ) as full:
        full.service.submit("a very long song")
        store_connection("riffusion_zero_worker_full", full)
        run = airflow_stack.trigger("zero_worker_that_fails")
        airflow_stack.wait(run, 180)

    tasks = airflow_stack.task_instances(run)
    assert {task["task_id"]: (task["state"], task["try_number"]) for task in tasks} == {
        "timeout_fails": ("failed", 1),
        "timeout_skips": ("skipped", 1),
        "wrong_token_fails": ("failed", 1),
        "wrong_token_skips": ("skipped", 1),
        "unreadable_fails": ("failed", 1),
        "unreadable_skips": ("skipped", 1),
        "undefined_fails": ("failed", 1),
        "undefined_skips": ("skipped", 1),
        "execution_timeout": ("failed", 2),
        "execution_timeout_zero_worker": ("failed", 2),
        "song_of_text": ("failed", 1),
    }
    assert "AirflowSensorTimeout" in airflow_stack.log(run, "timeout_fails")
    assert "check the API token" in airflow_stack.log(run, "wrong_token_fails")
    assert "slots must be a positive whole number, not 'two'" in airflow_stack.log(run, "unreadable_fails")
    assert "'nowhere' is undefined" in airflow_stack.log(run, "undefined_fails")
    for task_id in ("execution_timeout", "execution_timeout_zero_worker"):
        assert "within the execution_timeout of 3 s" in airflow_stack.log(run, task_id)
    assert 'json must be a dict such as {"prompt": "…"}' in airflow_stack.log(
        run, "song_of_text", map_index=0
    )


@pytest.fixture(scope="module")
def arguments(airflow_stack, service):
    other, account = (account.user_id for account in service.read().accounts)
    run = airflow_stack.trigger("zero_worker_arguments", {"account": account, "other": other})
    assert airflow_stack.wait(run, 120) == "success"
    return run


def test_zero_worker_native_templates_are_rendered_in_the_triggerer(airflow_stack, arguments, service):
    account = service.read().accounts[1].user_id
    tasks = {task["task_id"]: task for task in airflow_stack.task_instances(arguments)}

    assert airflow_stack.xcom(arguments, "native")["granted"] == {account: 2}
    assert tasks["native"]["pid"] is None


def test_zero_worker_macro_of_the_dag_is_rendered_in_a_worker(airflow_stack, arguments, service):
    account = service.read().accounts[1].user_id

    assert airflow_stack.xcom(arguments, "macro")["granted"] == {account: 2}
    assert "a template can't be rendered: UndefinedError" in airflow_stack.log(arguments, "macro")


def test_zero_worker_xcom_options_and_outlets_count(airflow_stack, arguments):
    keys = airflow_stack.query(
        "SELECT task_id, key FROM xcom WHERE run_id = ? AND task_id IN ('no_xcom', 'many_xcoms')",
        arguments.run_id,
    )
    events = airflow_stack.query(
        "SELECT source_task_id FROM asset_event WHERE source_run_id = ?", arguments.run_id
    )

    assert {"return_value", "available", "granted"} <= {key for task_id, key in keys}
    assert {task_id for task_id, key in keys} == {"many_xcoms"}
    assert events == [("outlet",)]


def test_submit_reply_ref_of_a_mapped_task_names_the_job(airflow_stack, arguments, service):
    song = airflow_stack.xcom(arguments, "song")

    (job,) = (job for job in service.jobs() if job.job_id == song["job_id"])
    assert (song["reply_ref"], job.reply_ref) == ("42", "42")


@pytest.fixture(scope="module")
def songs(airflow_stack, store_connection, token):
    with EmulatorServer(accounts=2, max_jobs=2, job_seconds=15, token=token) as emulator:
        store_connection("riffusion_zero_worker_songs", emulator)
        run = airflow_stack.trigger("zero_worker_songs", {"mood": "sad"})
        assert airflow_stack.wait(run, 240) == "success"
        yield run, emulator.service


def test_zero_worker_songs_start_no_worker_process(airflow_stack, songs):
    tasks = {(task["task_id"], task["map_index"]): task for task in airflow_stack.task_instances(songs[0])}

    assert {tasks[key]["pid"] for key in SONGS} == {None}


def test_zero_worker_songs_are_made_once_with_their_own_arguments(songs):
    _, service = songs

    assert sorted(job.prompt for job in service.jobs()) == [
        "sad polka",
        "sad waltz",
        "tango",
        "waltz",
        "{{ params.mood }} tango",
    ]
    assert service.stats().accepted == service.stats().completed == len(SONGS)


@pytest.mark.parametrize(("task_id", "map_index"), sorted(SONGS))
def test_zero_worker_songs_leave_their_xcom(airflow_stack, songs, task_id, map_index):
    xcom = airflow_stack.xcom(songs[0], task_id, map_index=map_index)

    assert xcom["job_id"] in {job.job_id for job in songs[1].jobs()}
    assert xcom["ran_seconds"] > 5
    assert xcom["reply_ref"] == f"zero_worker_songs/{songs[0].run_id}/{task_id}/{map_index}"
    assert [each["status"] for each in xcom["result"]] == ["completed"]
    assert [each["url"] for each in xcom["audio"]] == [each["download_url"] for each in xcom["result"]]


def test_zero_worker_songs_delete_the_notes_of_their_jobs(airflow_stack, songs):
    for _ in attempts(60, interval=1):
        notes = airflow_stack.query(
            "SELECT task_id FROM xcom WHERE run_id = ? AND key = 'riffusion_job'", songs[0].run_id
        )
        if not notes:
            return
    pytest.fail(f"there still are notes of {notes}")


def test_zero_worker_songs_log_tells_the_whole_story(airflow_stack, songs):
    log = airflow_stack.log(songs[0], "one")

    lines = ("Waiting for 1 slot", "Granted 1 slot", "Submitted job", "Watching job", "is over after")
    positions = [log.find(line) for line in lines]
    assert -1 not in positions
    assert positions == sorted(positions), log
