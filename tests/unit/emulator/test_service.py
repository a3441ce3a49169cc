from __future__ import annotations

from collections import Counter
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_riffusion.emulator.records import LoginExpired, NoFreeSlot, TooSoon, UnknownAccount, UnknownJob
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


def test_read_new_service_has_every_slot_free(service):
    assert free(service) == {"one": 2, "two": 2}


def test_submit_named_account_takes_its_slot(service):
    service.submit("a prompt", user_id="two")
    assert free(service) == {"one": 2, "two": 1}


def test_submit_without_account_gets_a_random_one(clock):
    chosen = {new_service(clock, seed=seed).submit("a prompt").user_id for seed in range(20)}
    assert chosen == {"one", "two"}


def test_submit_with_the_same_seed_gets_the_same_accounts(clock):
    first, second = (
        [service.submit("a prompt").user_id for _ in range(4)]
        for service in (new_service(clock, seed=1), new_service(clock, seed=1))
    )
    assert first == second


def test_submit_without_account_gets_one_with_a_free_slot(service):
    service.submit("a prompt", user_id="one")
    service.submit("a prompt", user_id="one")
    assert {service.submit("a prompt").user_id for _ in range(2)} == {"two"}


def test_submit_full_account_raises_no_free_slot(service):
    service.submit("a prompt", user_id="one")
    service.submit("a prompt", user_id="one")
    with pytest.raises(NoFreeSlot):
        service.submit("a prompt", user_id="one")


def test_submit_full_service_raises_no_free_slot(service):
    for _ in range(4):
        service.submit("a prompt")
    with pytest.raises(NoFreeSlot):
        service.submit("a prompt")


def test_submit_with_max_jobs_leaves_other_slots_free(service):
    service.submit("a prompt", user_id="one")
    with pytest.raises(NoFreeSlot):
        service.submit("a prompt", user_id="one", max_jobs=1)


def test_submit_with_higher_max_jobs_gets_no_more_slots(service):
    service.submit("a prompt", user_id="one")
    service.submit("a prompt", user_id="one")
    with pytest.raises(NoFreeSlot):
        service.submit("a prompt", user_id="one", max_jobs=10)


def test_submit_unknown_account_is_an_error_and_no_refusal(service):
    with pytest.raises(UnknownAccount):
        service.submit("a prompt", user_id="three")
    assert service.stats().refusals == 0


def test_submit_expired_login_raises_login_expired(service):
    service.log_out("one")
    with pytest.raises(LoginExpired):
        service.submit("a prompt", user_id="one")
    assert (service.jobs(), service.stats().refusals) == ([], 0)


def test_submit_without_account_gets_one_with_a_valid_login(service):
    service.log_out("one")
    assert {service.submit("a prompt").user_id for _ in range(2)} == {"two"}


def test_submit_valid_logins_full_raises_no_free_slot(service):
    service.log_out("one")
    for _ in range(2):
        service.submit("a prompt")
    with pytest.raises(NoFreeSlot):
        service.submit("a prompt")


def test_submit_all_logins_expired_raises_login_expired(service):
    service.log_out("one")
    service.log_out("two")
    with pytest.raises(LoginExpired):
        service.submit("a prompt")


def test_log_out_executing_jobs_go_on(service, clock):
    service.submit("a prompt", user_id="one")
    service.log_out("one")
    clock.advance(20)
    assert [job.status for job in service.jobs()] == ["completed"]


def test_log_out_error_is_in_the_snapshot(service):
    service.log_out("one", error="Log in again.")
    assert service.read().login_errors == {"one": "Log in again."}


def test_read_lists_full_accounts_by_default(clock):
    service = new_service(clock, accounts={"full": 1, "free": 2})
    service.submit("a prompt", user_id="full")
    assert listed(service) == ["full", "free"]


def test_read_hiding_full_accounts_lists_those_with_a_free_slot(clock):
    service = new_service(clock, accounts={"full": 1, "free": 2}, hide_full_accounts=True)
    service.submit("a prompt", user_id="full")
    service.submit("a prompt", user_id="free")
    assert listed(service) == ["free"]


def test_read_hiding_full_accounts_with_all_full_lists_none(clock):
    service = new_service(clock, accounts={"a": 1, "b": 1}, hide_full_accounts=True)
    for account in ("a", "b"):
        service.submit("a prompt", user_id=account)
    assert (listed(service), len(service.read().jobs)) == ([], 2)


@pytest.mark.parametrize("hides", [False, True])
def test_read_never_lists_an_expired_login(clock, hides):
    service = new_service(clock, hide_full_accounts=hides)
    service.log_out("one")
    assert listed(service) == ["two"]


def test_log_in_after_log_out_takes_jobs_again(service):
    service.log_out("one")
    service.log_in("one")
    assert service.submit("a prompt", user_id="one").user_id == "one"


@pytest.mark.parametrize("method", ["log_out", "log_in"])
def test_log_out_or_in_unknown_account_is_an_error(service, method):
    with pytest.raises(UnknownAccount):
        getattr(service, method)("three")


def test_reset_renews_every_login(service):
    service.log_out("one")
    service.reset()
    assert service.submit("a prompt", user_id="one").user_id == "one"


def test_read_before_the_end_has_the_job(service, clock):
    job = service.submit("a prompt")
    clock.advance(19.999)
    assert service.read().jobs == (job,)


def test_read_after_the_end_has_the_slot_free(service, clock):
    service.submit("a prompt", user_id="one")
    clock.advance(20)
    assert (service.read().jobs, free(service)) == ((), {"one": 2, "two": 2})


def test_submit_at_the_end_of_a_job_takes_its_slot(service, clock):
    for _ in range(4):
        service.submit("a prompt")
    clock.advance(20)
    assert service.submit("a prompt").job_id == "job-5"


def test_jobs_read_late_ended_on_time(service, clock):
    job = service.submit("a prompt")
    clock.advance(3600)
    assert [seen.ended for seen in service.jobs()] == [job.over_at]


def test_job_seconds_function_is_called_for_each_job(clock):
    seconds = iter([10, 30])
    service = new_service(clock, job_seconds=lambda: next(seconds))
    first, second = service.submit("short"), service.submit("long")
    assert [(job.over_at - clock.now).total_seconds() for job in (first, second)] == [10, 30]


def test_cancel_frees_the_slot(service):
    service.submit("a prompt", user_id="one")
    service.cancel("job-1")
    assert free(service)["one"] == 2


def test_complete_ends_a_job_before_its_time(service):
    service.submit("one", user_id="two")

    job = service.complete("job-1")

    assert (job.status, service.stats().completed, service.stats().executing) == ("completed", 1, 0)


@pytest.mark.parametrize("job_id", ["job-1", "never-heard-of"])
def test_cancel_job_that_is_not_executing_is_an_error(service, clock, job_id):
    service.submit("a prompt")
    clock.advance(20)
    with pytest.raises(UnknownJob):
        service.cancel(job_id)


def test_jobs_keep_the_order_of_acceptance(service, clock):
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


def test_take_ended_completed_job_is_returned_once(service, clock):
    service.submit("a prompt")
    clock.advance(20)
    assert [len(service.take_ended()) for _ in range(2)] == [1, 0]


def test_take_ended_cancelled_job_is_not_returned(service):
    service.submit("a prompt")
    service.cancel("job-1")
    assert service.take_ended() == []


def test_take_ended_jobs_have_the_order_of_their_ends(clock):
    seconds = iter([30, 10])
    service = new_service(clock, job_seconds=lambda: next(seconds))
    service.submit("long")
    service.submit("short")
    clock.advance(60)
    assert [job.prompt for job in service.take_ended()] == ["short", "long"]


def test_stats_peak_is_the_most_jobs_at_once(service, clock):
    service.submit("a prompt", user_id="one")
    service.submit("a prompt", user_id="two")
    service.submit("a prompt", user_id="two")
    clock.advance(20)
    service.submit("a prompt", user_id="one")
    stats = service.stats()
    assert (stats.peak, stats.peak_by_account) == (3, {"one": 1, "two": 2})


def test_reset_makes_the_service_as_new(clock):
    service = new_service(clock)
    as_new = service.stats()
    service.submit("a prompt")
    service.count_request("capacity")
    service.count_unauthorized()
    service.reset()
    assert (service.stats(), service.jobs(), free(service)) == (as_new, [], ACCOUNTS)


def test_find_job_with_numeric_id_takes_text(clock):
    service = SchedulerService({"one": 1}, new_job_id=lambda *_arguments: 100_000_001, clock=clock)
    service.submit("a prompt")
    assert service.find("100000001").status == "executing"


def test_find_after_reset_raises_unknown_job(service):
    service.submit("a prompt")
    service.reset()
    with pytest.raises(UnknownJob):
        service.find("job-1")


def test_job_error_failed_job_is_counted_apart(service, clock):
    service.submit("a prompt", error="moderated")
    service.submit("a prompt")
    clock.advance(20)
    stats = service.stats()
    assert (stats.accepted, stats.completed, stats.failed, stats.executing) == (2, 1, 1, 0)


def test_job_error_failed_job_frees_its_slot(service, clock):
    service.submit("a prompt", user_id="one", error="moderated")
    clock.advance(20)
    assert [account.available for account in service.read().accounts] == [2, 2]


def test_submit_jobs_takes_slots_of_one_account(service):
    jobs = service.submit_jobs(2, "a prompt")
    assert [job.job_id for job in jobs] == ["job-1", "job-2"]
    assert sorted(free(service).values()) == [0, 2]


def test_submit_jobs_with_too_few_slots_on_each_account_takes_none(service):
    service.submit("a prompt", user_id="one")
    service.submit("a prompt", user_id="two")
    with pytest.raises(NoFreeSlot):
        service.submit_jobs(2, "a prompt")
    assert free(service) == {"one": 1, "two": 1}


def test_submit_jobs_with_too_low_max_jobs_takes_none(service):
    with pytest.raises(NoFreeSlot):
        service.submit_jobs(2, "a prompt", max_jobs=1)


def test_keep_pause_too_soon_raises_until_a_reset(clock):
    service = new_service(clock, submission_pause=3)
    service.keep_pause()
    with pytest.raises(TooSoon):
        service.keep_pause()
    service.reset()
    service.keep_pause()


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
                service.submit("a prompt", user_id=user_id, max_jobs=max_jobs)
            case "cancel", number:
                service.cancel(f"job-{number}")
            case "advance", seconds:
                clock.advance(seconds)
    except (NoFreeSlot, UnknownJob):
        pass


@given(steps=steps)
def test_service_any_steps_lose_no_slot_and_give_none_twice(new_clock, steps):
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
