from __future__ import annotations

import socket
import threading
from urllib.parse import quote

import pytest
import requests

from airflow_riffusion.emulator import EmulatorServer
from airflow_riffusion.emulator.clock import utc_now
from airflow_riffusion.emulator.faults import Fault
from airflow_riffusion.emulator.misbehaviour import HUGE_BYTES

AVAILABLE = "/v1/riffusion/scheduler/available"
SUBMIT = "/v1/riffusion/music/create-prompt"


def has_ipv6() -> bool:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


@pytest.fixture
def emulator():
    with EmulatorServer() as emulator:
        yield emulator


def test_emulator_submission_over_http_executes(emulator, http):
    submitted = http.post(emulator.url + SUBMIT, json={"prompt": "a prompt"}).json()
    executing = http.get(emulator.url + AVAILABLE).json()["executing"]
    assert [(job["job_id"], job["user_id"]) for job in executing] == [
        (submitted["job_id"], submitted["user_id"])
    ]


@pytest.mark.parametrize("safe", ["", ":@"])
@pytest.mark.parametrize(
    ("service", "path"),
    [
        ("riffusion", "v1/riffusion/scheduler"),
        ("tempolor", "v1/tempolor/scheduler"),
        ("flowmusic", "v1/flowmusic/jobs"),
        ("pixverse", "v2/pixverse/scheduler"),
        ("kling", "v1/kling/scheduler"),
    ],
)
def test_emulator_stop_takes_quoted_ids_of_each_service(service, path, safe, http):
    with EmulatorServer(service=service) as emulator:
        job_id = quote(str(emulator.service.submit("a prompt").job_id), safe=safe)
        answer = http.delete(f"{emulator.url}/{path}/{job_id}")
        assert (answer.status_code, emulator.service.stats().cancelled) == (204, 1)


@pytest.mark.parametrize("service", ["flowmusic", "acemusic"])
def test_emulator_submission_that_waits_leads_to_audio(service, http):
    with EmulatorServer(service=service, job_seconds=0.05) as emulator:
        answer = http.post(f"{emulator.url}/v1/{service}/music", json={"prompt": "a prompt"}).json()
        url = answer["clips"][0]["audio_url"] if service == "flowmusic" else answer["songs"][0]["audioUrl"]
        assert url.startswith(f"{emulator.url}/emulator/audio/")
        audio = requests.get(url, timeout=30)
        assert (audio.status_code, audio.content[:4]) == (200, b"RIFF")


def test_emulator_of_two_jobs_per_submission_answers_with_both(http):
    with EmulatorServer(service="tempolor", jobs_per_submission=2) as emulator:
        jobs = http.post(f"{emulator.url}/v1/tempolor/music/song", json={}).json()["jobs"]
        assert jobs == [job.job_id for job in emulator.service.jobs()]
        assert len(jobs) == 2


@pytest.mark.parametrize(("delay", "status"), [(0, 200), (300, 404)])
def test_emulator_with_audio_delay_has_the_audio_later(http, delay, status):
    with EmulatorServer(service="tempolor", job_seconds=1e-6, audio_delay=delay) as emulator:
        job_id = emulator.service.submit("a prompt").job_id
        assert http.get(f"{emulator.url}/v1/tempolor/music/{job_id}").json()["status_final"]
        assert http.get(f"{emulator.url}/v1/tempolor/music/download/{job_id}").status_code == status


@pytest.mark.parametrize(("options", "status"), [({}, 429), ({"submission_pause": 0}, 201)])
def test_emulator_of_mureka_wants_a_pause_unless_told_otherwise(http, options, status):
    song = {"prompt": "a prompt", "async": True}
    now = utc_now()
    with EmulatorServer(service="mureka", accounts=1, clock=lambda: now, **options) as emulator:
        url = f"{emulator.url}/v1/mureka/music/create"
        assert [http.post(url, json=song).status_code for _ in range(2)] == [201, status]


def test_emulator_submission_that_waits_delays_no_other(http):
    with EmulatorServer(service="flowmusic", job_seconds=300) as emulator:
        with pytest.raises(requests.ReadTimeout):
            http.post(f"{emulator.url}/v1/flowmusic/music", json={}, timeout=(30, 1))
        assert len(http.get(f"{emulator.url}/v1/flowmusic/jobs").json()) == 1


def test_emulator_lost_answer_takes_the_slot(emulator, http):
    emulator.faults.add(Fault(lose_answer=True, endpoint="submit", times=1))
    with pytest.raises(requests.ConnectionError, match="Connection aborted"):
        http.post(emulator.url + SUBMIT, json={"prompt": "a prompt", "replyRef": "mine"})
    assert [job.reply_ref for job in emulator.service.read().jobs] == ["mine"]


def test_emulator_delayed_answer_comes_after_the_job_is_made(emulator, http):
    emulator.faults.add(Fault(delay_seconds=300, endpoint="submit", times=1))
    with pytest.raises(requests.ReadTimeout):
        http.post(emulator.url + SUBMIT, json={"prompt": "a prompt", "replyRef": "mine"}, timeout=(30, 1))
    assert [job.reply_ref for job in emulator.service.read().jobs] == ["mine"]


def test_emulator_hidden_account_is_listed_again_when_free(http):
    def listed():
        answer = http.get(emulator.url + AVAILABLE).json()["available"]
        return [account["user_id"] for account in answer]

    with EmulatorServer(accounts={"one": 1, "two": 1}, hide_full_accounts=True) as emulator:
        job = emulator.service.submit("a prompt", user_id="one")
        assert listed() == ["two"]
        emulator.service.cancel(job.job_id)
        assert listed() == ["one", "two"]


def test_emulator_fault_of_accounts_applies_to_no_other_endpoint(emulator, http):
    emulator.faults.add(Fault(endpoint="accounts", status=503))
    paths = (AVAILABLE, "/v1/riffusion/accounts", "/v1/riffusion/accounts/")
    assert [http.get(emulator.url + path).status_code for path in paths] == [200, 503, 503]
    assert emulator.service.stats().requests_by_endpoint["accounts"] == 2


def test_emulator_service_submission_takes_a_slot(emulator, http):
    emulator.service.submit("another client's job")
    accounts = http.get(emulator.url + AVAILABLE).json()["available"]
    assert sum(account["available"] for account in accounts) == 3


def test_emulator_beside_another_keeps_its_own_jobs(emulator, http):
    with EmulatorServer(service="kling") as other:
        assert http.get(f"{other.url}/v1/kling/scheduler/available").json()["executing"] == []
        assert http.get(emulator.url + AVAILABLE).json()["executing"] == []


def test_emulator_with_the_same_seed_makes_the_same_ids(http):
    def job_id():
        with EmulatorServer(seed=7) as emulator:
            return http.post(emulator.url + SUBMIT, json={"prompt": "a prompt"}).json()["job_id"]

    assert job_id() == job_id()


def test_emulator_after_its_end_leaves_no_thread_and_no_socket(http):
    before = set(threading.enumerate())
    with EmulatorServer() as emulator:
        http.get(emulator.url + AVAILABLE)
    assert set(threading.enumerate()) <= before
    with pytest.raises(requests.ConnectionError):
        http.get(emulator.url + AVAILABLE)


def test_emulator_entered_again_has_the_same_jobs(http):
    emulator = EmulatorServer()
    with emulator:
        address = emulator.url
        job = emulator.service.submit("a prompt")
    with emulator:
        executing = http.get(address + AVAILABLE).json()["executing"]
    assert [listed["job_id"] for listed in executing] == [job.job_id]


def test_emulator_with_busy_port_is_an_error(emulator):
    port = int(emulator.url.rpartition(":")[2])
    with pytest.raises(OSError, match="in use"), EmulatorServer(port=port):
        pass


@pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6")
def test_emulator_with_ipv6_host_answers(http):
    with EmulatorServer(host="[::1]") as emulator:
        assert http.get(f"{emulator.url}/v1/riffusion/scheduler").json() == []


def test_emulator_dropped_request_gets_no_answer(emulator, http):
    emulator.faults.add(Fault(drop=True, endpoint="submit"))
    with pytest.raises(requests.ConnectionError, match="Connection aborted"):
        http.post(emulator.url + SUBMIT, json={"prompt": "a prompt"})
    assert emulator.service.jobs() == []


def test_emulator_cut_answer_is_shorter_than_announced(emulator, http):
    emulator.faults.add(Fault(body="cut", status=500, retry_after=5))
    answer = http.get(emulator.url + AVAILABLE, stream=True)
    assert (answer.status_code, answer.headers["Retry-After"]) == (500, "5")
    with pytest.raises(requests.exceptions.ChunkedEncodingError):
        answer.content  # noqa: B018


def test_emulator_after_a_dropped_request_serves_the_next(emulator, http):
    emulator.faults.add(Fault(drop=True, times=1))
    with pytest.raises(requests.ConnectionError):
        http.get(emulator.url + AVAILABLE)
    assert http.get(emulator.url + AVAILABLE).status_code == 200


def test_emulator_huge_answer_has_all_its_bytes(emulator, http):
    emulator.faults.add(Fault(body="huge"))
    answer = http.get(emulator.url + AVAILABLE, stream=True)
    assert sum(len(chunk) for chunk in answer.iter_content(1_000_000)) == HUGE_BYTES


def test_emulator_huge_answer_not_read_serves_the_next(emulator, http):
    emulator.faults.add(Fault(body="huge", times=1))
    http.get(emulator.url + AVAILABLE, stream=True).close()
    assert http.get(emulator.url + AVAILABLE).status_code == 200


def test_emulator_delayed_request_is_served(emulator, http):
    emulator.faults.add(Fault(delay_seconds=0.01))
    assert http.get(emulator.url + AVAILABLE).status_code == 200


def test_emulator_delayed_request_delays_no_other(emulator, http):
    emulator.faults.add(Fault(delay_seconds=300, endpoint="capacity"))
    with pytest.raises(requests.ReadTimeout):
        http.get(emulator.url + AVAILABLE, timeout=(30, 0.05))
    assert http.get(f"{emulator.url}/v1/riffusion/scheduler").status_code == 200


def test_emulator_with_waiting_clients_ends(http):
    with EmulatorServer() as emulator:
        emulator.faults.add(Fault(delay_seconds=300, times=1))
        with pytest.raises(requests.ReadTimeout):
            http.get(emulator.url + AVAILABLE, timeout=(30, 0.05))
        emulator.faults.add(Fault(body="huge"))
        http.get(emulator.url + AVAILABLE, stream=True)
    assert emulator.service.stats().requests == 2


def test_emulator_token_can_be_replaced_while_it_serves():
    def status(token):
        return requests.get(
            f"{emulator.url}/v1/riffusion/scheduler", headers={"Authorization": f"Bearer {token}"}, timeout=10
        ).status_code

    with EmulatorServer(token="old") as emulator:
        emulator.token = "new"
        assert (status("old"), status("new")) == (401, 200)
        with pytest.raises(ValueError, match="token"):
            emulator.token = "two words"
