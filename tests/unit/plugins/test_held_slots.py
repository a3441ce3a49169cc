from __future__ import annotations

from airflow_riffusion.core.peers import HeldSlots, PeerState
from airflow_riffusion.plugins.page.held_slots import GateHolds
from tests.readings import job, reading


def state(*references: str, sequence: int = 1, lasts: float = 60.0) -> PeerState:
    holds = tuple(
        HeldSlots(reply_ref=reference, slots={"a": 1}, one_job=True, lasts=lasts) for reference in references
    )
    return PeerState(sequence=sequence, intent=False, held=holds)


def test_held_slots_of_several_gates_are_added():
    held = GateHolds().held_slots({"g": state("r", "s"), "h": state("t")}, reading(a=5), now=0)

    assert held == {"a": 3}


def test_held_slots_slot_of_an_executing_job_is_not_held():
    held = GateHolds().held_slots({"g": state("r", "s")}, reading(job("1", "a", "r"), a=4), now=0)

    assert held == {"a": 1}


def test_held_slots_slot_of_a_seen_job_that_has_ended_is_not_held():
    gates = GateHolds()
    gates.held_slots({"g": state("r")}, reading(job("1", "a", "r"), a=4), now=0)

    assert not gates.held_slots({"g": state("r")}, reading(a=5), now=20)


def test_held_slots_slot_granted_again_to_a_seen_job_is_held_again():
    gates = GateHolds()
    gates.held_slots({"g": state("r")}, reading(job("1", "a", "r"), a=4), now=0)
    gates.held_slots({"g": state(sequence=2)}, reading(a=5), now=20)

    assert gates.held_slots({"g": state("r", sequence=3)}, reading(a=5), now=40) == {"a": 1}


def test_held_slots_hold_expires_after_it_was_first_seen():
    gates, states = GateHolds(), {"g": state("r", lasts=60)}

    held = [gates.held_slots(states, reading(a=5), now) for now in (0, 59, 61)]

    assert held == [{"a": 1}, {"a": 1}, {}]
