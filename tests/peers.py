"""Gates that pretend to be in different triggerers, and what they tell each other."""

from __future__ import annotations

import asyncio

from airflow_riffusion.core.peers import HeldSlots, PeerState
from tests.gates import cancel, wait


def wait_at(gate, waiter_id, *, poke_interval=5.0, **request):
    """Start a task that waits at one of several gates."""
    return wait(waiter_id, gate=gate, poke_interval=poke_interval, **request)


def state(*, sequence=1, intent=False, **lasts):
    """Return a peer's state, with holds for one slot of account "a"."""
    holds = [
        HeldSlots(reply_ref=ref, slots={"a": 1}, one_job=True, lasts=each) for ref, each in lasts.items()
    ]
    return PeerState(sequence=sequence, intent=intent, held=holds).model_dump_json()


def states(peer_store):
    return [PeerState.model_validate_json(text) for text in peer_store.texts.values()]


def published(peer_store):
    """Return what the gates say they hold, and whether one of them intends to grant."""
    now = states(peer_store)
    return {held.reply_ref for each in now for held in each.held}, any(each.intent for each in now)


def published_wanted(peer_store):
    """Return how many slots each gate says are wanted."""
    return [sum(wanted.slots for wanted in each.wanted) for each in states(peer_store)]


async def cancel_after(waiter, seconds):
    await asyncio.sleep(seconds)
    await cancel(waiter)


def loop_time():
    return asyncio.get_running_loop().time()
