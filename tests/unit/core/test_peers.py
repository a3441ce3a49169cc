from __future__ import annotations

import pytest

from airflow_riffusion.core.ledger import SlotLedger
from airflow_riffusion.core.peers import (
    FADING_AFTER,
    FORGOTTEN_AFTER,
    GONE_AFTER,
    INTENT_EXPIRES,
    LONGEST_TURN,
    NEWCOMER_FOR,
    PUBLISH_EVERY,
    HeldSlots,
    Membership,
    Peers,
    PeerState,
    WantedSlots,
)
from airflow_riffusion.core.request import SlotRequest
from tests.readings import job, reading

FREE = reading(a=5, b=5)


def held(reference="r", lasts=60.0, one_job=True, **slots):
    return HeldSlots(reply_ref=reference, slots=slots or {"a": 1}, one_job=one_job, lasts=lasts)


def state(*holds, sequence=1, intent=False, **wanted):
    wants = [WantedSlots(slots=n, user_ids=frozenset(account)) for account, n in wanted.items()]
    return PeerState(sequence=sequence, intent=intent, held=holds, wanted=wants)


def peers(now=0.0, **states):
    peers = Peers()
    peers.observe(states, now)
    return peers


def test_state_of_a_ledger_has_its_holds_and_survives_json():
    ledger = SlotLedger()
    ledger.join("w", SlotRequest(slots=3, hold=60, user_ids=frozenset({"a"})))
    ledger.join("song", SlotRequest(slots=2, hold=90, reply_ref="a/song", since=1.0))
    ledger.observe(reading(a=3, b=2), now=100)
    ledger.observe(reading(job("1", "a", "w"), a=3, b=2), now=101)

    published = PeerState.of(ledger.holds, 110, sequence=7, intent=True)

    assert PeerState.model_validate_json(published.model_dump_json()) == published
    assert published == state(
        held("w", lasts=50, one_job=False, a=2),
        held("a/song", lasts=80, b=2),
        sequence=7,
        intent=True,
    )


def test_state_hold_of_one_slot_is_for_one_job():
    ledger = SlotLedger()
    ledger.join("w", SlotRequest(hold=60))
    ledger.observe(FREE, now=0)

    assert [one.one_job for one in PeerState.of(ledger.holds, 0, sequence=1, intent=False).held] == [True]


def test_state_hold_that_has_expired_lasts_no_longer():
    ledger = SlotLedger()
    ledger.join("w", SlotRequest(hold=60))
    ledger.observe(FREE, now=0)

    assert [one.lasts for one in PeerState.of(ledger.holds, 61, sequence=1, intent=False).held] == [0]


@pytest.mark.parametrize(
    "text",
    [
        "no JSON",
        "{}",
        '{"sequence": 1, "flag": false, "holds": []}',
        '{"sequence": 1, "intent": false, "held": [{"slots": {"a": -1}}]}',
        '{"sequence": 1, "intent": false, "held": '
        '[{"reply_ref": "r", "slots": {"a": 1}, "one_job": true, "lasts": NaN}]}',
        '{"sequence": 1, "intent": true, "references": false, "held": '
        '[{"reply_ref": "r", "slots": {"a": 1}, "one_job": true, "lasts": Infinity}]}',
    ],
)
def test_state_that_can_not_be_parsed_counts_as_an_intent(text):
    read, is_valid = PeerState.read(text)

    assert not is_valid
    assert read.intent
    assert read != PeerState.read(f"{text} ")[0]


def test_state_that_is_valid_is_parsed():
    published = PeerState.of([], 0.0, sequence=3, intent=False, wanted={None: 2, frozenset("ab"): 1})
    assert PeerState.read(published.model_dump_json()) == (published, True)

    published = state(held(), sequence=3)

    assert PeerState.read(published.model_dump_json()) == (published, True)


def test_state_of_an_older_version_wants_nothing():
    read, is_valid = PeerState.read('{"sequence": 1, "intent": false, "held": []}')

    assert (read.wanted, is_valid) == ((), True)


def test_peers_holds_of_all_peers_count_together():
    known = peers(x=state(held("1", a=1), held("2", a=1, b=2)), y=state(held("3", b=1)))

    assert known.held(FREE, 0) == {"a": 2, "b": 3}


def test_peers_hold_counts_from_its_first_reading_until_it_expires():
    known = peers(now=100, x=state(held(lasts=60)))
    known.observe({"x": state(held(lasts=60))}, 130)

    assert known.held(FREE, 159.9)
    assert not known.held(FREE, 160)


def test_peers_new_state_replaces_the_one_before():
    known = peers(now=100, x=state(held(lasts=60), sequence=1))
    known.observe({"x": state(sequence=2)}, 101)

    assert not known.held(FREE, 101)


def test_peers_hold_whose_one_job_is_executing_does_not_count():
    known = peers(x=state(held("seen"), held("unseen")))

    assert known.held(reading(job("1", "a", "seen"), a=5), 0) == {"a": 1}


def test_peers_hold_for_several_jobs_counts_while_one_is_executing():
    known = peers(x=state(held("r", one_job=False, a=2)))

    assert known.held(reading(job("1", "a", "r"), a=5), 0) == {"a": 2}


def test_peers_intent_counts_until_it_expires():
    known = peers(now=100, x=state(intent=True), y=state())

    assert known.intend_to_grant(100 + INTENT_EXPIRES - 0.1)
    assert not known.intend_to_grant(100 + INTENT_EXPIRES)


def test_peers_without_intents_intend_nothing():
    assert not peers(x=state()).intend_to_grant(0)


def test_peers_intent_counts_beside_one_that_has_expired():
    known = peers(now=100, killed=state(intent=True))
    known.observe({"killed": state(intent=True), "x": state(intent=True)}, 100 + INTENT_EXPIRES)

    assert known.intend_to_grant(100 + INTENT_EXPIRES)


def test_peers_new_intent_does_not_expire_with_the_one_before():
    known = peers(now=100, x=state(intent=True, sequence=1))
    known.observe({"x": state(intent=True, sequence=3)}, 115)

    assert known.intend_to_grant(115 + INTENT_EXPIRES - 0.1)


def test_peers_intent_outlasts_the_longest_turn():
    assert INTENT_EXPIRES >= LONGEST_TURN + 10


def test_peers_silent_peer_is_gone_but_its_holds_count():
    known = peers(now=100, x=state(held(lasts=1000)))

    assert known.alive(100 + GONE_AFTER - 0.1) == 1
    assert known.alive(100 + GONE_AFTER) == 0
    assert known.held(FREE, 100 + GONE_AFTER)


def test_peers_wanted_slots_count_until_the_peer_is_gone():
    known = peers(now=100, x=state(a=2), y=state(a=3, b=1))
    assert known.wanted(100 + GONE_AFTER - 0.1) == {frozenset("a"): 5, frozenset("b"): 1}

    known.observe({"x": state(a=2), "y": state(a=4, sequence=2)}, 200)
    assert known.wanted(100 + GONE_AFTER) == {frozenset("a"): 4}


def test_peers_new_state_with_the_same_content_is_a_sign_of_life():
    known = peers(now=100, x=state(sequence=1))
    known.observe({"x": state(sequence=2)}, 100 + GONE_AFTER)

    assert known.alive(100 + GONE_AFTER) == 1


def test_peers_that_miss_one_publication_are_not_gone():
    assert GONE_AFTER > 2 * PUBLISH_EVERY


def test_peers_deleted_state_leaves_neither_peer_nor_holds():
    known = peers(x=state(held()))
    known.observe({}, 1)

    assert not known.alive(1)
    assert not known.held(FREE, 1)


def test_peers_silent_peer_is_forgotten_once_its_holds_expire():
    known = peers(now=100, x=state(), y=state(held(lasts=FORGOTTEN_AFTER + 60)))

    assert known.forgotten(100 + FORGOTTEN_AFTER - 0.1) == []
    assert known.forgotten(100 + FORGOTTEN_AFTER) == ["x"]
    assert known.forgotten(100 + FORGOTTEN_AFTER + 60) == ["x", "y"]


def member(*, held=0, wanted=0, now=100.0):
    """Return what peers know of a gate that has published what it holds and wants."""
    own = Membership()
    own.next_sequence(intent=False)
    own.published(now, now, held=held, wanted=wanted, intent=False)
    return own


def test_membership_first_state_makes_a_newcomer():
    assert member(now=100).newcomer_until == 100 + NEWCOMER_FOR


def test_membership_state_after_a_long_silence_makes_a_newcomer_again():
    own = member(now=100)
    own.published(100 + FADING_AFTER, 100 + FADING_AFTER, held=0, wanted=0, intent=False)

    assert own.newcomer_until == 100 + FADING_AFTER + NEWCOMER_FOR


def test_membership_state_soon_after_the_last_makes_no_newcomer():
    own = member(now=100)
    own.published(99 + FADING_AFTER, 99 + FADING_AFTER, held=0, wanted=0, intent=False)

    assert own.newcomer_until == 100 + NEWCOMER_FOR


def test_membership_deleted_state_makes_a_newcomer_that_is_not_published():
    own = member(now=100)
    own.deleted(105)

    assert (own.is_published, own.newcomer_until) == (False, 105 + NEWCOMER_FOR)


def test_membership_intent_that_may_have_been_published_counts_until_it_is_withdrawn():
    own = member()
    own.next_sequence(intent=True)  # publishing it fails
    own.next_sequence(intent=False)  # withdrawing it fails, too
    assert own.intent

    own.published(101, 101, held=0, wanted=0, intent=False)
    assert not own.intent


def test_membership_sequence_grows_with_each_attempt():
    own = member()

    assert own.next_sequence(intent=True) < own.next_sequence(intent=True)


@pytest.mark.parametrize(
    ("held", "wanted", "alone", "expected"),
    [
        (2, 3, False, False),
        (3, 3, False, False),  # a grant is published on its own
        (1, 3, False, True),
        (2, 4, False, True),
        (1, 3, True, False),
        (0, 3, True, True),
        (2, 6, True, False),
        (2, 7, True, True),
        (2, 0, True, True),
    ],
)
def test_membership_released_or_wanted_slots_are_news_to_peers(held, wanted, alone, expected):
    assert member(held=2, wanted=3).has_news(held, wanted, alone=alone) is expected


def test_membership_at_rest_has_published_nothing():
    own = member(held=2, wanted=3)
    own.on_idle()

    assert not own.has_news(0, 0, alone=False)
    assert own.has_news(0, 1, alone=False)
