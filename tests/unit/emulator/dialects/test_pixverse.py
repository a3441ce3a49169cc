from __future__ import annotations


def test_create_on_a_named_account_takes_its_slot(play):
    played = play("pixverse")
    job_id = played.post("music/create", prompt="a prompt", email="two@example.com").json()["audio_id"]
    assert job_id.startswith("user:1-pixverse:two@example.com-music:")
    assert [job.user_id for job in played.service.jobs()] == ["two@example.com"]


def test_pixverse_of_another_version_is_not_found(play):
    assert play("pixverse").client.get("/v1/pixverse/accounts").status_code == 404


def test_available_job_is_music_without_an_account(play):
    played = play("pixverse")
    played.service.submit("a prompt")
    (listed,) = played.get("scheduler/available").json()["executing"]
    assert (listed["type"], set(listed)) == ("music", {"id", "type", "started", "elapsed"})


def test_outcome_is_final_with_audio_only_when_completed(play, clock):
    played = play("pixverse")
    job_id = played.service.submit("a prompt").job_id
    before = played.get(f"music/{job_id}").json()
    clock.advance(20)
    after = played.get(f"music/{job_id}").json()
    assert (before["audio_status_final"], "url" in before) == (False, False)
    assert after["audio_status_final"] is True
    assert played.client.get(after["url"]).headers["Content-Type"] == "audio/wav"


def test_outcome_failed_job_is_final_without_audio(play, clock):
    played = play("pixverse")
    job_id = played.service.submit("a prompt", error="moderated").job_id
    clock.advance(20)
    assert played.get(f"music/{job_id}").json() == {
        "audio_id": job_id,
        "audio_status_final": True,
        "audio_status_name": "FAILED",
    }
