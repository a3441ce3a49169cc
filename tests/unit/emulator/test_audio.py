from __future__ import annotations

import pytest
from starlette.testclient import TestClient

from airflow_riffusion.emulator.app import create_app
from airflow_riffusion.emulator.audio import audio_url, title_of
from airflow_riffusion.emulator.dialects import dialect_of
from airflow_riffusion.emulator.service import SchedulerService


@pytest.fixture
def ids():
    """The ids that the next jobs have."""
    return ["job-1"]


@pytest.fixture
def service(clock, ids):
    return SchedulerService(
        {"one": 2}, new_job_id=lambda _account, number, _random: ids[number - 1], job_seconds=20, clock=clock
    )


@pytest.fixture
def client(service):
    """A client without a token, where one is needed."""
    return TestClient(create_app(service, dialect_of("riffusion"), token=lambda: "right"))


def test_audio_completed_job_is_a_wav_file_without_a_token(client, service, clock):
    job = service.submit("a prompt")
    clock.advance(20)
    answer = client.get(audio_url("http://testserver/", job))
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "audio/wav")
    assert answer.content.startswith(b"RIFF")


def test_audio_before_the_end_answers_404(client, service):
    service.submit("a prompt")
    answer = client.get("/emulator/audio/job-1.wav")
    assert (answer.status_code, answer.json()) == (
        404,
        {"error": "There is no such audio, or not yet", "code": 404},
    )


def test_audio_failed_job_answers_404(client, service, clock):
    service.submit("a prompt", error="moderated")
    clock.advance(20)
    assert client.get("/emulator/audio/job-1.wav").status_code == 404


@pytest.mark.parametrize("file_name", ["", "job-1", "job-2.wav", "job-1.mp3", "job-1.x.wav", ".wav"])
def test_audio_of_another_name_answers_404(client, service, clock, file_name):
    service.submit("a prompt")
    clock.advance(20)
    assert client.get(f"/emulator/audio/{file_name}").status_code == 404


def test_audio_second_song_is_another_file(client, service, clock):
    job = service.submit("a prompt")
    clock.advance(20)
    first, second = (client.get(audio_url("http://testserver", job, song)) for song in (1, 2))
    assert (first.status_code, second.status_code) == (200, 200)
    assert first.content != second.content


@pytest.mark.parametrize(
    "ids", [["job:1-user:2-a@b-bot:x"], ["a/b.wav"], ["a b?c#d%e"], ["1.2"], [100_000_001]]
)
def test_audio_url_of_any_id_leads_there(client, service, clock, ids):
    job = service.submit("a prompt")
    clock.advance(20)
    assert client.get(audio_url("http://testserver", job)).status_code == 200


def test_audio_request_is_not_counted(client, service):
    client.get("/emulator/audio/job-1.wav")
    assert service.stats().requests == 0


@pytest.mark.parametrize(
    ("prompt", "title"),
    [("a prompt", "a prompt"), (" two\n lines ", "two lines"), ("", "Untitled"), ("x" * 100, "x" * 60)],
)
def test_title_of_a_job_is_the_beginning_of_its_prompt(service, prompt, title):
    assert title_of(service.submit(prompt)) == title
