from __future__ import annotations

import logging
import queue
import socket
import threading
from contextlib import suppress
from logging.handlers import QueueHandler

import pytest

from airflow_riffusion.emulator import EmulatorServer, callbacks


@pytest.fixture
def emulator():
    """An emulator whose jobs are over at once."""
    with EmulatorServer(max_jobs=10, job_seconds=0.001) as emulator:
        yield emulator


@pytest.fixture
def warnings():
    """What the callbacks log, to be waited for."""
    records = queue.SimpleQueue()
    handler = QueueHandler(records)
    logger = logging.getLogger(callbacks.__name__)
    logger.addHandler(handler)
    yield lambda: records.get(timeout=30).getMessage()
    logger.removeHandler(handler)


@pytest.fixture
def silent_receiver():
    """The address of a receiver that accepts connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}/"


@pytest.fixture
def endless_receiver():
    """The address of a receiver that sends interim answers without end, and never the real one."""

    def serve():
        with suppress(OSError), listening.accept()[0] as connection:
            while True:
                connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
                given_up.wait(0.001)
                if given_up.is_set():
                    return

    given_up = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=serve)
        thread.start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}/"
        given_up.set()
        thread.join()


def test_callback_completed_job_is_reported(emulator, receiver, http):
    job = emulator.service.submit("a prompt", reply_url=f"{receiver.url}/done?key=1&%20=2", reply_ref="mine")
    assert receiver.next_call() == (
        "/done?key=1&%20=2",
        http.get(f"{emulator.url}/v1/riffusion/music/?id={job.job_id}").json(),
    )


@pytest.mark.parametrize(
    ("service", "path"),
    [
        ("tempolor", "v1/tempolor/music"),
        ("flowmusic", "v1/flowmusic/jobs"),
        ("acemusic", "v1/acemusic/jobs"),
        ("mureka", "v1/mureka/jobs"),
        ("pixverse", "v2/pixverse/music"),
    ],
)
def test_callback_has_what_asking_for_the_job_says(service, path, receiver, http):
    with EmulatorServer(service=service, job_seconds=0.001) as emulator:
        job = emulator.service.submit("a prompt", reply_url=f"{receiver.url}/", reply_ref="mine")
        assert receiver.next_call()[1] == http.get(f"{emulator.url}/{path}/{job.job_id}").json()


def test_callback_of_a_service_without_outcomes_names_the_job(receiver):
    with EmulatorServer(service="kling", job_seconds=0.001) as emulator:
        job = emulator.service.submit("a prompt", reply_url=f"{receiver.url}/")
        assert receiver.next_call()[1] == {"id": job.job_id, "email": job.user_id, "status": "completed"}


def test_callback_cancelled_job_is_not_reported(receiver):
    seconds = iter([3600, 0.001])
    with EmulatorServer(job_seconds=lambda: next(seconds)) as emulator:
        cancelled = emulator.service.submit("a prompt", reply_url=f"{receiver.url}/cancelled")
        emulator.service.cancel(cancelled.job_id)
        emulator.service.submit("a prompt", reply_url=f"{receiver.url}/completed")
        assert receiver.next_call()[0] == "/completed"


def test_callback_redirect_is_not_followed(emulator, receiver, warnings):
    receiver.answers["/moved"] = 307
    emulator.service.submit("a prompt", reply_url=f"{receiver.url}/moved")
    assert receiver.next_call()[0] == "/moved"
    assert warnings().endswith("its replyUrl answered 307")
    emulator.service.submit("a prompt", reply_url=f"{receiver.url}/next")
    assert receiver.next_call()[0] == "/next"


def test_callback_refused_connection_stops_no_other_call(emulator, receiver, warnings):
    emulator.service.submit("a prompt", reply_url="http://127.0.0.1:1/refused")
    assert warnings().endswith("its replyUrl could not be called: Connection refused")
    emulator.service.submit("a prompt", reply_url=f"{receiver.url}/next")
    assert receiver.next_call()[0] == "/next"


def test_callback_silent_receiver_is_given_up(emulator, silent_receiver, warnings, monkeypatch):
    monkeypatch.setattr(callbacks, "CALLBACK_SECONDS", 0.05)
    emulator.service.submit("a prompt", reply_url=silent_receiver)
    assert warnings().endswith("its replyUrl did not answer within 0.05 s")


def test_callback_endless_receiver_is_given_up(emulator, endless_receiver, warnings, monkeypatch):
    monkeypatch.setattr(callbacks, "CALLBACK_SECONDS", 0.05)
    emulator.service.submit("a prompt", reply_url=endless_receiver)
    assert warnings().endswith("its replyUrl did not answer within 0.05 s")


def test_callback_proxy_of_the_environment_is_not_used(emulator, receiver, monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    emulator.service.submit("a prompt", reply_url=f"{receiver.url}/done")
    assert receiver.next_call()[0] == "/done"


def test_callback_receiver_without_tls_is_given_up(emulator, receiver, warnings):
    emulator.service.submit("a prompt", reply_url=receiver.url.replace("http:", "https:"))
    assert "could not be called" in warnings()


@pytest.mark.parametrize(
    "url",
    [
        "http://user:secret@127.0.0.1:1/secret?key=secret",
        "http://secret.invalid:port/secret",
        "gopher://127.0.0.1/secret",
    ],
)
def test_callback_bad_url_is_logged_without_its_secrets(emulator, warnings, url):
    emulator.service.submit("a prompt", reply_url=url)
    warning = warnings()
    assert "could not be called" in warning
    assert "secret" not in warning
