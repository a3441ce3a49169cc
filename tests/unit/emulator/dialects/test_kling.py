from __future__ import annotations

from airflow_riffusion.emulator.dialects import dialect_of


def test_available_job_has_a_number(play):
    played = play("kling")
    job = played.service.submit("a prompt")
    assert [listed["id"] for listed in played.get("scheduler/available").json()["executing"]] == [job.job_id]
    assert isinstance(job.job_id, int)


def test_stop_job_takes_its_number(play):
    played = play("kling")
    assert played.delete(f"scheduler/{played.service.submit('a prompt').job_id}").status_code == 204


def test_outcome_job_without_reference_reports_none(play, clock):
    service = play("kling").service
    job = service.submit("a prompt", user_id="one@example.com")
    clock.advance(20)
    outcome = dialect_of("kling").outcome(service.find(str(job.job_id)), "http://testserver")
    assert outcome == {"id": job.job_id, "email": "one@example.com", "status": "completed"}


def test_outcome_failed_job_reports_its_error_and_reference(play, clock):
    service = play("kling").service
    job = service.submit("a prompt", user_id="one@example.com", reply_ref="mine", error="moderated")
    clock.advance(20)
    outcome = dialect_of("kling").outcome(service.find(str(job.job_id)), "http://testserver")
    assert (outcome["status"], outcome["replyRef"], outcome["error"]) == ("failed", "mine", "moderated")
