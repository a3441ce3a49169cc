from __future__ import annotations

from airflow_riffusion.emulator import EmulatorServer


def test_jobs_idle_service_names_its_accounts(play):
    assert play("mureka").get("jobs").json() == {
        "total": 0,
        "music": 0,
        "tts": 0,
        "accounts": {},
        "availableAccounts": ["100001", "100002"],
    }


def test_jobs_full_account_is_still_called_available(play):
    played = play("mureka")
    for _ in range(2):
        played.service.submit("a prompt", user_id="100001")
    jobs = played.get("jobs").json()
    assert jobs["availableAccounts"] == ["100001", "100002"]
    assert (jobs["total"], jobs["accounts"]["100001"]["music"]) == (2, 2)


def test_jobs_lists_no_reference(play):
    played = play("mureka")
    played.service.submit("a prompt", user_id="100001", reply_ref="mine")
    (listed,) = played.get("jobs").json()["accounts"]["100001"]["jobs"]
    assert set(listed) == {"jobid", "verb", "elapsed"}


def test_create_asynchronous_is_answered_at_once(play):
    played = play("mureka")
    answer = played.post("music/create", prompt="a prompt", account="100002", **{"async": True})
    (job,) = played.service.jobs()
    assert (answer.status_code, answer.json()) == (201, {"jobid": job.job_id, "status": "created"})
    assert job.user_id == "100002"


def test_create_not_asynchronous_is_answered_with_the_song(play, hasty_clock):
    answer = play("mureka", clock=hasty_clock).post("music/create", prompt="a prompt", account="100001")
    assert (answer.status_code, answer.json()["status"]) == (200, "completed")


def test_create_without_one_of_several_accounts_answers_400(play):
    answer = play("mureka").post("music/create", prompt="a prompt", **{"async": True})
    assert (answer.status_code, answer.json()["error"].partition(":")[0]) == (400, "account")


def test_create_too_soon_answers_429_until_the_pause_is_over(play, clock):
    played = play("mureka")
    answers = []
    for seconds in (0, 1.5, 1.5):
        clock.advance(seconds)
        answers.append(played.post("music/create", account="100001", **{"async": True}))
    assert [answer.status_code for answer in answers] == [201, 429, 201]
    assert answers[1].headers["Retry-After"] == "2"


def test_create_pause_is_forgotten_by_a_reset(play):
    played = play("mureka")
    for _ in range(2):
        assert played.post("music/create", account="100001", **{"async": True}).status_code == 201
        played.service.reset()


def test_submit_in_a_test_keeps_no_pause(clock):
    service = EmulatorServer(service="mureka", clock=clock).service
    assert [service.submit("a prompt").status for _ in range(2)] == ["executing", "executing"]


def test_outcome_has_the_reference(play):
    played = play("mureka")
    job_id = played.service.submit("a prompt", reply_ref="mine").job_id
    outcome = played.get(f"jobs/{job_id}").json()
    assert (outcome["status"], outcome["request"]["replyRef"]) == ("created", "mine")


def test_outcome_completed_job_has_a_song_with_title_and_audio(play, clock):
    played = play("mureka")
    job_id = played.service.submit("a prompt").job_id
    clock.advance(20)
    (song,) = played.get(f"jobs/{job_id}").json()["response"]["songs"]
    assert (song["title"], song["duration_milliseconds"]) == ("a prompt", 2000)
    assert played.client.get(song["mp3_url"]).headers["Content-Type"] == "audio/wav"


def test_outcome_failed_job_has_its_error(play, clock):
    played = play("mureka")
    job_id = played.service.submit("a prompt", error="moderated").job_id
    clock.advance(20)
    outcome = played.get(f"jobs/{job_id}").json()
    assert (outcome["status"], outcome["error"], "response" in outcome) == ("failed", "moderated", False)
