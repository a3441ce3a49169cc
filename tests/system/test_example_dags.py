from __future__ import annotations

import json
from collections import Counter

import pytest

from airflow_riffusion.emulator import EmulatorServer
from dev.airflow_stack import AirflowStack
from tests.system.conftest import EXAMPLE_DAGS

PROMPTS = [f"song {number}" for number in range(8)]


def states(airflow, run):
    return {(task["task_id"], task["map_index"]): task["state"] for task in airflow.task_instances(run)}


@pytest.fixture(scope="module")
def gate_run(airflow_stack, emulator):
    """Run the gate DAG once, with twice as many songs as there are slots."""
    run = airflow_stack.trigger("riffusion_capacity_gate", {"prompts": PROMPTS})
    assert airflow_stack.wait(run, 240) == "success"
    return run


def test_the_gate_makes_every_song_and_no_submission_is_refused(airflow_stack, emulator, gate_run):
    assert set(states(airflow_stack, gate_run).values()) == {"success"}
    assert sorted(job.prompt for job in emulator.service.jobs() if job.prompt in PROMPTS) == PROMPTS
    assert emulator.service.stats().refusals == 0
    assert sum(airflow_stack.xcom(gate_run, "summary").values()) == 8


def test_each_song_goes_to_the_account_it_was_granted_under_the_grants_name(
    airflow_stack, emulator, gate_run
):
    jobs = {job.prompt: job for job in emulator.service.jobs()}
    for index, prompt in enumerate(PROMPTS):
        grant = airflow_stack.xcom(gate_run, "song.wait_for_slot", map_index=index)
        assert (jobs[prompt].user_id, jobs[prompt].reply_ref) == (grant["user_id"], grant["grant_id"])
        assert grant["granted"] == {grant["user_id"]: 1}


def test_each_song_is_made_by_one_task_that_tells_what_became_of_it(airflow_stack, emulator):
    prompts = [f"whole song {number}" for number in range(4)]
    run = airflow_stack.trigger("riffusion_songs", {"prompts": prompts})

    assert airflow_stack.wait(run, 240) == "success"
    jobs = {job.prompt: job for job in emulator.service.jobs()}
    for index, prompt in enumerate(prompts):
        song = airflow_stack.xcom(run, "song", map_index=index)
        assert (song["job_id"], song["user_id"]) == (jobs[prompt].job_id, jobs[prompt].user_id)
        assert song["reply_ref"] == jobs[prompt].reply_ref == f"riffusion_songs/{run.run_id}/song/{index}"
        assert [outcome["status"] for outcome in song["result"]] == ["completed"]


def test_a_pool_that_counts_deferred_tasks_limits_the_songs_under_way(airflow_stack, emulator):
    pool = ("riffusion", "2", "Songs under way", "--include-deferred")
    assert airflow_stack.cli("pools", "set", *pool, timeout=120).returncode == 0
    prompts = [f"pooled song {number}" for number in range(4)]
    run = airflow_stack.trigger("riffusion_pool", {"prompts": prompts})

    assert airflow_stack.wait(run, 240) == "success"
    jobs = [job for job in emulator.service.jobs() if job.prompt in prompts]
    at_once = [sum(other.started <= job.started < other.ended for other in jobs) for job in jobs]
    assert len(jobs) == 4
    assert max(at_once) <= 2


@pytest.mark.parametrize(
    ("jobs", "branch", "other"), [(1, "make_songs", "all_busy"), (4, "all_busy", "make_songs")]
)
def test_the_report_branches_on_what_is_free(
    airflow_stack, emulator, store_connection, token, jobs, branch, other
):
    with EmulatorServer(accounts=2, max_jobs=2, job_seconds=3600, token=token) as service:
        for _ in range(jobs):
            service.service.submit("somebody else's song")
        store_connection("riffusion_default", service)
        run = airflow_stack.trigger("riffusion_capacity_report")
        state = airflow_stack.wait(run)
        store_connection("riffusion_default", emulator)

    assert state == "success"
    assert states(airflow_stack, run) == {
        ("capacity", -1): "success",
        ("any_free", -1): "success",
        (branch, -1): "success",
        (other, -1): "skipped",
    }
    assert airflow_stack.xcom(run, "capacity", "available") == 4 - jobs
    assert airflow_stack.xcom(run, "capacity")["executing"] == jobs


def test_the_readmes_dags_run(airflow_stack, emulator):
    songs = airflow_stack.trigger("songs")
    album = airflow_stack.trigger("album")
    report = airflow_stack.trigger("capacity_report")
    no_worker = airflow_stack.trigger("no_worker_at_all")

    assert {airflow_stack.wait(run, 240) for run in (songs, album, report, no_worker)} == {"success"}
    made = Counter(job.prompt for job in emulator.service.jobs())
    prompts = ("a lullaby for a lighthouse", "polka on the moon", "rain on a tin roof")
    assert [made[prompt] for prompt in prompts] == [2, 2, 2]  # by `songs` and by `album`
    assert " free, most of them on " in airflow_stack.xcom(report, "report")


@pytest.mark.parametrize("dag_id", ["riffusion_capacity_gate", "riffusion_songs"])
def test_an_example_runs_under_dags_test_with_a_stored_connection(tmp_path, token, dag_id):
    """Without a scheduler beside it, which would take the tasks away."""
    airflow = AirflowStack(tmp_path, dags_folder=EXAMPLE_DAGS)
    with EmulatorServer(accounts=2, max_jobs=2, job_seconds=6, token=token) as emulator:
        connection = json.dumps({"conn_type": "riffusion", "host": emulator.url, "password": token})
        for command in (
            ["db", "migrate"],
            ["connections", "add", "riffusion_default", "--conn-json", connection],
            ["dags", "test", dag_id, "--conf", json.dumps({"prompts": ["one", "two"]})],
        ):
            ended = airflow.cli(*command, timeout=180)
            assert ended.returncode == 0, ended.stdout[-3000:] + ended.stderr[-3000:]

        # In any order: there, each task waits by itself.
        assert sorted(job.prompt for job in emulator.service.jobs()) == ["one", "two"]
