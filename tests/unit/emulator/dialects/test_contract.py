"""Every answer has the fields of its service's page, and their types."""

from __future__ import annotations

import pytest

SUBMITTED = {"prompt": "a prompt", "replyUrl": "https://example.com/webhook", "replyRef": "reference-id"}

IDLE = [("flowmusic.jobs_idle_200", "jobs"), ("acemusic.jobs_idle_200", "jobs")]
RUNNING = [
    ("available_200", "scheduler/available"),
    ("riffusion.accounts_200", "accounts"),
    ("available_200.tempolor", "scheduler/available"),
    ("tempolor.accounts_200", "accounts"),
    ("flowmusic.jobs_200", "jobs"),
    ("flowmusic.accounts_200", "accounts"),
    ("flowmusic.job_running_200", "jobs/{job_id}"),
    ("acemusic.jobs_200", "jobs"),
    ("acemusic.accounts_200", "accounts"),
    ("mureka.jobs_200", "jobs"),
    ("mureka.accounts_200", "accounts"),
    ("pixverse.available_200", "scheduler/available"),
    ("pixverse.accounts_200", "accounts"),
    ("available_200.kling", "scheduler/available"),
    ("kling.accounts_200", "accounts"),
]
COMPLETED = [
    ("riffusion.music_200", "music/?id={job_id}"),
    ("tempolor.job_200", "music/{job_id}"),
    ("tempolor.download_200", "music/download/{job_id}"),
    ("flowmusic.job_200", "jobs/{job_id}"),
    ("acemusic.job_200", "jobs/{job_id}"),
    ("mureka.job_200", "jobs/{job_id}"),
    ("pixverse.job_200", "music/{job_id}"),
]
FAILED = [
    ("tempolor.job_failed_200", "music/{job_id}"),
    ("flowmusic.job_failed_200", "jobs/{job_id}"),
    ("mureka.job_failed_200", "jobs/{job_id}"),
]
SUBMISSIONS = [
    ("riffusion.create-prompt_200", "music/create-prompt", {}),
    ("tempolor.song_200", "music/song", {}),
    ("tempolor.song_200", "music/instrumental", {}),
    ("flowmusic.music_201", "music", {"mode": "async"}),
    ("acemusic.music_202", "music", {"async": True}),
    ("mureka.create_201", "music/create", {"async": True, "account": "100001"}),
    ("pixverse.create_200", "music/create", {}),
]


def shape(value):
    """Return what a payload has, without its values."""
    match value:
        case dict():
            return {name: shape(each) for name, each in value.items()}
        case list():
            return [shape(each) for each in value[:1]]
        case bool() | str() | None:
            return type(value).__name__
        case _:
            return "number"


def service_of(name):
    first, _, second = name.partition(".")
    return first if not first.startswith("available") else second or "riffusion"


def begin(play, name, **options):
    """Play the service of a payload, with a job on its first account and a second that is logged out."""
    played = play(service_of(name))
    job = played.service.submit(
        "a prompt",
        user_id=played.accounts[0],
        reply_url=SUBMITTED["replyUrl"],
        reply_ref=SUBMITTED["replyRef"],
        **options,
    )
    played.service.log_out(played.accounts[1])
    return played, job


@pytest.mark.parametrize(("name", "path"), IDLE)
def test_contract_idle_service_answers_like_its_page(play, payload, name, path):
    assert play(service_of(name)).get(path).json() == payload(name)


@pytest.mark.parametrize(("name", "path"), RUNNING)
def test_contract_executing_job_is_shown_like_on_its_page(play, payload, name, path):
    played, job = begin(play, name)
    assert shape(played.get(path.format(job_id=job.job_id)).json()) == shape(payload(name))


@pytest.mark.parametrize(("name", "path"), COMPLETED)
def test_contract_completed_job_is_shown_like_on_its_page(play, payload, clock, name, path):
    played, job = begin(play, name)
    clock.advance(20)
    assert shape(played.get(path.format(job_id=job.job_id)).json()) == shape(payload(name))


@pytest.mark.parametrize(("name", "path"), FAILED)
def test_contract_failed_job_is_shown_like_on_its_page(play, payload, clock, name, path):
    played, job = begin(play, name, error="moderated")
    clock.advance(20)
    assert shape(played.get(path.format(job_id=job.job_id)).json()) == shape(payload(name))


@pytest.mark.parametrize(("name", "path", "body"), SUBMISSIONS)
def test_contract_submission_is_answered_like_on_its_page(play, payload, name, path, body):
    answer = play(service_of(name)).post(path, **SUBMITTED, **body)
    assert str(answer.status_code) == name.rpartition("_")[2]
    assert shape(answer.json()) == shape(payload(name))


def test_contract_full_flowmusic_is_answered_like_on_its_page(play, payload):
    played = play("flowmusic")
    for _ in range(4):
        played.service.submit("a prompt")
    answer = played.post("music", mode="async")
    assert (answer.status_code, shape(answer.json())) == (429, shape(payload("flowmusic.full_429")))
