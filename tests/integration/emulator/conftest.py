from __future__ import annotations

import json
import queue
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
import requests


@dataclass
class Receiver:
    """Receives callbacks and keeps them."""

    url: str
    answers: dict[str, int] = field(default_factory=dict)
    _calls: queue.SimpleQueue = field(default_factory=queue.SimpleQueue)

    def next_call(self) -> tuple[str, dict]:
        """Wait for the next callback; return its path and its body."""
        return self._calls.get(timeout=30)

    def take(self, path: str, report: dict) -> None:
        self._calls.put((path, report))


@pytest.fixture
def receiver():
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            receiver.take(self.path, json.loads(body))
            self.send_response(receiver.answers.get(self.path, 200))
            self.send_header("Location", "/redirected")
            self.end_headers()

        def log_message(self, *_arguments):
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        receiver = Receiver(f"http://127.0.0.1:{server.server_port}")
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield receiver
        server.shutdown()
        thread.join()


@pytest.fixture
def http():
    """A session with a token."""
    with requests.Session() as session:
        session.trust_env = False
        session.headers["Authorization"] = "Bearer any token"
        yield session
