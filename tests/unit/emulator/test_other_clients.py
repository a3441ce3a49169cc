from __future__ import annotations

from collections import Counter
from datetime import timedelta
from itertools import chain, cycle, pairwise, repeat
from random import Random
from statistics import mean

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.testclient import TestClient

from airflow_riffusion.emulator import EmulatorServer
from airflow_riffusion.emulator.app import create_app
from airflow_riffusion.emulator.arrivals import Arrivals
from airflow_riffusion.emulator.dialects import dialect_of
from airflow_riffusion.emulator.records import NoFreeSlot
from airflow_riffusion.emulator.service import SchedulerService

AVAILABLE = "/v1/riffusion/scheduler/available"


def new_service(clock, *, rate=6, accounts=None, seed=7, **options):
    return SchedulerService(
        accounts or {"one": 2, "two": 2},
        new_job_id=lambda _account, number, random: f"job-{number}-{random.random()}",
        other_clients_per_minute=rate,
        clock=clock,
        random=Random(seed),
        **options,
    )


def jobs_of_others(service):
    return [job for job in service.jobs() if job.other_client]


def starts(service):
    return [job.started for job in jobs_of_others(service)]


def test_other_clients_by_default_never_come(service, clock):
    clock.advance(7 * 24 * 3600)
    assert (service.jobs(), service.stats().other_clients) == ([], 0)


def test_other_clients_with_time_take_free_slots(clock):
    service = new_service(clock)
    assert service.stats().other_clients == 0
    clock.advance(60)
    assert service.stats().other_clients == len(jobs_of_others(service)) > 0


def test_arrivals_come_at_the_given_rate_on_average(clock):
    begin = clock.now
    clock.advance(1000 * 60)
    moments = list(Arrivals(6, begin, Random(7)).until(clock.now))
    gaps = [(after - before).total_seconds() for before, after in pairwise(moments)]
    assert mean(gaps) == pytest.approx(10, rel=0.05)
    # A Poisson process: of its pauses, 1 - 1/e are shorter than the mean.
    assert sum(gap < 10 for gap in gaps) / len(gaps) == pytest.approx(0.632, abs=0.02)


def test_other_clients_job_takes_the_usual_time_without_reference(clock):
    service = new_service(clock, job_seconds=12)
    clock.advance(600)
    for job in jobs_of_others(service):
        assert (job.prompt, job.reply_ref, job.reply_url) == ("another client's", None, None)
        assert (job.over_at - job.started).total_seconds() == 12


def test_other_clients_job_can_be_read_found_and_cancelled(clock):
    service = new_service(clock, rate=60)
    clock.advance(10)
    job = service.read().jobs[0]
    assert job.other_client
    assert service.find(job.job_id) == job
    assert service.cancel(job.job_id).status == "cancelled"


def test_other_clients_at_a_full_service_are_no_refusals(clock):
    service = new_service(clock, rate=60, job_seconds=3600)
    for _ in range(4):
        service.submit("a prompt")
    clock.advance(3599)
    stats = service.stats()
    assert (stats.other_clients, stats.refusals, stats.executing) == (0, 0, 4)


def test_submit_after_other_clients_took_all_slots_is_refused(clock):
    service = new_service(clock, rate=60, job_seconds=3600)
    clock.advance(60)
    with pytest.raises(NoFreeSlot):
        service.submit("a prompt")
    assert (service.stats().other_clients, service.stats().refusals) == (4, 1)


def test_other_clients_use_no_account_with_expired_login(clock):
    service = new_service(clock)
    service.log_out("one")
    clock.advance(600)
    assert {job.user_id for job in jobs_of_others(service)} == {"two"}


def test_other_clients_use_all_accounts(clock):
    service = new_service(clock)
    clock.advance(600)
    assert {job.user_id for job in jobs_of_others(service)} == {"one", "two"}


def test_stats_with_other_clients_count_them_in_the_peak_only(clock):
    service = new_service(clock, rate=60, job_seconds=20)
    service.submit("completed")
    service.submit("failed", error="moderated")
    service.cancel(service.submit("cancelled").job_id)
    clock.advance(600)
    stats = service.stats()
    assert (stats.accepted, stats.completed, stats.failed, stats.cancelled) == (3, 1, 1, 1)
    assert stats.other_clients == len(jobs_of_others(service)) > 3
    assert (stats.peak, stats.peak_by_account) == (4, {"one": 2, "two": 2})
    assert stats.executing == len(service.read().jobs)


def test_other_clients_take_a_slot_not_before_it_is_free(clock):
    service = new_service(clock, accounts={"one": 1}, rate=60, job_seconds=20)
    clock.advance(600)
    jobs = service.jobs()
    assert all(before.over_at <= after.started for before, after in pairwise(jobs))
    assert all(job.ended in (None, job.over_at) for job in jobs)
    # One comes each second on average, so that a slot does not stay free for long.
    assert len(jobs) > 600 / 30


def test_other_clients_with_the_same_seed_are_the_same(clock, new_clock):
    def history(seed):
        clock = new_clock()
        service = new_service(clock, seed=seed)
        clock.advance(600)
        return service.jobs()

    assert history(1) == history(1) != history(2)


def test_other_clients_come_at_the_same_times_whatever_is_submitted(new_clock):
    def starts_when_all_is_free_again(submissions):
        clock = new_clock()
        seconds = chain([300] * submissions, repeat(0.001))
        service = new_service(clock, rate=60, job_seconds=lambda: next(seconds))
        for _ in range(submissions):
            service.submit("a prompt")
        clock.advance(600)
        free = clock.now - timedelta(seconds=300)
        return [start for start in starts(service) if start > free]

    assert starts_when_all_is_free_again(0) == starts_when_all_is_free_again(4) != []


def test_submit_beside_other_clients_gets_the_same_accounts(new_clock):
    def chosen(rate):
        clock = new_clock()
        service = new_service(clock, rate=rate, job_seconds=0.001)
        accounts = []
        for _ in range(20):
            clock.advance(5)
            accounts.append(service.submit("a prompt").user_id)
        return accounts

    assert chosen(0) == chosen(60)


def test_reset_brings_other_clients_with_the_same_pauses(clock):
    service = new_service(clock)

    def pauses():
        begin = clock.now
        clock.advance(600)
        return [start - begin for start in starts(service)]

    before = pauses()
    service.reset()
    assert service.stats().other_clients == 0
    assert pauses() == before


def test_other_clients_with_the_clock_set_back_do_not_come(clock):
    service = new_service(clock)
    clock.advance(-3600)
    assert service.read().jobs == ()


@pytest.mark.parametrize("rate", [5e-324, 1e-9])
def test_other_clients_at_a_tiny_rate_do_not_come(clock, rate):
    service = new_service(clock, rate=rate)
    clock.advance(7 * 24 * 3600)
    assert service.jobs() == []


def test_emulator_with_a_rate_has_other_clients(clock):
    emulator = EmulatorServer(other_clients_per_minute=60, seed=7, clock=clock)
    clock.advance(60)
    assert emulator.service.stats().other_clients > 0


def test_other_clients_jobs_are_marked_under_emulator_only(clock):
    service = new_service(clock, rate=60, job_seconds=3600)
    app = create_app(service, dialect_of("riffusion"))
    client = TestClient(app, headers={"Authorization": "Bearer any token"})
    service.submit("mine")
    clock.advance(60)
    jobs = client.get("/emulator/jobs").json()
    assert [(job["prompt"], job["other_client"]) for job in jobs] == [
        ("mine", False),
        *[("another client's", True)] * 3,
    ]
    assert client.get("/emulator/stats").json()["other_clients"] == 3
    for listed in client.get(AVAILABLE).json()["executing"]:
        assert list(listed) == ["job_id", "user_id", "started", "elapsed"]


def submit(service):
    try:
        return service.submit("a prompt").user_id
    except NoFreeSlot:
        return None


@given(
    seed=st.integers(0, 1000),
    rate=st.floats(0, 120),
    steps=st.lists(st.tuples(st.floats(0, 60), st.booleans()), max_size=40),
)
def test_service_read_often_or_seldom_has_the_same_history(new_clock, seed, rate, steps):
    clock = new_clock()
    watched, unwatched = (
        new_service(clock, seed=seed, rate=rate, job_seconds=cycle([20, 5, 60]).__next__) for _ in range(2)
    )
    for seconds, submits in steps:
        clock.advance(seconds)
        reading = watched.read()
        busy = Counter(job.user_id for job in reading.jobs)
        assert all(busy[account.user_id] == account.executing <= 2 for account in reading.accounts)
        if submits:
            assert submit(watched) == submit(unwatched)
    assert (watched.jobs(), watched.stats()) == (unwatched.jobs(), unwatched.stats())
    assert watched.take_ended() == unwatched.take_ended()
