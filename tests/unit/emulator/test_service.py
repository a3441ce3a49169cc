from __future__ import annotations

from collections import Counter
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_riffusion.emulator.records import LoginExpired, NoFreeSlot, UnknownAccount, UnknownJob
from airflow_riffusion.emulator.service import SchedulerService

ACCOUNTS = {"one": 2, "two": 2}


def new_service(clock, *, accounts=ACCOUNTS, seed=7, **options):
    return SchedulerService(
        accounts,
        new_job_id=lambda _account, number, _random: f"job-{number}",
        clock=clock,
        random=Random(seed),
        **options,
    )


def free(service):
    return {account.user_id: account.available for account in service.read().accounts}


def listed(service):
    return [account.user_id for account in service.read().accounts if account.listed]


def test_a_new_service_has_every_slot_free(service):
    assert free(service) == {"one": 2, "two": 2}


def test_a_submission_takes_a_slot_of_the_account_it_names(service):
    service.submit("a song", user_id="two")
    assert free(service) == {"one": 2, "two": 1}


def test_a_submission_without_an_account_gets_one_at_random(clock):
    chosen = {new_service(clock, seed=seed).submit("a song").user_id for seed in range(20)}
    assert chosen == {"one", "two"}


def test_the_same_seed_chooses_the_same_accounts(clock):
    first, second = (
        [service.submit("a song").user_id for _ in range(4)]
        for service in (new_service(clock, seed=1), new_service(clock, seed=1))
    )
    assert first == second


def test_only_an_account_with_a_free_slot_is_chosen(service):
    service.submit("a song", user_id="one")
    service.submit("a song", user_id="one")
    assert {service.submit("a song").user_id for _ in range(2)} == {"two"}


def test_a_full_account_refuses(service):
    service.submit("a song", user_id="one")
    service.submit("a song", user_id="one")
    with pytest.raises(NoFreeSlot):
        service.submit("a song", user_id="one")


def test_a_full_service_refuses(service):
    for _ in range(4):
        service.submit("a song")
    with pytest.raises(NoFreeSlot):
        service.submit("a song")


def test_a_submission_may_leave_slots_of_its_account_alone(service):
    service.submit("a song", user_id="one")
    with pytest.raises(NoFreeSlot):
        service.submit("a song", user_id="one", max_jobs=1)


def test_a_submission_can_not_raise_the_slots_of_its_account(service):
    service.submit("a song", user_id="one")
    service.submit("a song", user_id="one")
    with pytest.raises(NoFreeSlot):
        service.submit("a song", user_id="one", max_jobs=10)


def test_an_unknown_account_is_an_error_and_no_refusal(service):
    with pytest.raises(UnknownAccount):
        service.submit("a song", user_id="three")
    assert service.stats().refusals == 0


def test_an_account_whose_login_has_expired_takes_no_job(service):
    service.log_out("one")
    with pytest.raises(LoginExpired):
        service.submit("a song", user_id="one")
    assert (service.jobs(), service.stats().refusals) == ([], 0)


def test_a_submission_without_an_account_gets_one_whose_login_is_good(service):
    service.log_out("one")
    assert {service.submit("a song").user_id for _ in range(2)} == {"two"}


def test_a_service_whose_healthy_accounts_are_full_refuses(service):
    service.log_out("one")
    for _ in range(2):
        service.submit("a song")
    with pytest.raises(NoFreeSlot):
        service.submit("a song")


def test_a_service_without_a_healthy_account_says_so(service):
    service.log_out("one")
    service.log_out("two")
    with pytest.raises(LoginExpired):
        service.submit("a song")


def test_the_jobs_of_an_account_go_on_when_its_login_expires(service, clock):
    service.submit("a song", user_id="one")
    service.log_out("one")
    clock.advance(20)
    assert [job.status for job in service.jobs()] == ["completed"]


def test_an_account_whose_login_has_expired_says_so(service):
    service.log_out("one", error="Log in again.")
    assert service.read().login_errors == {"one": "Log in again."}


def test_read_lists_full_accounts_by_default(clock):
    service = new_service(clock, accounts={"full": 1, "free": 2})
    service.submit("a song", user_id="full")
    assert listed(service) == ["full", "free"]


def test_read_that_hides_full_accounts_lists_those_with_a_free_slot(clock):
    service = new_service(clock, accounts={"full": 1, "free": 2}, hide_full_accounts=True)
    service.submit("a song", user_id="full")
    service.submit("a song", user_id="free")
    assert listed(service) == ["free"]


def test_read_that_hides_full_accounts_lists_none_if_all_are_full(clock):
    service = new_service(clock, accounts={"a": 1, "b": 1}, hide_full_accounts=True)
    for account in ("a", "b"):
        service.submit("a song", user_id=account)
    assert (listed(service), len(service.read().jobs)) == ([], 2)


@pytest.mark.parametrize("hides", [False, True])
def test_read_never_lists_an_account_whose_login_has_expired(clock, hides):
    service = new_service(clock, hide_full_accounts=hides)
    service.log_out("one")
    assert listed(service) == ["two"]


def test_an_account_whose_login_was_renewed_takes_jobs_again(service):
    service.log_out("one")
    service.log_in("one")
    assert service.submit("a song", user_id="one").user_id == "one"


@pytest.mark.parametrize("method", ["log_out", "log_in"])
def test_logging_an_unknown_account_out_or_in_is_an_error(service, method):
    with pytest.raises(UnknownAccount):
        getattr(service, method)("three")


def test_a_reset_renews_every_login(service):
    service.log_out("one")
    service.reset()
    assert service.submit("a song", user_id="one").user_id == "one"


def test_a_job_executes_until_its_time_is_over(service, clock):
    job = service.submit("a song")
    clock.advance(19.999)
    assert service.read().jobs == (job,)


def test_a_job_whose_time_is_over_has_given_its_slot_back(service, clock):
    service.submit("a song", user_id="one")
    clock.advance(20)
    assert (service.read().jobs, free(service)) == ((), {"one": 2, "two": 2})


def test_a_slot_that_has_just_become_free_can_be_taken(service, clock):
    for _ in range(4):
        service.submit("a song")
    clock.advance(20)
    assert service.submit("a song").job_id == "job-5"


def test_a_job_ended_when_its_time_was_over_however_late_one_looks(service, clock):
    job = service.submit("a song")
    clock.advance(3600)
    assert [seen.ended for seen in service.jobs()] == [job.over_at]


def test_each_job_can_take_its_own_time(clock):
    seconds = iter([10, 30])
    service = new_service(clock, job_seconds=lambda: next(seconds))
    first, second = service.submit("short"), service.submit("long")
    assert [(job.over_at - clock.now).total_seconds() for job in (first, second)] == [10, 30]


def test_a_cancelled_job_gives_its_slot_back(service):
    service.submit("a song", user_id="one")
    service.cancel("job-1")
    assert free(service)["one"] == 2


@pytest.mark.parametrize("job_id", ["job-1", "never-heard-of"])
def test_only_an_executing_job_can_be_cancelled(service, clock, job_id):
    service.submit("a song")
    clock.advance(20)
    with pytest.raises(UnknownJob):
        service.cancel(job_id)


def test_the_history_keeps_every_job_in_the_order_of_acceptance(service, clock):
    service.submit("completed", user_id="one")
    clock.advance(15)
    service.submit("cancelled", user_id="two")
    service.submit("executing", user_id="two")
    clock.advance(10)
    service.cancel("job-2")
    assert [(job.prompt, job.status) for job in service.jobs()] == [
        ("completed", "completed"),
        ("cancelled", "cancelled"),
        ("executing", "executing"),
    ]


def test_a_completed_job_is_reported_once(service, clock):
    service.submit("a song")
    clock.advance(20)
    assert [len(service.take_ended()) for _ in range(2)] == [1, 0]


def test_a_cancelled_job_is_not_reported_as_completed(service):
    service.submit("a song")
    service.cancel("job-1")
    assert service.take_ended() == []


def test_jobs_are_reported_in_the_order_in_which_they_ended(clock):
    seconds = iter([30, 10])
    service = new_service(clock, job_seconds=lambda: next(seconds))
    service.submit("long")
    service.submit("short")
    clock.advance(60)
    assert [job.prompt for job in service.take_ended()] == ["short", "long"]


def test_the_peak_remembers_the_most_jobs_at_once(service, clock):
    service.submit("a song", user_id="one")
    service.submit("a song", user_id="two")
    service.submit("a song", user_id="two")
    clock.advance(20)
    service.submit("a song", user_id="one")
    stats = service.stats()
    assert (stats.peak, stats.peak_by_account) == (3, {"one": 1, "two": 2})


def test_a_reset_service_is_as_new(clock):
    service = new_service(clock)
    as_new = service.stats()
    service.submit("a song")
    service.count_request("available")
    service.count_unauthorized()
    service.reset()
    assert (service.stats(), service.jobs(), free(service)) == (as_new, [], ACCOUNTS)


steps = st.lists(
    st.one_of(
        st.tuples(st.just("submit"), st.sampled_from([None, "one", "two"]), st.sampled_from([None, 1, 10])),
        st.tuples(st.just("cancel"), st.integers(1, 30)),
        st.tuples(st.just("advance"), st.floats(0, 30)),
    ),
    max_size=60,
)


def play(service, clock, step):
    try:
        match step:
            case "submit", user_id, max_jobs:
                service.submit("a song", user_id=user_id, max_jobs=max_jobs)
            case "cancel", number:
                service.cancel(f"job-{number}")
            case "advance", seconds:
                clock.advance(seconds)
    except (NoFreeSlot, UnknownJob):
        pass


@given(steps=steps)
def test_slots_are_neither_lost_nor_given_twice(new_clock, steps):
    clock = new_clock()
    service = new_service(clock)
    for step in steps:
        play(service, clock, step)
        reading, stats = service.read(), service.stats()
        assert all(0 <= account.executing <= account.max_jobs for account in reading.accounts)
        assert Counter(job.user_id for job in reading.jobs) == {
            account.user_id: account.executing for account in reading.accounts if account.executing
        }
        assert stats.accepted == stats.executing + stats.completed + stats.cancelled
        assert stats.executing == len(reading.jobs) <= stats.peak <= stats.slots
