from __future__ import annotations

import pytest

from airflow_riffusion.core.ledger import SlotLedger
from airflow_riffusion.core.request import Grant, SlotRequest
from tests.readings import configured, job, reading


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


def test_each_free_slot_goes_to_one_waiter_in_the_order_in_which_they_began(ledger):
    ledger.join("third", ask(since=3))
    ledger.join("first", ask(since=1))
    ledger.join("second", ask(since=2))

    assert ledger.at(0, reading(a=2)) == {"first": {"a": 1}, "second": {"a": 1}}
    assert len(ledger) == 1


def test_of_those_who_began_at_the_same_time_the_first_to_come_is_served_first(ledger):
    ledger.join("y", ask())
    ledger.join("x", ask())

    assert list(ledger.at(0, reading(a=1))) == ["y"]


def test_what_is_wanted_is_what_all_want_who_will_hold_it(ledger):
    ledger.join("one", ask())
    for name in ("three", "three more"):
        ledger.join(name, ask(slots=3))
    ledger.join("of a", ask(slots=2, user_ids="a"))
    ledger.join("only looks", ask(slots=9, hold=0))
    assert ledger.wanted == {None: 7, frozenset("a"): 2}

    ledger.leave("three")
    assert ledger.wanted == {None: 4, frozenset("a"): 2}


@pytest.mark.parametrize("hold", [60, 0])
def test_a_grant_tells_what_was_asked_for_and_by_which_reading_it_was_granted(ledger, hold):
    request, seen = ask(hold=hold), reading(a=1)
    ledger.join("x", request)

    assert ledger.observe(seen, 0) == [Grant("x", request, {"a": 1}, seen)]


def test_a_higher_priority_is_served_first(ledger):
    ledger.join("early", ask(since=1))
    ledger.join("urgent", ask(since=2, priority=5))

    assert list(ledger.at(0, reading(a=1))) == ["urgent"]


def test_accounts_with_most_free_slots_are_handed_out_first(ledger):
    ledger.join("x", ask())

    assert ledger.at(0, reading(a=1, b=3)) == {"x": {"b": 1}}


def test_a_granted_slot_is_held_until_its_job_is_seen(ledger):
    ledger.join("x", ask(hold=60))
    ledger.at(0, reading(a=1))
    ledger.join("y", ask(hold=60))

    assert ledger.at(1, reading(a=1)) == {}  # x has not submitted yet
    assert ledger.at(2, reading(job("j", "a", "x"), a=0)) == {}
    assert ledger.held == 0
    assert ledger.at(3, reading(job("j", "a", "x"), a=1)) == {"y": {"a": 1}}


def test_a_hold_expires(ledger):
    ledger.join("x", ask(hold=60))
    ledger.at(0, reading(a=1))
    ledger.join("y", ask(hold=60))

    assert ledger.at(59.9, reading(a=1)) == {}
    assert ledger.at(60, reading(a=1)) == {"y": {"a": 1}}


def test_a_hold_expires_without_a_reading(ledger):
    ledger.join("x", ask(hold=60))
    ledger.at(0, reading(a=1))

    ledger.expire(59.9)
    assert ledger.held == 1
    ledger.expire(60)
    assert ledger.held == 0


def test_a_grant_given_back_is_granted_again(ledger):
    ledger.join("x", ask())
    ledger.at(0, reading(a=1))
    ledger.give_back("x")
    ledger.join("y", ask())

    assert ledger.at(1, reading(a=1)) == {"y": {"a": 1}}


def test_giving_back_what_is_not_held_changes_nothing(ledger):
    ledger.join("x", ask())

    ledger.give_back("x")

    assert ledger.at(0, reading(a=1)) == {"x": {"a": 1}}


def test_a_grant_that_is_taken_back_waits_again_at_its_place(ledger):
    ledger.join("first", ask(since=1))
    (grant,) = ledger.observe(reading(a=1), 0)
    ledger.join("second", ask(since=2))

    ledger.take_back(grant)

    assert ledger.held == 0
    assert ledger.at(1, reading(a=1)) == {"first": {"a": 1}}


def test_a_grant_that_was_given_back_does_not_wait_again_when_it_is_taken_back(ledger):
    ledger.join("x", ask())
    (grant,) = ledger.observe(reading(a=1), 0)
    ledger.give_back("x")

    ledger.take_back(grant)

    assert len(ledger) == 0


def test_what_others_hold_is_not_granted(ledger):
    seen = reading(a=1, b=1)
    ledger.join("x", ask())
    ledger.take_in(seen, 0)

    assert ledger.grant(seen, 0, {"a": 1, "b": 1}) == []
    (grant,) = ledger.grant(seen, 0, {"a": 1})
    assert grant.slots == {"b": 1}


def test_slots_are_wanted_only_if_some_could_be_granted(ledger):
    seen = reading(a=1)
    assert ledger.wants(seen) is False

    ledger.join("x", ask())

    assert ledger.wants(seen) is True
    assert ledger.wants(seen, {"a": 1}) is False


def test_without_references_a_new_job_settles_the_oldest_hold_on_its_account(ledger):
    for waiter in ("w", "x", "y", "z"):
        ledger.join(waiter, ask())
    granted = ledger.at(0, reading(a=2, b=2))
    assert granted == {"w": {"a": 1}, "x": {"b": 1}, "y": {"a": 1}, "z": {"b": 1}}

    ledger.at(1, reading(job("1", "b"), a=2, b=1))

    assert ledger.holding() == {"w": {"a": 1}, "y": {"a": 1}, "z": {"b": 1}}


def test_a_job_on_an_account_where_nothing_is_held_settles_the_hold_of_one_that_could_use_it(ledger):
    for waiter, accounts in (("a", "a"), ("ab", "ab")):
        ledger.join(waiter, ask(user_ids=accounts))
    ledger.at(0, reading(a=2, b=0))

    ledger.at(1, reading(job("1", "b"), a=2, b=0))

    assert ledger.holding() == {"a": {"a": 1}}


def test_a_job_on_an_account_that_nobody_asked_for_settles_nothing(ledger):
    ledger.join("x", ask(user_ids=["a"]))
    ledger.at(0, reading(a=1, b=1))

    ledger.at(1, reading(job("1", "b"), a=1, b=0))

    assert ledger.held == 1


def test_a_job_without_account_settles_any_hold(ledger):
    ledger.join("x", ask(user_ids=["a"]))
    ledger.at(0, reading(a=1))
    ledger.at(1, reading(job("1"), a=0))

    assert ledger.held == 0


def test_a_job_that_ran_before_the_grant_settles_nothing(ledger):
    ledger.join("x", ask())
    ledger.at(0, reading(job("old", "a"), a=1))
    ledger.at(1, reading(job("old", "a"), a=1))

    assert ledger.held == 1


@pytest.mark.parametrize("one", [{"job_id": "1", "user_id": "a"}, {"user_id": "a"}])
def test_a_job_that_goes_on_executing_settles_nothing_anew(ledger, one):
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
def test_jobs_are_told_apart_by_whatever_is_known_of_them(ledger, name, one, other):
    for waiter in ("x", "y"):
        ledger.join(waiter, ask())
    ledger.at(0, reading(a=2))

    ledger.at(1, reading({name: one}, {name: other}, a=0))

    assert ledger.held == 0


def test_once_a_reference_matched_other_jobs_are_somebody_elses(ledger):
    for waiter in ("x", "y"):
        ledger.join(waiter, ask())
    ledger.at(0, reading(a=2))

    ledger.at(1, reading(job("1", "a"), job("2", "a", "y"), a=0))

    assert ledger.holding() == {"x": {"a": 1}}


def test_a_job_with_the_reference_of_a_grant_settles_a_slot_on_its_own_account(ledger):
    ledger.join("x", ask(slots=2))
    ledger.at(0, reading(a=1, b=1))

    ledger.at(1, reading(job("1", "b", "x"), a=1, b=0))

    assert ledger.holding() == {"x": {"a": 1}}


def test_a_grant_is_settled_when_there_is_a_job_for_each_of_its_slots(ledger):
    ledger.join("x", ask(slots=2))
    ledger.at(0, reading(a=2))

    ledger.at(1, reading(job("1", "a", "x"), job("2", "a", "x"), a=0))

    assert ledger.holding() == {}


def test_more_jobs_with_the_reference_of_a_grant_than_it_has_slots_settle_no_other(ledger):
    ledger.join("x", ask(slots=2))
    ledger.join("y", ask())
    ledger.at(0, reading(a=3))

    ledger.at(1, reading(*(job(number, "a", "x") for number in "123"), a=0))

    assert ledger.holding() == {"y": {"a": 1}}


def test_what_was_granted_stays_as_it_was_told_while_its_jobs_are_seen(ledger):
    ledger.join("x", ask(slots=2))
    (grant,) = ledger.observe(reading(a=2), 0)

    ledger.at(1, reading(job("1", "a", "x"), a=1))

    assert grant.slots == {"a": 2}


def test_who_waits_for_several_slots_is_not_starved_by_later_ones(ledger):
    ledger.join("three", ask(slots=3, since=1))
    ledger.join("one", ask(since=2))

    assert ledger.at(0, reading(a=2)) == {}
    assert ledger.at(1, reading(a=4)) == {"three": {"a": 3}, "one": {"a": 1}}


def test_a_waiter_that_cant_be_served_keeps_only_the_accounts_it_could_use(ledger):
    ledger.join("a_only", ask(user_ids=["a"], since=1))
    ledger.join("any", ask(since=2))

    assert ledger.at(0, reading(a=0, b=1)) == {"any": {"b": 1}}


def test_two_that_cant_be_served_keep_nobody_from_other_accounts(ledger):
    for waiter in ("a_only", "a_only_too"):
        ledger.join(waiter, ask(user_ids=["a"], since=1))
    ledger.join("any", ask(since=2))

    assert ledger.at(0, reading(a=0, b=1)) == {"any": {"b": 1}}


def test_all_slots_on_one_account_if_asked_for(ledger):
    ledger.join("together", ask(slots=2, same_account=True, since=1))
    ledger.join("apart", ask(slots=2, since=2))

    assert ledger.at(0, reading(a=1, b=1)) == {}
    assert ledger.at(1, reading(a=1, b=3)) == {"together": {"b": 2}, "apart": {"a": 1, "b": 1}}


def test_a_plain_check_takes_nothing_and_keeps_no_place(ledger):
    ledger.join("check", ask(hold=0, since=1))
    ledger.join("waiter", ask(since=2))

    assert ledger.ahead("waiter") == 0
    assert ledger.at(0, reading(a=1)) == {"waiter": {"a": 1}, "check": {"a": 1}}
    assert ledger.held == 1


def test_a_plain_check_passes_beside_waiters_that_a_held_slot_keeps_waiting(ledger):
    ledger.join("granted", ask())
    ledger.at(0, reading(a=1))
    for waiter in ("second", "third"):
        ledger.join(waiter, ask())
    ledger.join("check", ask(hold=0))

    assert ledger.at(1, reading(a=1)) == {"check": {"a": 1}}


def test_a_plain_check_waits_for_as_many_slots_as_it_asks_for_and_is_then_gone(ledger):
    ledger.join("check", ask(slots=2, hold=0))

    assert ledger.at(0, reading(a=1)) == {}
    assert len(ledger) == 1
    assert ledger.at(1, reading(a=3)) == {"check": {"a": 2}}
    assert len(ledger) == 0


def test_nobody_is_ahead_of_a_plain_check_or_of_who_has_left(ledger):
    ledger.join("waiter", ask())
    ledger.join("check", ask(hold=0))

    assert ledger.ahead("check") == 0
    assert ledger.ahead("nobody") == 0


def test_who_was_served_may_leave(ledger):
    ledger.join("x", ask())
    ledger.at(0, reading(a=1))

    ledger.leave("x")

    assert ledger.held == 1


def test_who_leaves_is_not_served(ledger):
    ledger.join("gone", ask(since=1))
    ledger.join("here", ask(since=2))
    assert ledger.ahead("here") == 1

    ledger.leave("gone")

    assert ledger.ahead("here") == 0
    assert list(ledger.at(0, reading(a=1))) == ["here"]


def test_a_held_slot_of_an_account_that_vanished_and_came_back_is_still_held(ledger):
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
def test_ledger_request_that_no_account_can_serve_is_hopeless_after_three_readings(ledger, request_, reason):
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
def test_ledger_accounts_without_any_slot_make_a_request_hopeless(ledger, request_, reason):
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


def test_ledger_amended_reading_is_no_second_opinion(ledger):
    ledger.join("x", ask(slots=5))
    once = reading(a=(2, 2))
    ledger.observe(once, 0)
    amended = once.with_full_accounts({"a": 2, "b": 1})
    ledger.amend(amended)

    assert [ledger.observe(amended, 0) for _ in range(5)] == [[]] * 5
    assert not ledger.needs_accounts


@pytest.mark.parametrize("request_", [ask(slots=4), ask(slots=3, same_account=True)])
def test_who_asks_for_all_that_there_is_may_hope(ledger, request_):
    ledger.join("x", request_)
    for now in range(5):
        assert ledger.observe(reading(a=(0, 1), b=(0, 3)), now) == []
        assert not ledger.in_doubt


def test_ledger_hopeless_request_ends_no_other_wait(ledger):
    ledger.join("too_much", ask(slots=5))
    ledger.join("one", ask())
    for now in range(3):
        ledger.observe(reading(a=(0, 2)), now)

    assert [waiter_id for waiter_id, _ in unsatisfiable(ledger, configured(a=2))] == ["too_much"]


def test_a_request_is_in_doubt_until_the_last_who_asks_for_it_has_left(ledger):
    for waiter in ("x", "y"):
        ledger.join(waiter, ask(slots=5))

    ledger.leave("x")
    ledger.observe(reading(a=(0, 2)), 0)
    assert ledger.in_doubt

    ledger.leave("y")
    ledger.observe(reading(a=(0, 2)), 1)
    assert not ledger.in_doubt


def test_a_blank_answer_in_between_fails_nobody(ledger):
    ledger.join("x", ask())
    for _ in range(3):
        assert ledger.observe(reading(), 0) == []
        assert ledger.observe(reading(), 0) == []
        assert ledger.observe(reading(a=0), 0) == []
        assert not ledger.needs_accounts


def test_the_same_reading_twice_is_no_second_opinion(ledger):
    ledger.join("x", ask(slots=5))
    same = reading(a=(2, 2))

    assert [ledger.observe(same, 0) for _ in range(5)] == [[]] * 5
    assert not ledger.needs_accounts


def test_a_request_that_is_impossible_right_now_blocks_nobody(ledger):
    ledger.join("too_much", ask(slots=5, since=1))
    ledger.join("one", ask(since=2))

    assert ledger.at(0, reading(a=(2, 2))) == {"one": {"a": 1}}


@pytest.mark.parametrize("same_account", [False, True])
def test_unknown_max_jobs_never_make_a_request_impossible(ledger, same_account):
    from airflow_riffusion.core.capacity import Capacity
    from tests.readings import NOON

    unknown = {"available": [{"user_id": "a", "available": 1}]}
    ledger.join("x", ask(slots=50, same_account=same_account))
    for now in range(5):
        assert ledger.observe(Capacity.parse(unknown, service="riffusion", observed_at=NOON), now) == []
        assert not ledger.in_doubt


def test_a_job_with_a_reference_of_its_own_settles_its_grant_by_that(ledger):
    ledger.join("song", ask(reply_ref="my ref"))
    ledger.at(0, reading(a=(1, 1)))

    ledger.at(1, reading(job("1", "a", "my ref"), a=(0, 1)))

    assert ledger.held == 0


def test_one_job_settles_all_slots_that_were_granted_for_it(ledger):
    ledger.join("song", ask(slots=2, reply_ref="my ref"))
    ledger.at(0, reading(a=(2, 2)))

    ledger.at(1, reading(job("1", "a", "my ref"), a=(0, 2)))

    assert ledger.held == 0


def test_two_jobs_with_the_same_reference_settle_one_grant(ledger):
    ledger.join("song", ask(reply_ref="my ref"))
    ledger.at(0, reading(a=(2, 2)))

    ledger.at(1, reading(job("1", "a", "my ref"), job("2", "a", "my ref"), a=(0, 2)))

    assert ledger.held == 0


def test_somebody_elses_job_settles_one_slot_of_those_that_one_job_needs(ledger):
    ledger.join("song", ask(slots=2, reply_ref="my ref"))
    ledger.at(0, reading(a=(2, 2)))

    ledger.at(1, reading(job("1", "a"), a=(1, 2)))

    assert ledger.held == 1
