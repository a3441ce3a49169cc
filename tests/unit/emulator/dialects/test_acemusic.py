from __future__ import annotations

import pytest


def test_jobs_lists_references(play):
    played = play("acemusic")
    played.service.submit("a prompt", user_id="two@example.com", reply_ref="mine")
    (listed,) = played.get("jobs").json()["jobs"]
    assert (listed["email"], listed["replyRef"], "replyUrl" in listed) == ("two@example.com", "mine", False)


@pytest.mark.parametrize("asynchronous", [{"async": True}, {"mode": "async"}])
def test_music_asynchronous_is_answered_at_once(play, asynchronous):
    played = play("acemusic")
    answer = played.post("music", prompt="a prompt", email="two@example.com", **asynchronous)
    (job,) = played.service.jobs()
    assert (answer.status_code, answer.json()) == (202, {"jobid": job.job_id})
    assert (job.user_id, job.status) == ("two@example.com", "executing")


@pytest.mark.parametrize("held", [{}, {"async": False}, {"mode": "sync"}])
def test_music_not_asynchronous_is_answered_with_the_songs(play, hasty_clock, held):
    answer = play("acemusic", clock=hasty_clock).post("music", prompt="a prompt", **held)
    assert (answer.status_code, len(answer.json()["songs"])) == (200, 2)


def test_outcome_completed_job_has_two_different_songs(play, clock):
    played = play("acemusic")
    job_id = played.service.submit("a prompt").job_id
    clock.advance(20)
    songs = played.get(f"jobs/{job_id}").json()["songs"]
    files = {played.client.get(song["audioUrl"]).content for song in songs}
    assert len(files) == 2


def test_outcome_failed_job_has_its_error_and_no_songs(play, clock):
    played = play("acemusic")
    job_id = played.service.submit("a prompt", error="moderated").job_id
    clock.advance(20)
    outcome = played.get(f"jobs/{job_id}").json()
    assert outcome == {"jobid": job_id, "status": "failed", "error": "moderated"}
