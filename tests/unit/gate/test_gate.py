"""The gate in virtual time: ``asyncio.sleep`` in here takes none."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import logging
import re
import weakref

import pytest

from airflow_riffusion.exceptions import RiffusionBadResponse, RiffusionRejected, RiffusionUnavailable
from airflow_riffusion.gate.gate import CapacityGate
from tests.gates import FULL, cancel, our_tasks, wait
from tests.readings import configured, job, reading
from tests.virtual_time import VirtualTimeLoop, run


def test_gate_many_waiters_cost_one_request_per_interval(hook):
    async def scenario():
        waiters = [wait(f"w{number}", since=number) for number in range(500)]
        await asyncio.sleep(100)
        await cancel(*waiters)

    run(scenario())
    assert len(hook.asked_at) == 10
    assert all(10 <= pause <= 11 for pause in hook.pauses)


def test_gate_shortest_interval_of_all_waiters_counts_as_soon_as_one_comes(hook):
    async def scenario():
        slow = wait("slow", poke_interval=60)
        await asyncio.sleep(5)
        fast = wait("fast", poke_interval=2)
        await asyncio.sleep(20)
        await cancel(fast)
        while_fast = hook.pauses[1:]
        hook.asked_at = hook.asked_at[-1:]
        await asyncio.sleep(200)
        await cancel(slow)
        return while_fast

    while_fast = run(scenario())
    assert len(while_fast) >= 8
    assert all(2 <= pause <= 2.3 for pause in while_fast)
    assert all(60 <= pause <= 66.1 for pause in hook.pauses[1:])


def test_gate_new_waiter_to_a_queue_brings_no_reading_forward(hook):
    async def scenario():
        first = wait("first", poke_interval=60)
        await asyncio.sleep(10)
        second = wait("second", poke_interval=60)
        await asyncio.sleep(10)
        await cancel(first, second)

    run(scenario())
    assert len(hook.asked_at) == 1


def test_gate_interval_under_a_second_counts_as_a_second(hook):
    async def scenario():
        waiter = wait("w", poke_interval=0.001)
        await asyncio.sleep(10.5)
        await cancel(waiter)

    run(scenario())
    assert all(1 <= pause <= 1.1 for pause in hook.pauses)


def test_gate_one_free_slot_resolves_the_first_waiter_only(hook):
    async def scenario():
        waiters = [wait(f"w{number}", since=-number) for number in range(5)]
        await asyncio.sleep(15)
        hook.answer = reading(a=(1, 2))
        await asyncio.sleep(10)
        done = [waiter for waiter in waiters if waiter.done()]
        await cancel(*waiters)
        return [waiter.result().grant_id for waiter in done]

    assert run(scenario()) == ["w4"]


@pytest.mark.parametrize("stays", [0.0, 0.5])
def test_gate_new_waiter_that_leaves_at_once_does_not_change_the_pace(hook, stays):
    hook.answer = reading(a=1)

    async def scenario():
        await wait("holds a slot", poke_interval=60)
        hook.answer = FULL
        new = wait("new", poke_interval=60)
        await asyncio.sleep(stays)
        await cancel(new)
        await asyncio.sleep(110)

    run(scenario())
    assert len(hook.asked_at) <= 3


def test_gate_new_waiter_served_by_the_last_reading_brings_no_reading_forward(hook):
    hook.answer = reading(a=5)

    async def scenario():
        await wait("first", poke_interval=60)
        await asyncio.sleep(0.5)
        await wait("second", poke_interval=60)
        await asyncio.sleep(119)

    run(scenario())
    assert len(hook.asked_at) == 2


def test_gate_new_waiter_to_an_empty_queue_is_served_by_a_poll_at_once(hook):
    hook.answer = reading(a=1)

    async def scenario():
        await wait("first")
        before = asyncio.get_running_loop().time()
        await asyncio.sleep(5)
        hook.answer = reading(job("1", "a", "first"), a=1)
        await wait("second")
        return asyncio.get_running_loop().time() - before

    assert run(scenario()) == pytest.approx(5)
    assert len(hook.asked_at) == 2


def test_gate_new_waiter_within_a_second_is_served_by_the_last_reading(hook):
    hook.answer = reading(a=3)

    async def scenario():
        for waiter in ("first", "second", "third"):
            await wait(waiter)

    run(scenario())
    assert len(hook.asked_at) == 1


def test_gate_new_waiter_that_the_last_reading_can_not_serve_waits_a_second(hook):
    hook.answer = reading(a=1)

    async def scenario():
        await wait("first")
        waiter = wait("second")  # what the last reading shows is held for the first
        await asyncio.sleep(5)
        await cancel(waiter)

    run(scenario())
    assert 1 <= hook.pauses[0] <= 1.1


def test_gate_unavailable_service_is_asked_ever_less_often_and_ends_no_wait(hook):
    hook.answer = RiffusionUnavailable("503")

    async def scenario():
        waiter = wait("w", poke_interval=10)
        await asyncio.sleep(3600)
        hook.answer = reading(a=1)
        grant = await waiter
        return grant.grant_id

    assert run(scenario()) == "w"
    assert all(10 <= pause <= 330 for pause in hook.pauses)
    assert len(hook.asked_at) < 60


def test_gate_retry_after_counts_for_later_waiters_too(hook):
    hook.next_answers = [RiffusionUnavailable("429", retry_after=90)]

    async def scenario():
        waiter = wait("w", poke_interval=1)
        await asyncio.sleep(30)
        await cancel(waiter)
        waiter = wait("later", poke_interval=1)
        await asyncio.sleep(100)
        await cancel(waiter)

    run(scenario())
    assert hook.pauses[0] >= 90


def test_gate_rejection_ends_every_wait_with_an_exception_of_its_own(hook):
    hook.answer = RiffusionRejected("401 Unauthorized: check the API token", status=401)

    async def scenario():
        return await asyncio.gather(wait("a"), wait("b"), return_exceptions=True)

    first, second = run(scenario())
    assert str(first) == str(second) == "401 Unauthorized: check the API token"
    assert (first.status, type(first)) == (401, RiffusionRejected)
    assert first is not second
    assert len(hook.asked_at) == 1  # looked the connection up again, and it was the same
    assert hook.lookups == 2


def test_gate_rejection_is_logged_with_the_number_of_waits_that_it_ends(hook, caplog):
    hook.answer = RiffusionRejected("401 Unauthorized.")

    async def scenario():
        await asyncio.gather(wait("a"), wait("b"), return_exceptions=True)

    run(scenario())
    assert [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR] == [
        "401 Unauthorized. That ends the wait of all tasks at this gate (2)."
    ]


def test_gate_token_that_was_changed_meanwhile_is_used(hook):
    hook.tokens = ["old", "new"]
    hook.next_answers = [RiffusionRejected("401")]
    hook.answer = reading(a=1)

    async def scenario():
        return (await wait("w")).grant_id

    assert run(scenario()) == "w"
    assert hook.pauses == [0]  # the one look after a rejection is exempt from the pace


def test_gate_connection_without_any_answer_is_looked_up_again(hook):
    hook.next_answers = [RiffusionUnavailable("no such host"), RiffusionUnavailable("503", status=503)]
    hook.answer = reading(a=1)

    async def scenario():
        await wait("w", poke_interval=1)

    run(scenario())
    assert (len(hook.asked_at), hook.lookups) == (3, 2)


def test_gate_connection_is_looked_up_once_and_every_five_minutes(hook):
    async def scenario():
        waiters = [wait(f"w{number}") for number in range(50)]
        await asyncio.sleep(299)
        once = hook.lookups
        await asyncio.sleep(300)
        await cancel(*waiters)
        return once

    assert run(scenario()) == 1
    assert hook.lookups == 2


def test_gate_three_bad_responses_in_a_row_count_as_a_rejection(hook):
    hook.answer = RiffusionBadResponse("200, but it is HTML")

    async def scenario():
        with pytest.raises(RiffusionRejected, match="it is HTML"):
            await wait("w")

    run(scenario())
    assert len(hook.asked_at) == 3


def test_gate_good_response_after_two_bad_ones_starts_the_count_anew(hook):
    bad = RiffusionBadResponse("200, but it is HTML")
    hook.next_answers = [bad, bad, FULL, bad, bad, reading(a=1)]

    async def scenario():
        await wait("w")

    run(scenario())
    assert len(hook.asked_at) == 6


class TestAccountsThatAreNotListed:
    def test_gate_impossible_request_is_rejected_after_three_readings_and_by_fresh_accounts(self, hook):
        hook.configured = configured(a=2)

        async def scenario():
            with pytest.raises(RiffusionRejected) as caught:
                await wait("w", slots=3)
            return str(caught.value)

        assert run(scenario()) == (
            "Connection 'riffusion_test': 3 slots asked for, but the accounts have 2 in all. "
            "Check slots and user_ids, or the accounts' maxJobs."
        )
        assert len(hook.asked_at) == 3
        assert hook.accounts_asked == list(hook.ACCOUNTS_AGES)  # to give up, a fresh answer is needed

    @pytest.mark.parametrize("accounts", [configured(a=2), None], ids=["full", "unknown"])
    def test_gate_empty_readings_end_no_wait_of_accounts_that_may_be_full(self, hook, accounts):
        hook.configured = accounts
        hook.next_answers = [reading()] * 50
        hook.answer = reading(a=(1, 2))

        async def scenario():
            waiting = [wait(f"w{number}") for number in range(5)]
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            states = [task.done() for task in waiting]
            await cancel(*waiting)
            return states

        assert run(scenario()).count(True) == 1
        assert len(hook.asked_at) == 51

    def test_gate_fresh_accounts_that_differ_from_remembered_ones_end_no_wait(self, hook):
        hook.answer = reading(a=(0, 2))
        said = {600.0: configured(a=2), 60.0: configured(a=2, b=1)}

        async def look(max_age):
            return said[max_age]

        hook.aconfigured_accounts = look

        async def scenario():
            waiting = wait("w", slots=3)
            await asyncio.sleep(100)
            ended = waiting.done()
            await cancel(waiting)
            return ended

        assert run(scenario()) is False

    def test_gate_account_that_was_listed_before_counts_as_full(self, hook, caplog):
        caplog.set_level(logging.INFO)
        hook.next_answers = [reading(a=(0, 2), b=(0, 3)), reading(a=(0, 2))]
        hook.answer = reading()

        async def scenario():
            waiting = wait("w", slots=1)
            await asyncio.sleep(100)
            await cancel(waiting)

        run(scenario())
        said = [record.getMessage() for record in caplog.records if "Still waiting" in record.getMessage()]
        assert said
        assert all("0 of 5 slots free on 2 accounts" in line for line in said)

    def test_gate_logged_out_account_that_alone_could_serve_ends_the_wait_and_is_named(self, hook):
        hook.configured = configured("a", b=1)
        hook.answer = reading(b=(0, 1))

        async def scenario():
            with pytest.raises(RiffusionRejected, match="account a needs its login renewed"):
                await wait("w", user_ids=frozenset("a"))

        run(scenario())


def test_gate_unexpected_error_ends_no_wait_and_is_logged_once_with_traceback(hook, caplog):
    hook.next_answers = [RiffusionUnavailable("503", status=503), *[KeyError("surprise")] * 3, reading(a=1)]

    async def scenario():
        await wait("w")

    run(scenario())
    (record,) = [record for record in caplog.records if record.exc_info]
    assert record.getMessage() == (
        "Connection 'riffusion_test': Unexpected KeyError('surprise'). Waiting goes on."
    )


def test_gate_failing_service_is_logged_when_it_fails_and_when_it_answers_again(hook, caplog):
    caplog.set_level(logging.INFO)
    hook.next_answers = [RiffusionUnavailable("503 from the service.")] * 5

    async def scenario():
        waiter = wait("w")
        await asyncio.sleep(3600)
        await cancel(waiter)

    run(scenario())
    lines = [record.getMessage() for record in caplog.records]
    assert lines.count("Connection 'riffusion_test': 503 from the service. Waiting goes on.") == 1
    assert lines.count("Connection 'riffusion_test' answers again, after 5 readings that failed.") == 1


def test_gate_waiter_logs_what_it_waits_for(hook, caplog):
    caplog.set_level(logging.INFO)
    hook.answer = reading(a=2)

    async def scenario():
        await wait("w", slots=2)

    run(scenario())
    assert [record.getMessage() for record in caplog.records] == [
        "Waiting for 2 slots on connection 'riffusion_test'."
    ]


def test_gate_waiter_logs_its_status_on_change_only(hook, caplog):
    caplog.set_level(logging.INFO)

    async def scenario():
        waiters = [wait("first", since=1), wait("second", since=2)]
        await asyncio.sleep(600)
        await cancel(*waiters)

    run(scenario())
    lines = [record.getMessage() for record in caplog.records if "Still waiting" in record.getMessage()]
    lines = sorted(re.sub(r"in \d+ s", "in n s", line) for line in lines)
    free = "0 of 2 slots free on 1 account, 0 held"
    assert lines == [
        f"Still waiting since 00:00:01 UTC: {free}, 0 tasks ahead; next reading in n s.",
        f"Still waiting since 00:00:02 UTC: {free}, 1 task ahead; next reading in n s.",
    ]


def test_gate_waiter_logs_why_no_reading_can_be_had(hook, caplog):
    caplog.set_level(logging.INFO)
    hook.answer = RiffusionUnavailable("503 from the service.")

    async def scenario():
        waiter = wait("w")
        await asyncio.sleep(15)
        await cancel(waiter)

    run(scenario())
    line = re.sub(r"in \d+ s", "in n s", caplog.records[-1].getMessage())
    assert line == (
        "Still waiting since 00:00:00 UTC: no reading is possible: 503 from the service; next reading in n s."
    )


def test_gate_status_that_changes_often_is_logged_at_most_once_a_minute(hook, caplog):
    caplog.set_level(logging.INFO)
    hook.next_answers = [reading(a=(0, number)) for number in range(2, 2000)]

    async def scenario():
        waiter = wait("w", poke_interval=1)
        await asyncio.sleep(600)
        await cancel(waiter)

    run(scenario())
    lines = [record for record in caplog.records if "Still waiting" in record.getMessage()]
    assert 9 <= len(lines) <= 11


def test_gate_first_status_does_not_wait_for_a_long_interval(hook, caplog):
    caplog.set_level(logging.INFO)

    async def scenario():
        waiter = wait("w", poke_interval=3600)
        await asyncio.sleep(70)
        await cancel(waiter)

    run(scenario())
    assert "Still waiting" in caplog.text


def test_gate_readings_go_on_until_a_granted_slot_was_seen_in_use(hook):
    hook.answer = reading(a=1)

    async def scenario():
        await wait("first")
        await asyncio.sleep(25)
        hook.answer = reading(job("1", "a", "first"), a=0)
        await asyncio.sleep(15)
        asked = len(hook.asked_at)
        await asyncio.sleep(300)
        hook.answer = reading(a=1)  # the job has ended without any waiter
        grant = await asyncio.wait_for(wait("second"), 1)
        return grant.grant_id, asked, len(hook.asked_at)

    assert run(scenario()) == ("second", 4, 5)


def test_gate_readings_for_a_slot_that_is_never_used_end_with_its_hold(hook):
    hook.answer = reading(a=1)

    async def scenario():
        await wait("w", hold=60)
        await asyncio.sleep(600)
        return our_tasks()

    assert run(scenario()) == []
    assert len(hook.asked_at) == 6


def test_gate_rejection_without_waiters_ends_the_readings(hook, caplog):
    hook.next_answers = [reading(a=1)]
    hook.answer = RiffusionRejected("401")

    async def scenario():
        await wait("w")
        await asyncio.sleep(60)
        return our_tasks()

    assert run(scenario()) == []
    assert len(hook.asked_at) == 2
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


@pytest.mark.parametrize("turns", range(4))
def test_gate_waiters_that_come_and_go_leave_one_poll_loop(hook, turns):
    async def scenario():
        for _ in range(20):
            slow, fast = wait("slow", poke_interval=60), wait("fast", poke_interval=5)
            for _ in range(turns):
                await asyncio.sleep(0)
            slow.cancel()
            fast.cancel()
            await asyncio.sleep(0)
        waiter = wait("w")
        await asyncio.sleep(3)
        polling = [task for task in our_tasks() if task is not waiter]
        await cancel(waiter)
        await asyncio.sleep(0.001)
        return len(polling), our_tasks()

    assert run(scenario()) == (1, [])


def test_gate_cancelled_waiter_leaves_the_queue(hook):
    async def scenario():
        first, second = wait("first", since=1), wait("second", since=2)
        await asyncio.sleep(5)
        await cancel(first)
        hook.answer = reading(a=1)
        return (await second).grant_id

    assert run(scenario()) == "second"


def test_gate_grant_to_a_cancelled_waiter_is_given_back(hook):
    hook.answer = reading(a=1)

    async def scenario():
        doomed = wait("doomed")

        def cancel_just_before_the_grant_arrives():
            doomed.cancel()
            return reading(a=1)

        hook.next_answers = [cancel_just_before_the_grant_arrives]
        await asyncio.gather(doomed, return_exceptions=True)
        return (await asyncio.wait_for(wait("next"), 11)).grant_id  # long before the hold would expire

    assert run(scenario()) == "next"


def test_gate_grant_given_back_goes_to_the_next_waiter(hook):
    hook.answer = reading(a=1)

    async def scenario():
        await wait("first")
        CapacityGate.of("riffusion_test").give_back("first")
        return (await asyncio.wait_for(wait("second"), 11)).grant_id

    assert run(scenario()) == "second"


def test_gate_last_waiter_that_leaves_leaves_nothing_running(hook):
    async def scenario():
        waiters = [wait("a"), wait("b")]
        await asyncio.sleep(15)
        await cancel(*waiters)
        asked = len(hook.asked_at)
        await asyncio.sleep(0.001)  # being cancelled takes a few turns of the loop
        left = our_tasks()
        await asyncio.sleep(1000)
        return left, len(hook.asked_at) - asked

    assert run(scenario()) == ([], 0)


def test_gate_pace_outlives_an_empty_queue(hook):
    async def scenario():
        for seconds in (1.5, *[0.05] * 10):
            waiter = wait("w")
            await asyncio.sleep(seconds)
            await cancel(waiter)

    run(scenario())
    assert len(hook.asked_at) == 1


def test_gate_first_reading_is_debounced_until_no_more_waiters_come(hook):
    hook.answer = reading(a=1)

    async def scenario():
        waiters = []
        for number in range(5):
            waiters.append(wait(f"w{number}", since=-number))
            await asyncio.sleep(0.9)
        await asyncio.sleep(1)
        done = [waiter.result().grant_id for waiter in waiters if waiter.done()]
        await cancel(*waiters)
        return done

    assert run(scenario()) == ["w4"]


def test_gate_first_reading_is_debounced_for_ten_seconds_at_most(hook):
    async def scenario():
        waiters = []
        for number in range(30):
            waiters.append(wait(f"w{number}"))
            await asyncio.sleep(0.5)
        await cancel(*waiters)

    run(scenario())
    assert hook.asked_at[0] == pytest.approx(1010, abs=0.1)


def test_gate_event_loop_has_gates_of_its_own_and_they_go_with_it(hook):
    async def scenario():
        waiter = wait("w")
        await asyncio.sleep(5)
        await cancel(waiter)
        return weakref.ref(CapacityGate.of("riffusion_test")), weakref.ref(asyncio.get_running_loop())

    first, second = run(scenario()), run(scenario())
    gc.collect()
    assert [reference() for reference in (*first, *second)] == [None] * 4


def test_gate_poll_loop_has_a_log_context_of_its_own(hook):
    task_id = contextvars.ContextVar("task_id", default=None)
    seen = []
    hook.next_answers = [lambda: seen.append(task_id.get()) or reading(a=1)]

    async def scenario():
        task_id.set("the first waiter's")
        await wait("w")

    run(scenario())
    assert seen == [None]


def test_virtual_time_without_anything_scheduled_refuses_to_hang():
    async def scenario():
        await asyncio.get_running_loop().create_future()

    with pytest.raises(RuntimeError, match="wait for ever"):
        VirtualTimeLoop().run_until_complete(scenario())
