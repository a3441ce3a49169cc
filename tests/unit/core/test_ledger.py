from __future__ import annotations

import pytest

from airflow_riffusion.core.capacity import ExecutingJob
from airflow_riffusion.core.ledger import SlotLedger
from airflow_riffusion.core.request import Grant, SlotRequest
from tests.readings import configured, job, parsed, reading


class Ledger(SlotLedger):
    """A ledger that answers with what the tests compare: who was granted what, and who holds what."""

    def at(self, now, seen, /):
        return {grant.grant_id: grant.slots for grant in self.observe(seen, now)}

    def holding(self):
        return {hold.grant.grant_id: hold.left for hold in self.holds}


@pytest.fixture
def ledger():
    return Ledger()


def ask(**fields):
    if "user_ids" in fields:
        fields["user_ids"] = frozenset(fields["user_ids"])
    return SlotRequest(**fields)


def test_ledger_free_slots_go_to_one_waiter_each_in_order_of_since(ledger):
    ledger.join("third", ask(since=3))
    ledger.join("first", ask(since=1))
    ledger.join("second", ask(since=2))

    assert ledger.at(0, reading(a=2)) == {"first": {"a": 1}, "second": {"a": 1}}
    assert len(ledger) == 1


def test_ledger_waiters_with_equal_since_are_served_in_order_of_arrival(ledger):
    ledger.join("y", ask())
    ledger.join("x", ask())

    assert list(ledger.at(0, reading(a=1))) == ["y"]


def test_ledger_wanted_slots_are_those_of_all_waiters_but_plain_checks(ledger):
    ledger.join("one", ask())
    for name in ("three", "three more"):
        ledger.join(name, ask(slots=3))
    ledger.join("of a", ask(slots=2, user_ids="a"))
    ledger.join("only looks", ask(slots=9, hold=0))
    assert ledger.wanted == {None: 7, frozenset("a"): 2}

    ledger.leave("three")
    assert ledger.wanted == {None: 4, frozenset("a"): 2}


@pytest.mark.parametrize("hold", [60, 0])
def test_ledger_grant_has_its_request_and_its_reading(ledger, hold):
    request, seen = ask(hold=hold), reading(a=1)
    ledger.join("x", request)

    assert ledger.observe(seen, 0) == [Grant("x", request, {"a": 1}, seen)]


def test_ledger_higher_priority_is_served_first(ledger):
    ledger.join("early", ask(since=1))
    ledger.join("urgent", ask(since=2, priority=5))

    assert list(ledger.at(0, reading(a=1))) == ["urgent"]


def test_ledger_account_with_most_free_slots_is_granted_first(ledger):
    ledger.join("x", ask())

    assert ledger.at(0, reading(a=1, b=3)) == {"x": {"b": 1}}


def test_ledger_granted_slot_is_held_until_its_job_is_seen(ledger):
    ledger.join("x", ask(hold=60))
    ledger.at(0, reading(a=1))
    ledger.join("y", ask(hold=60))

    assert ledger.at(1, reading(a=1)) == {}  # x has not submitted yet
    assert ledger.at(2, reading(job("j", "a", "x"), a=0)) == {}
    assert ledger.held == 0
    assert ledger.at(3, reading(job("j", "a", "x"), a=1)) == {"y": {"a": 1}}


def test_ledger_hold_that_has_expired_is_granted_again(ledger):
    ledger.join("x", ask(hold=60))
    ledger.at(0, reading(a=1))
    ledger.join("y", ask(hold=60))

    assert ledger.at(59.9, reading(a=1)) == {}
    assert ledger.at(60, reading(a=1)) == {"y": {"a": 1}}


def test_ledger_hold_expires_without_a_reading(ledger):
    ledger.join("x", ask(hold=60))
    ledger.at(0, reading(a=1))

    ledger.expire(59.9)
    assert ledger.held == 1
    ledger.expire(60)
    assert ledger.held == 0


def test_ledger_grant_given_back_is_granted_again(ledger):
    ledger.join("x", ask())
    ledger.at(0, reading(a=1))
    ledger.give_back("x")
    ledger.join("y", ask())

    assert ledger.at(1, reading(a=1)) == {"y": {"a": 1}}


def test_ledger_giving_back_what_is_not_held_changes_nothing(ledger):
    ledger.join("x", ask())

    ledger.give_back("x")

    assert ledger.at(0, reading(a=1)) == {"x": {"a": 1}}


def test_ledger_grant_taken_back_waits_again_at_its_place(ledger):
    ledger.join("first", ask(since=1))
    (grant,) = ledger.observe(reading(a=1), 0)
    ledger.join("second", ask(since=2))

    ledger.take_back(grant)

    assert ledger.held == 0
    assert ledger.at(1, reading(a=1)) == {"first": {"a": 1}}


def test_ledger_grant_given_back_and_taken_back_does_not_wait_again(ledger):
    ledger.join("x", ask())
    (grant,) = ledger.observe(reading(a=1), 0)
    ledger.give_back("x")

    ledger.take_back(grant)

    assert len(ledger) == 0


def test_ledger_slot_held_elsewhere_is_not_granted(ledger):
    seen = reading(a=1, b=1)
    ledger.join("x", ask())
    ledger.take_in(seen, 0)

    assert ledger.grant(seen, 0, {"a": 1, "b": 1}) == []
    (grant,) = ledger.grant(seen, 0, {"a": 1})
    assert grant.slots == {"b": 1}


def test_ledger_wants_slots_only_if_some_could_be_granted(ledger):
    seen = reading(a=1)
    assert ledger.wants(seen) is False

    ledger.join("x", ask())

    assert ledger.wants(seen) is True
    assert ledger.wants(seen, {"a": 1}) is False


def test_ledger_job_without_reference_settles_the_oldest_hold_on_its_account(ledger):
    for waiter in ("w", "x", "y", "z"):
        ledger.join(waiter, ask())
    granted = ledger.at(0, reading(a=2, b=2))
    assert granted == {"w": {"a": 1}, "x": {"b": 1}, "y": {"a": 1}, "z": {"b": 1}}

    ledger.at(1, reading(job("1", "b"), a=2, b=1))

    assert ledger.holding() == {"w": {"a": 1}, "y": {"a": 1}, "z": {"b": 1}}


def test_ledger_job_on_another_account_settles_a_hold_that_could_use_it(ledger):
    for waiter, accounts in (("a", "a"), ("ab", "ab")):
        ledger.join(waiter, ask(user_ids=accounts))
    ledger.at(0, reading(a=2, b=0))

    ledger.at(1, reading(job("1", "b"), a=2, b=0))

    assert ledger.holding() == {"a": {"a": 1}}


def test_ledger_job_on_an_account_nobody_asked_for_settles_nothing(ledger):
    ledger.join("x", ask(user_ids=["a"]))
    ledger.at(0, reading(a=1, b=1))

    ledger.at(1, reading(job("1", "b"), a=1, b=0))

    assert ledger.held == 1


def test_ledger_job_without_account_settles_any_hold(ledger):
    ledger.join("x", ask(user_ids=["a"]))
    ledger.at(0, reading(a=1))
    ledger.at(1, reading(job("1"), a=0))

    assert ledger.held == 0


def test_ledger_job_that_ran_before_the_grant_settles_nothing(ledger):
    ledger.join("x", ask())
    ledger.at(0, reading(job("old", "a"), a=1))
    ledger.at(1, reading(job("old", "a"), a=1))

    assert ledger.held == 1


@pytest.mark.parametrize("one", [{"job_id": "1", "user_id": "a"}, {"user_id": "a"}])
def test_ledger_job_that_goes_on_executing_settles_one_hold(ledger, one):
    for waiter in ("x", "y"):
        ledger.join(waiter, ask())
    ledger.at(0, reading(a=2))

    for elapsed in ("00:10", "00:20"):
        ledger.at(1, reading({**one, "elapsed": elapsed}, a=1))

    assert ledger.held == 1


@pytest.mark.parametrize(
    ("name", "one", "other"),
    [
        ("job_id", "1", "2"),
        ("user_id", "a", "b"),
        ("started", "2026-01-01T12:00:00Z", "2026-01-01T12:00:01Z"),
        ("replyRef", "r", "s"),
    ],
)
def test_ledger_jobs_that_differ_in_one_field_are_two(ledger, name, one, other):
    for waiter in ("x", "y"):
        ledger.join(waiter, ask())
    ledger.at(0, reading(a=2))

    ledger.at(1, reading({name: one}, {name: other}, a=0))

    assert ledger.held == 0


def test_ledger_job_without_reference_settles_nothing_once_one_matched(ledger):
    for waiter in ("x", "y"):
        ledger.join(waiter, ask())
    ledger.at(0, reading(a=2))

    ledger.at(1, reading(job("1", "a"), job("2", "a", "y"), a=0))

    assert ledger.holding() == {"x": {"a": 1}}


def test_ledger_job_with_a_grants_reference_settles_a_slot_on_its_account(ledger):
    ledger.join("x", ask(slots=2))
    ledger.at(0, reading(a=1, b=1))

    ledger.at(1, reading(job("1", "b", "x"), a=1, b=0))

    assert ledger.holding() == {"x": {"a": 1}}


def test_ledger_grant_is_settled_by_a_job_for_each_of_its_slots(ledger):
    ledger.join("x", ask(slots=2))
    ledger.at(0, reading(a=2))

    ledger.at(1, reading(job("1", "a", "x"), job("2", "a", "x"), a=0))

    assert ledger.holding() == {}


def test_ledger_more_jobs_than_slots_of_a_grant_settle_no_other_grant(ledger):
    ledger.join("x", ask(slots=2))
    ledger.join("y", ask())
    ledger.at(0, reading(a=3))

    ledger.at(1, reading(*(job(number, "a", "x") for number in "123"), a=0))

    assert ledger.holding() == {"y": {"a": 1}}


def test_ledger_grant_does_not_change_while_its_jobs_are_seen(ledger):
    ledger.join("x", ask(slots=2))
    (grant,) = ledger.observe(reading(a=2), 0)

    ledger.at(1, reading(job("1", "a", "x"), a=1))

    assert grant.slots == {"a": 2}


def test_ledger_waiter_for_several_slots_is_not_starved_by_later_ones(ledger):
    ledger.join("three", ask(slots=3, since=1))
    ledger.join("one", ask(since=2))

    assert ledger.at(0, reading(a=2)) == {}
    assert ledger.at(1, reading(a=4)) == {"three": {"a": 3}, "one": {"a": 1}}


def test_ledger_unserved_waiter_reserves_only_accounts_it_could_use(ledger):
    ledger.join("a_only", ask(user_ids=["a"], since=1))
    ledger.join("any", ask(since=2))

    assert ledger.at(0, reading(a=0, b=1)) == {"any": {"b": 1}}


def test_ledger_two_unserved_waiters_leave_other_accounts_free(ledger):
    for waiter in ("a_only", "a_only_too"):
        ledger.join(waiter, ask(user_ids=["a"], since=1))
    ledger.join("any", ask(since=2))

    assert ledger.at(0, reading(a=0, b=1)) == {"any": {"b": 1}}


def test_ledger_same_account_request_gets_all_slots_on_one_account(ledger):
    ledger.join("together", ask(slots=2, same_account=True, since=1))
    ledger.join("apart", ask(slots=2, since=2))

    assert ledger.at(0, reading(a=1, b=1)) == {}
    assert ledger.at(1, reading(a=1, b=3)) == {"together": {"b": 2}, "apart": {"a": 1, "b": 1}}


def test_ledger_plain_check_takes_no_slot_and_no_place(ledger):
    ledger.join("check", ask(hold=0, since=1))
    ledger.join("waiter", ask(since=2))

    assert ledger.ahead("waiter") == 0
    assert ledger.at(0, reading(a=1)) == {"waiter": {"a": 1}, "check": {"a": 1}}
    assert ledger.held == 1


def test_ledger_plain_check_passes_while_a_held_slot_keeps_others_waiting(ledger):
    ledger.join("granted", ask())
    ledger.at(0, reading(a=1))
    for waiter in ("second", "third"):
        ledger.join(waiter, ask())
    ledger.join("check", ask(hold=0))

    assert ledger.at(1, reading(a=1)) == {"check": {"a": 1}}


def test_ledger_plain_check_waits_for_all_its_slots_and_then_leaves(ledger):
    ledger.join("check", ask(slots=2, hold=0))

    assert ledger.at(0, reading(a=1)) == {}
    assert len(ledger) == 1
    assert ledger.at(1, reading(a=3)) == {"check": {"a": 2}}
    assert len(ledger) == 0


def test_ledger_nobody_is_ahead_of_a_plain_check_or_an_unknown_waiter(ledger):
    ledger.join("waiter", ask())
    ledger.join("check", ask(hold=0))

    assert ledger.ahead("check") == 0
    assert ledger.ahead("nobody") == 0


def test_ledger_served_waiter_that_leaves_keeps_its_hold(ledger):
    ledger.join("x", ask())
    ledger.at(0, reading(a=1))

    ledger.leave("x")

    assert ledger.held == 1


def test_ledger_waiter_that_left_is_not_served(ledger):
    ledger.join("gone", ask(since=1))
    ledger.join("here", ask(since=2))
    assert ledger.ahead("here") == 1

    ledger.leave("gone")

    assert ledger.ahead("here") == 0
    assert list(ledger.at(0, reading(a=1))) == ["here"]


def test_ledger_hold_outlasts_the_absence_of_its_account(ledger):
    ledger.join("x", ask())
    ledger.at(0, reading(a=1))
    ledger.join("y", ask())

    assert ledger.at(1, reading(b=0)) == {}
    assert ledger.at(2, reading(a=1, b=0)) == {}


def unsatisfiable(ledger, accounts):
    return [(each.waiter_id, each.reason) for each in ledger.unsatisfiable(accounts)]


@pytest.mark.parametrize(
    ("request_", "reason"),
    [
        (ask(slots=5), "5 slots asked for, but the accounts have 4 in all"),
        (
            ask(slots=4, same_account=True),
            "4 slots on one account asked for, but the largest account has 3 in all",
        ),
        (ask(user_ids=["x"]), "1 slot of x asked for, but the service has no such account; it has a, b"),
    ],
)
def test_ledger_request_no_account_can_serve_is_unsatisfiable_after_three_readings(ledger, request_, reason):
    ledger.join("x", request_)
    accounts = configured(a=1, b=3)

    for now in range(3):
        assert not ledger.needs_accounts
        assert unsatisfiable(ledger, accounts) == []
        assert ledger.observe(reading(a=(1, 1), b=(0, 3)), now) == []
        assert ledger.in_doubt
    assert ledger.needs_accounts
    assert unsatisfiable(ledger, accounts) == [("x", reason)]
    assert len(ledger) == 1


@pytest.mark.parametrize(
    ("request_", "reason"),
    [
        (ask(), "1 slot asked for, but the accounts have 0 in all"),
        (
            ask(slots=2, same_account=True),
            "2 slots on one account asked for, but the largest account has 0 in all",
        ),
    ],
)
def test_ledger_accounts_without_any_slot_make_a_request_unsatisfiable(ledger, request_, reason):
    ledger.join("x", request_)
    for now in range(3):
        ledger.observe(reading(a=(0, 0)), now)

    assert unsatisfiable(ledger, configured(a=0)) == [("x", reason)]


@pytest.mark.parametrize(
    ("request_", "accounts"),
    [
        pytest.param(ask(), configured(a=2), id="all are full"),
        pytest.param(ask(slots=5), configured(a=2, b=3), id="all slots of all accounts"),
        pytest.param(ask(slots=3, same_account=True), configured(a=2, b=3), id="all slots of one"),
        pytest.param(ask(user_ids=["b"]), configured(a=2, b=3), id="the one that is asked for is full"),
        pytest.param(ask(slots=50), configured(a=2, b=None), id="one does not say how many it has"),
    ],
)
def test_ledger_accounts_that_are_not_listed_may_serve_a_request(ledger, request_, accounts):
    ledger.join("x", request_)
    for now in range(5):
        assert ledger.observe(reading(), now) == []

    assert ledger.needs_accounts
    assert unsatisfiable(ledger, accounts) == []


def test_ledger_account_that_is_listed_counts_whatever_the_accounts_say(ledger):
    ledger.join("x", ask(slots=3, user_ids=["a", "b"]))
    for now in range(3):
        ledger.observe(reading(b=(0, 1)), now)

    assert unsatisfiable(ledger, configured("b", a=2)) == []


@pytest.mark.parametrize(
    ("request_", "accounts", "reason"),
    [
        (ask(user_ids=["x"]), configured("x", a=2), "account x needs its login renewed at useapi.net"),
        (
            ask(slots=3),
            configured("x", "y", a=2),
            "the accounts have 2 in all; accounts x, y need their logins renewed at useapi.net",
        ),
        (ask(slots=3, user_ids=["a"]), configured("x", a=2), "the accounts have 2 in all"),
        (ask(), configured(), "the service has no account"),
    ],
)
def test_ledger_account_that_is_logged_out_serves_nothing_and_is_named(ledger, request_, accounts, reason):
    ledger.join("w", request_)
    for now in range(3):
        ledger.observe(reading(), now)

    ((_, said),) = unsatisfiable(ledger, accounts)
    assert said.endswith(f"asked for, but {reason}")


def test_ledger_job_proves_its_account_whatever_the_accounts_say(ledger):
    ledger.join("w", ask(slots=2, user_ids=["a"]))
    for now in range(3):
        ledger.observe(reading(job("1", "a")), now)

    assert unsatisfiable(ledger, configured(b=1)) == []
    assert len(unsatisfiable(ledger, configured("a", b=1))) == 1


def test_ledger_message_names_no_more_accounts_than_can_be_read(ledger):
    ledger.join("w", ask(user_ids=["x"]))
    for now in range(3):
        ledger.observe(reading(), now)
    ((_, reason),) = unsatisfiable(ledger, configured(**{f"a\n{number}": 1 for number in range(5000)}))

    assert len(reason) < 1000
    assert "\n" not in reason
    assert reason.endswith(" and 4980 more")


def test_ledger_known_account_that_is_not_listed_is_kept_for_the_first_in_the_queue(ledger):
    """Or later waiters would starve it by the slots that are free on the others."""
    ledger.join("two", ask(slots=2, since=1))
    ledger.join("one", ask(since=2))

    assert ledger.at(0, reading(a=(1, 1)).with_full_accounts({"a": 1, "b": 1})) == {}


def test_ledger_amended_reading_counts_once(ledger):
    ledger.join("x", ask(slots=5))
    once = reading(a=(2, 2))
    ledger.observe(once, 0)
    amended = once.with_full_accounts({"a": 2, "b": 1})
    ledger.amend(amended)

    assert [ledger.observe(amended, 0) for _ in range(5)] == [[]] * 5
    assert not ledger.needs_accounts


@pytest.mark.parametrize("request_", [ask(slots=4), ask(slots=3, same_account=True)])
def test_ledger_request_for_all_slots_is_not_in_doubt(ledger, request_):
    ledger.join("x", request_)
    for now in range(5):
        assert ledger.observe(reading(a=(0, 1), b=(0, 3)), now) == []
        assert not ledger.in_doubt


def test_ledger_unsatisfiable_request_ends_no_other_wait(ledger):
    ledger.join("too_much", ask(slots=5))
    ledger.join("one", ask())
    for now in range(3):
        ledger.observe(reading(a=(0, 2)), now)

    assert [waiter_id for waiter_id, _ in unsatisfiable(ledger, configured(a=2))] == ["too_much"]


def test_ledger_demand_is_in_doubt_until_its_last_waiter_has_left(ledger):
    for waiter in ("x", "y"):
        ledger.join(waiter, ask(slots=5))

    ledger.leave("x")
    ledger.observe(reading(a=(0, 2)), 0)
    assert ledger.in_doubt

    ledger.leave("y")
    ledger.observe(reading(a=(0, 2)), 1)
    assert not ledger.in_doubt


def test_ledger_blank_readings_in_between_raise_no_need_for_accounts(ledger):
    ledger.join("x", ask())
    for _ in range(3):
        assert ledger.observe(reading(), 0) == []
        assert ledger.observe(reading(), 0) == []
        assert ledger.observe(reading(a=0), 0) == []
        assert not ledger.needs_accounts


def test_ledger_reading_that_is_observed_again_counts_once(ledger):
    ledger.join("x", ask(slots=5))
    same = reading(a=(2, 2))

    assert [ledger.observe(same, 0) for _ in range(5)] == [[]] * 5
    assert not ledger.needs_accounts


def test_ledger_request_that_is_impossible_now_blocks_nobody(ledger):
    ledger.join("too_much", ask(slots=5, since=1))
    ledger.join("one", ask(since=2))

    assert ledger.at(0, reading(a=(2, 2))) == {"one": {"a": 1}}


@pytest.mark.parametrize("same_account", [False, True])
def test_ledger_unknown_max_jobs_never_make_a_request_impossible(ledger, same_account):
    unknown = {"available": [{"user_id": "a", "available": 1}]}
    ledger.join("x", ask(slots=50, same_account=same_account))
    for now in range(5):
        assert ledger.observe(parsed(unknown), now) == []
        assert not ledger.in_doubt


def test_ledger_job_with_the_requests_reference_settles_its_grant(ledger):
    ledger.join("x", ask(reply_ref="my ref"))
    ledger.at(0, reading(a=(1, 1)))

    ledger.at(1, reading(job("1", "a", "my ref"), a=(0, 1)))

    assert ledger.held == 0


def test_ledger_one_job_settles_all_slots_granted_for_it(ledger):
    ledger.join("x", ask(slots=2, reply_ref="my ref"))
    ledger.at(0, reading(a=(2, 2)))

    ledger.at(1, reading(job("1", "a", "my ref"), a=(0, 2)))

    assert ledger.held == 0


def test_ledger_two_jobs_with_one_reference_settle_one_grant(ledger):
    ledger.join("x", ask(reply_ref="my ref"))
    ledger.join("y", ask())
    ledger.at(0, reading(a=(2, 2)))

    ledger.at(1, reading(job("1", "a", "my ref"), job("2", "a", "my ref"), a=(0, 2)))

    assert ledger.held == 1


def test_ledger_job_of_another_client_settles_no_slot_of_a_submission(ledger):
    ledger.join("x", ask(slots=2, reply_ref="my ref"))
    ledger.at(0, reading(a=(2, 2)))

    ledger.at(1, reading(job("1", "a"), a=(1, 2)))

    assert ledger.held == 2


def test_ledger_unclaimed_slots_without_waiters_are_all_free_ones(ledger):
    assert ledger.unclaimed(reading(a=2, b=(0, 2), c=1)) == {"a": 2, "c": 1}


def test_ledger_held_slot_is_not_unclaimed(ledger):
    ledger.join("x", ask(slots=2))
    now = reading(a=3)
    ledger.observe(now, 0.0)

    assert ledger.unclaimed(now) == {"a": 1}


def test_ledger_slot_held_elsewhere_is_not_unclaimed(ledger):
    assert ledger.unclaimed(reading(a=3), {"a": 2}) == {"a": 1}


def test_ledger_slot_about_to_be_granted_is_not_unclaimed(ledger):
    ledger.join("x", ask(slots=2))

    assert ledger.unclaimed(reading(a=3)) == {"a": 1}


def test_ledger_slot_reserved_for_a_large_request_is_not_unclaimed(ledger):
    ledger.join("x", ask(slots=3, user_ids="a"))

    assert ledger.unclaimed(reading(a=2, b=1)) == {"b": 1}


def test_ledger_slot_that_a_plain_check_waits_for_is_unclaimed(ledger):
    ledger.join("x", ask(slots=5, hold=0))

    assert ledger.unclaimed(reading(a=2)) == {"a": 2}


def test_ledger_asking_for_unclaimed_slots_grants_nothing(ledger):
    ledger.join("x", ask())
    ledger.unclaimed(reading(a=1))

    assert (len(ledger), ledger.held) == (1, 0)


class TestAssign:
    """Holds whose jobs are known by their ids, on services whose readings name no references."""

    def granted(self, *requests):
        ledger = SlotLedger()
        for number, request in enumerate(requests):
            ledger.join(f"w{number}", request)
        ledger.observe(reading(a=(len(requests), 9)), 0.0)
        return ledger

    def test_assign_job_that_a_reading_shows_later_settles_its_hold(self):
        ledger = self.granted(SlotRequest(reply_ref="one"), SlotRequest(reply_ref="two"))
        ledger.assign("w1", ["7"])

        ledger.observe(reading(job("7", "a"), a=(0, 9)), 1.0)

        assert [hold.grant.grant_id for hold in ledger.holds] == ["w0"]

    def test_assign_job_that_a_reading_has_shown_settles_its_hold_at_once(self):
        ledger = self.granted(SlotRequest(reply_ref="one"))
        ledger.observe(reading(job("7", "a"), a=(0, 9)), 1.0)

        ledger.assign("w0", ["7"])

        assert ledger.held == 0

    def test_assign_job_of_another_client_settles_no_hold_of_a_submission(self):
        ledger = self.granted(SlotRequest(reply_ref="one"))

        ledger.observe(reading(job("8", "a"), a=(0, 9)), 1.0)

        assert ledger.held == 1

    def test_assign_unclear_submission_leaves_the_holds_of_sensors_alone(self):
        ledger = self.granted(SlotRequest(), SlotRequest(reply_ref="one"))

        ledger.observe(reading(job("8", "a"), a=(0, 9)), 1.0)

        assert ledger.held == 2

    def test_assign_other_jobs_are_guessed_to_be_those_of_sensors(self):
        ledger = self.granted(SlotRequest(), SlotRequest(reply_ref="one"))
        ledger.assign("w1", ["7"])

        ledger.observe(reading(job("7", "a"), job("8", "a"), a=(0, 9)), 1.0)

        assert ledger.held == 0

    def test_assign_grant_that_is_not_held_any_more_does_nothing(self):
        ledger = self.granted(SlotRequest(reply_ref="one"))
        ledger.give_back("w0")

        ledger.assign("w0", ["7"])

        assert ledger.held == 0

    def test_assign_reference_that_was_found_by_asking_leaves_other_jobs_to_be_guessed(self):
        ledger = self.granted(SlotRequest(), SlotRequest(reply_ref="one"))
        found = ExecutingJob(job_id="7", user_id="a", reply_ref="one", reference_status="found")
        asked = reading(job("8", "a"), a=(0, 9))

        ledger.observe(asked.model_copy(update={"jobs": (found,)}), 1.0)
        ledger.observe(asked.model_copy(update={"jobs": (found, *asked.jobs)}), 2.0)

        assert ledger.held == 0

    def test_assign_two_jobs_of_one_grant_settle_a_slot_each(self):
        ledger = SlotLedger()
        ledger.join("w", SlotRequest(slots=2, reply_ref="one"))
        ledger.observe(reading(a=(2, 9)), 0.0)
        ledger.assign("w", ["7", "8"])

        ledger.observe(reading(job("7", "a"), a=(1, 9)), 1.0)
        first = ledger.held
        ledger.observe(reading(job("7", "a"), job("8", "a"), a=(0, 9)), 2.0)

        assert (first, ledger.held) == (1, 0)

    def test_renew_hold_lasts_longer(self):
        ledger = self.granted(SlotRequest(hold=60))

        assert ledger.renew("w0", 50.0, 100.0)
        ledger.expire(99.0)
        assert ledger.held == 1

    def test_renew_hold_that_has_expired_is_not_there(self):
        ledger = self.granted(SlotRequest(hold=60))

        assert not ledger.renew("w0", 61.0, 200.0)
