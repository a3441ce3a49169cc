"""The DAGs of README.md and the pages, and the examples that ``make demo`` does not run: each runs once."""

from __future__ import annotations

from collections import Counter

import pytest

from airflow_riffusion.emulator import EmulatorServer

PROMPTS = ("a lullaby for a lighthouse", "polka on the moon", "rain on a tin roof")


def states(airflow, run):
    return {(task["task_id"], task["map_index"]): task["state"] for task in airflow.task_instances(run)}


def jobs_of(docs_runs, reference):
    """Return the jobs whose reference a test recognises, by their prompt."""
    return {job.prompt: job for job in docs_runs.jobs if reference(job.reply_ref or "")}


def test_docs_dags_make_every_job_without_a_refusal(docs_runs):
    made = Counter(job.prompt for job in docs_runs.jobs)

    assert [made[prompt] for prompt in PROMPTS] == [3, 3, 2]  # by `songs`, `album` and `no_worker_at_all`
    assert docs_runs.refusals == 0


def test_docs_album_submits_each_job_to_the_account_of_its_grant(airflow_stack, docs_runs):
    jobs = jobs_of(docs_runs, lambda reference: reference and "/" not in reference)
    for index, prompt in enumerate(PROMPTS):
        grant = airflow_stack.xcom(docs_runs.runs["album"], "song.wait_for_slot", map_index=index)
        assert (jobs[prompt].user_id, jobs[prompt].reply_ref) == (grant["user_id"], grant["grant_id"])
        assert grant["granted"] == {grant["user_id"]: 1}


def test_docs_songs_return_the_job_of_each_task(airflow_stack, docs_runs):
    run = docs_runs.runs["songs"]
    jobs = jobs_of(docs_runs, lambda reference: reference.startswith("songs/"))
    for index, prompt in enumerate(PROMPTS):
        song = airflow_stack.xcom(run, "song", map_index=index)
        assert (song["job_id"], song["user_id"]) == (jobs[prompt].job_id, jobs[prompt].user_id)
        assert song["reply_ref"] == jobs[prompt].reply_ref == f"songs/{run.run_id}/song/{index}"


def test_docs_songs_of_the_day_pass_on_the_audio_of_each_song(airflow_stack, docs_runs):
    run = docs_runs.runs["songs_of_the_day"]
    songs = [airflow_stack.xcom(run, "song", map_index=index) for index in range(2)]

    titles = airflow_stack.xcom(run, "titles")

    urls = [audio["url"] for song in songs for audio in song["audio"]]
    assert [title.rpartition(": ")[2] for title in titles] == urls


def test_docs_report_reads_the_operators_xcom(airflow_stack, docs_runs):
    report = airflow_stack.xcom(docs_runs.runs["capacity_report"], "report")

    assert " free, most of them on " in report


def test_pool_that_counts_deferred_tasks_limits_the_jobs_under_way(airflow_stack, emulator):
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
def test_capacity_report_branches_on_free_slots(
    airflow_stack, emulator, store_connection, token, jobs, branch, other
):
    with EmulatorServer(accounts=2, max_jobs=2, job_seconds=3600, token=token) as service:
        for _ in range(jobs):
            service.service.submit("another client's job")
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
