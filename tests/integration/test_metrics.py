"""Metrics on a real socket, sent by Airflow's own client, from a process that Airflow has set them up in."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
from contextlib import suppress

import pytest

from airflow_riffusion.emulator import EmulatorServer

# Airflow 3.2 and newer set up the metrics of triggers with `airflow.sdk.serde`, older ones by themselves.
PROGRAM = """
import asyncio
from contextlib import suppress

with suppress(ImportError):
    import airflow.sdk.serde

from airflow_riffusion.exceptions import RiffusionRejected
from airflow_riffusion.hooks.riffusion import RiffusionHook
from airflow_riffusion.core.request import SlotRequest
from airflow_riffusion.gate.gate import CapacityGate

async def wait():
    await CapacityGate.of("riffusion_test").wait("w", SlotRequest(), 1)

asyncio.run(wait())
with suppress(RiffusionRejected):
    RiffusionHook("riffusion_test").run("no/such/endpoint")
"""


@pytest.fixture(scope="module")
def sent(tmp_path_factory):
    """Let a task get the one slot and a request be turned away; return what a statsd is told of it."""
    with (
        EmulatorServer(accounts=1, max_jobs=1) as emulator,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as statsd,
    ):
        statsd.bind(("127.0.0.1", 0))
        connection = {"conn_type": "riffusion", "host": emulator.url, "password": "user:1234-abcDEF"}
        env = {
            **os.environ,
            "AIRFLOW_HOME": str(tmp_path_factory.mktemp("airflow")),
            "AIRFLOW__METRICS__STATSD_ON": "True",
            "AIRFLOW__METRICS__STATSD_HOST": "127.0.0.1",
            "AIRFLOW__METRICS__STATSD_PORT": str(statsd.getsockname()[1]),
            "AIRFLOW_CONN_RIFFUSION_TEST": json.dumps(connection),
        }
        subprocess.run([sys.executable, "-c", PROGRAM], env=env, check=True, timeout=120)
        (account,) = emulator.service.read().accounts
        metrics = []
        statsd.setblocking(False)
        with suppress(BlockingIOError):
            while True:
                metrics += statsd.recv(65536).decode().splitlines()
    here = re.sub(r"[^\w-]", "_", socket.gethostname(), flags=re.ASCII)
    names = {account.user_id: "ACCOUNT", here: "HOST"}
    return [re.sub("|".join(names), lambda found: names[found[0]], metric) for metric in metrics]


@pytest.mark.parametrize(
    "metric",
    [
        "slots.available{.riffusion_test.ACCOUNT}:1|g",
        "slots.executing{.riffusion_test.ACCOUNT}:0|g",
        "slots.max{.riffusion_test.ACCOUNT}:1|g",
        "gate.waiting{.riffusion_test.HOST}:0|g",
        "gate.held{.riffusion_test.HOST}:1|g",
        "grants{.riffusion_test}:1|c",
        "request.error{.riffusion_test.rejected.404}:1|c",
    ],
)
def test_statsd_without_tags_gets_short_and_long_names(sent, metric):
    short, long = re.sub(r"{.*}", "", metric), metric.replace("{", "").replace("}", "")

    assert f"airflow.riffusion.{short}" in sent
    assert f"airflow.riffusion.{long}" in sent


@pytest.mark.parametrize("name", ["request", "gate.wait"])
@pytest.mark.parametrize("end", ["", ".riffusion_test"])
def test_statsd_timers_are_in_milliseconds(sent, name, end):
    timers = [metric for metric in sent if metric.startswith(f"airflow.riffusion.{name}{end}:")]

    assert timers
    assert all(re.fullmatch(r"[\d.]+\|ms", timer.partition(":")[2]) for timer in timers)
