from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace

import pytest

from airflow_riffusion.core.availability import Availability, RisingEdge
from airflow_riffusion.core.request import SlotRequest
from tests.readings import configured, job, parsed, reading


def free(**slots):
    now = reading(**{account: (number, 4) for account, number in slots.items()})
    return Availability(now, Counter(slots))


def alike(number, **slots):
    return [free(**slots) for _ in range(number)]


def observed(edge, *availabilities):
    return [edge.observe(each) for each in availabilities]


class TestRisingEdge:
    def test_edge_rises_once_until_too_few_slots_were_free(self):
        edge = RisingEdge(SlotRequest(slots=2))

        said = observed(edge, *(free(a=slots) for slots in (0, 1, 2, 3, 2, 1, 2, 4, 0, 2)))

        assert said == [False, False, True, False, False, False, True, False, False, True]

    def test_edge_first_reading_with_enough_slots_rises(self):
        assert RisingEdge(SlotRequest()).observe(free(a=1))

    def test_edge_that_is_not_armed_rises_only_after_a_fall(self):
        edge = RisingEdge(SlotRequest(), armed=False)

        assert observed(edge, *alike(3, a=1), free(a=0), free(a=1)) == [False] * 4 + [True]

    def test_edge_slots_of_several_accounts_count_together(self):
        assert observed(RisingEdge(SlotRequest(slots=3)), free(a=1, b=1), free(a=1, b=2)) == [
            False,
            True,
        ]

    def test_edge_only_the_requested_accounts_count(self):
        edge = RisingEdge(SlotRequest(slots=2, user_ids=frozenset("b")))

        assert observed(edge, free(a=4, b=1), free(a=0, b=2)) == [False, True]

    def test_edge_slots_that_are_free_but_claimed_do_not_count(self):
        assert not RisingEdge(SlotRequest(slots=2)).observe(Availability(reading(a=(2, 4)), Counter(a=1)))

    @pytest.mark.parametrize("blanks", [1, 2])
    def test_edge_one_or_two_blank_readings_are_no_fall(self, blanks):
        edge = RisingEdge(SlotRequest())

        assert observed(edge, free(a=1), *alike(blanks), free(a=1)) == [
            True,
            *[False] * blanks,
            False,
        ]

    @pytest.mark.parametrize(
        "account",
        [
            pytest.param(None, id="an account is missing"),
            pytest.param({"user_id": "b", "maxJobs": 4, "available": "two"}, id="a number is none"),
            pytest.param({"user_id": "b"}, id="a number is missing"),
        ],
    )
    def test_edge_odd_reading_is_no_fall(self, account):
        accounts = [{"user_id": "a", "maxJobs": 4, "available": 0}, *([account] if account else [])]
        odd = parsed({"available": accounts})
        edge = RisingEdge(SlotRequest())

        assert observed(edge, free(a=0, b=2), Availability(odd, Counter()), free(a=0, b=2)) == [
            True,
            False,
            False,
        ]

    def test_edge_account_missing_from_three_readings_is_gone(self):
        edge = RisingEdge(SlotRequest())

        assert observed(edge, free(a=0, b=2), *alike(3, a=0), free(a=1))[-1] is True

    def test_edge_account_that_is_always_odd_hides_no_missing_one(self):
        odd = {"user_id": "b"}

        def seen(*accounts):
            now = parsed({"available": [*accounts, odd]})
            return Availability(now, Counter({each.user_id: each.available for each in now.accounts}))

        whole = {"user_id": "a", "maxJobs": 4, "available": 2}
        edge = RisingEdge(SlotRequest())
        said = observed(edge, *(seen(whole) for _ in range(4)), seen(), seen(whole))

        assert said.count(True) == 1

    def test_edge_that_is_not_armed_takes_no_first_reading_for_a_fall(self):
        edge = RisingEdge(SlotRequest(), armed=False)

        assert not any(observed(edge, free(a=0), *(free(a=0, b=2) for _ in range(5))))

    def test_edge_missing_account_that_is_not_requested_does_not_matter(self):
        edge = RisingEdge(SlotRequest(user_ids=frozenset("a")))

        assert observed(edge, free(a=1, b=1), free(a=0), free(a=1)) == [True, False, True]

    def test_edge_reading_that_is_observed_again_counts_once(self):
        edge, blank = RisingEdge(SlotRequest()), free()

        assert observed(edge, free(a=1), *[blank] * 5, free(a=1))[-1] is False

    def test_edge_slots_claimed_and_given_back_are_neither_fall_nor_rise(self):
        edge = RisingEdge(SlotRequest(slots=2))
        promised = Availability(reading(a=(2, 4)), Counter())

        assert observed(edge, free(a=2), promised, free(a=2)) == [True, False, False]

    def test_edge_three_blank_readings_are_a_fall(self):
        edge = RisingEdge(SlotRequest())

        assert observed(edge, free(a=1), *alike(3), free(a=1))[-1] is True

    def test_edge_impossible_request_is_unsatisfiable_from_the_third_reading_on(self):
        edge = RisingEdge(SlotRequest(slots=5))
        said = []
        for each in (*alike(3, a=4), free(a=4, b=4)):
            edge.observe(replace(each, configured=configured(a=4)))
            said.append((edge.in_doubt, edge.unsatisfiable))

        assert said == [(False, None)] * 2 + [(True, "the accounts have 4 in all"), (False, None)]

    @pytest.mark.parametrize("accounts", [configured(a=4, b=4), None], ids=["full", "unknown"])
    def test_edge_request_that_full_accounts_may_serve_is_satisfiable(self, accounts):
        edge = RisingEdge(SlotRequest(slots=5))
        for each in alike(9, a=4):
            edge.observe(replace(each, configured=accounts))

        assert edge.in_doubt
        assert edge.unsatisfiable is None

    def test_edge_full_account_that_is_not_listed_is_a_fall_if_its_jobs_are(self):
        jobs = [job(str(number), "a") for number in range(4)]
        edge, full = RisingEdge(SlotRequest()), reading(*jobs).with_full_accounts({"a": 4})

        assert observed(edge, free(a=1), Availability(full, Counter()), free(a=1)) == [
            True,
            False,
            True,
        ]

    @pytest.mark.parametrize("jobs", [0, 1, 3])
    def test_edge_account_that_is_not_listed_nor_all_its_jobs_is_no_fall(self, jobs):
        running = [job(str(number), "a") for number in range(jobs)]
        edge, blank = RisingEdge(SlotRequest()), reading(*running).with_full_accounts({"a": 4})

        assert observed(edge, free(a=1), Availability(blank, Counter()), free(a=1)) == [
            True,
            False,
            False,
        ]


class TestLess:
    def test_less_demand_for_any_account_takes_from_the_one_with_most(self):
        assert free(a=3, b=1).less({None: 2}).slots == {"a": 1, "b": 1}

    def test_less_demand_for_more_than_there_is_leaves_nothing(self):
        assert not free(a=3, b=1).less({None: 5}).slots

    def test_less_demand_for_one_account_leaves_the_others(self):
        assert free(a=3, b=4).less({frozenset("a"): 10}).slots == {"b": 4}

    def test_less_demand_for_certain_accounts_comes_first(self):
        assert not free(a=1, b=1).less({None: 1, frozenset("a"): 1}).slots

    def test_less_without_demand_leaves_all(self):
        assert free(a=3, b=1).less({}).slots == {"a": 3, "b": 1}


def test_payload_is_the_reading_and_the_unclaimed_slots_of_the_requested_accounts():
    callback = {**job("1", "a"), "replyUrl": "https://me:secret@example.com/done?key=secret"}
    now = reading(callback, a=(3, 4), b=(1, 4))

    payload = Availability(now, Counter(a=2, b=1)).to_xcom(frozenset("a"))

    assert payload == {**now.for_users({"a"}).to_xcom(), "unclaimed": 2}
    assert "secret" not in json.dumps(payload)
    assert Availability(now, Counter(a=2, b=1)).to_xcom()["unclaimed"] == 3
