from __future__ import annotations

from datetime import timedelta

import pytest

from airflow_riffusion.emulator.clock import timestamp


def test_jobs_lists_only_accounts_with_jobs(play):
    played = play("flowmusic")
    job = played.service.submit("a prompt", user_id="two@example.com", reply_ref="mine")
    listed = {"jobid": job.job_id, "status": "pending", "created_at": timestamp(job.started)}
    assert played.get("jobs").json() == {"two@example.com": {"running": 1, "maxJobs": 2, "jobs": [listed]}}


def test_jobs_account_logged_out_while_it_works_is_listed(play):
    played = play("flowmusic")
    played.service.submit("a prompt", user_id="one@example.com")
    played.service.log_out("one@example.com")
    assert list(played.get("jobs").json()) == ["one@example.com"]


def test_music_asynchronous_is_answered_at_once(play):
    played = play("flowmusic")
    answer = played.post("music", prompt="a prompt", mode="async", email="two@example.com")
    (job,) = played.service.jobs()
    assert (answer.status_code, answer.json()) == (201, {"jobid": job.job_id})
    assert (job.user_id, job.status) == ("two@example.com", "executing")


def test_music_id_names_the_account(play):
    job_id = play("flowmusic").post("music", mode="async", email="two@example.com").json()["jobid"]
    assert job_id.startswith("job:")
    assert job_id.endswith("-user:1-two@example.com-bot:flowmusic")


@pytest.mark.parametrize("mode", [{}, {"mode": "sync"}, {"mode": None}])
def test_music_not_asynchronous_is_answered_with_the_song(play, hasty_clock, mode):
    answer = play("flowmusic", clock=hasty_clock).post("music", prompt="a prompt", **mode)
    assert (answer.status_code, answer.json()["status"]) == (200, "completed")


def test_music_of_unknown_mode_answers_400(play):
    answer = play("flowmusic").post("music", prompt="a prompt", mode="asynchronous")
    assert (answer.status_code, answer.json()["error"].partition(":")[0]) == (400, "mode")


def test_music_on_full_accounts_says_when_to_come_again(play, clock):
    played = play("flowmusic")
    for _ in range(4):
        played.service.submit("a prompt")
    answer = played.post("music", mode="async")
    assert answer.headers["Retry-After"] == "10"
    assert answer.json()["retryAfter"] == timestamp(clock.now + timedelta(seconds=10))


def test_outcome_has_what_was_submitted(play):
    played = play("flowmusic")
    job_id = played.post("music", prompt="a prompt", mode="async", replyRef="mine").json()["jobid"]
    assert played.get(f"jobs/{job_id}").json()["request"] == {"prompt": "a prompt", "replyRef": "mine"}


def test_outcome_completed_job_has_a_clip_with_title_and_audio(play, clock):
    played = play("flowmusic")
    job_id = played.service.submit("a prompt\nof two lines").job_id
    clock.advance(20)
    (clip,) = played.get(f"jobs/{job_id}").json()["clips"]
    assert (clip["title"], clip["duration_s"]) == ("a prompt of two lines", 2)
    assert played.client.get(clip["audio_url"]).headers["Content-Type"] == "audio/wav"


def test_outcome_failed_job_has_its_error_and_no_clips(play, clock):
    played = play("flowmusic")
    job_id = played.service.submit("a prompt", error="moderated").job_id
    clock.advance(20)
    outcome = played.get(f"jobs/{job_id}").json()
    assert (outcome["status"], outcome["error"]["message"], "clips" in outcome) == (
        "failed",
        "moderated",
        False,
    )
