from __future__ import annotations

import pytest


def test_song_on_a_named_account_takes_its_slot(play):
    played = play("tempolor")
    (job_id,) = played.post("music/song", prompt="a prompt", user_id="67890").json()["jobs"]
    (job,) = played.service.jobs()
    assert (job.job_id, job.user_id, job.instrumental) == (job_id, "67890", False)


def test_instrumental_is_noted_as_such(play):
    played = play("tempolor")
    played.post("music/instrumental", prompt="a prompt")
    assert [job.instrumental for job in played.service.jobs()] == [True]


def test_song_id_names_the_account(play):
    (job_id,) = play("tempolor").post("music/song", user_id="67890").json()["jobs"]
    assert job_id.startswith("user:1-tempolor:67890-job:")


def test_song_of_two_jobs_takes_two_slots_of_one_account(play):
    played = play("tempolor", jobs_per_submission=2)
    answer = played.post("music/song", prompt="a prompt", replyRef="mine")
    jobs = played.service.jobs()
    assert [job.job_id for job in jobs] == answer.json()["jobs"]
    assert [job.reply_ref for job in jobs] == ["mine", "mine"]
    assert len({job.user_id for job in jobs}) == 1


def test_song_of_two_jobs_with_one_slot_free_on_each_account_is_refused(play):
    played = play("tempolor", jobs_per_submission=2)
    for account in played.accounts:
        played.service.submit("a prompt", user_id=account)
    assert played.post("music/song", prompt="a prompt").status_code == 429
    assert (played.service.stats().accepted, played.service.stats().refusals) == (2, 1)


def test_available_job_without_reply_fields_has_no_account_and_none_of_them(play):
    played = play("tempolor")
    played.service.submit("a prompt")
    (listed,) = played.get("scheduler/available").json()["executing"]
    assert set(listed) == {"job_id", "started", "elapsed"}


@pytest.mark.parametrize(
    ("error", "seconds", "status", "final"),
    [(None, 19, range(10), False), ("moderated", 20, range(10, 30), True), (None, 20, range(30, 100), True)],
)
def test_outcome_status_is_in_the_range_of_its_meaning(play, clock, error, seconds, status, final):
    played = play("tempolor")
    job_id = played.service.submit("a prompt", error=error).job_id
    clock.advance(seconds)
    outcome = played.get(f"music/{job_id}").json()
    assert outcome["status"] in status
    assert outcome["status_final"] is final


def test_download_of_a_completed_job_leads_to_its_audio(play, clock):
    played = play("tempolor")
    job_id = played.service.submit("a prompt").job_id
    clock.advance(20)
    url = played.get(f"music/download/{job_id}").json()["url"]
    assert played.client.get(url).headers["Content-Type"] == "audio/wav"


def test_download_before_the_end_and_the_delay_answers_404(play, clock):
    played = play("tempolor", audio_delay=5)
    job_id = played.service.submit("a prompt").job_id
    statuses = []
    for seconds in (19.9, 5, 0.1):
        clock.advance(seconds)
        statuses.append(played.get(f"music/download/{job_id}").status_code)
    assert statuses == [404, 404, 200]


def test_download_of_a_failed_job_answers_404(play, clock):
    played = play("tempolor")
    job_id = played.service.submit("a prompt", error="moderated").job_id
    clock.advance(20)
    assert played.get(f"music/download/{job_id}").status_code == 404
