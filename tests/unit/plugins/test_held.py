from __future__ import annotations

from airflow_riffusion.core.peers import HeldSlots, PeerState
from airflow_riffusion.plugins.page.held import HeldByGates
from airflow_riffusion.plugins.page.reading import Reading
from tests.readings import job, reading


def state(*references: str, sequence: int = 1, lasts: float = 60.0) -> PeerState:
    holds = tuple(
        HeldSlots(reply_ref=reference, slots={"a": 1}, one_job=True, lasts=lasts) for reference in references
    )
    return PeerState(sequence=sequence, flag=False, holds=holds)


def slots(held: HeldByGates, capacity, now: float = 0.0) -> int:
    return held.slots(Reading.of(capacity), now)["a"]


def test_what_all_gates_hold_is_held():
    held = HeldByGates()
    held.observe({"g": state("r", "s"), "h": state("t")}, now=0)

    assert slots(held, reading(a=5)) == 3


def test_a_slot_whose_job_executes_is_not_held():
    held = HeldByGates()
    held.observe({"g": state("r", "s")}, now=0)

    assert slots(held, reading(job("1", "a", "r"), a=4)) == 1


def test_a_slot_whose_job_was_seen_is_free_again_when_the_job_is_over():
    held = HeldByGates()
    held.observe({"g": state("r")}, now=0)
    slots(held, reading(job("1", "a", "r"), a=4))

    assert slots(held, reading(a=5), now=20) == 0


def test_a_slot_that_is_granted_anew_for_the_same_job_is_held_anew():
    held = HeldByGates()
    held.observe({"g": state("r")}, now=0)
    slots(held, reading(job("1", "a", "r"), a=4))
    held.observe({"g": state(sequence=2)}, now=20)
    slots(held, reading(a=5), now=20)
    held.observe({"g": state("r", sequence=3)}, now=40)

    assert slots(held, reading(a=5), now=40) == 1


def test_a_hold_is_over_when_it_has_lasted_since_it_was_first_seen():
    held = HeldByGates()
    for now in (0, 59, 61):
        held.observe({"g": state("r", lasts=60)}, now=now)

    assert slots(held, reading(a=5), now=59) == 1
    assert slots(held, reading(a=5), now=61) == 0
