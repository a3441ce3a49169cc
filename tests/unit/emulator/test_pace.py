from __future__ import annotations

import pytest

from airflow_riffusion.emulator.pace import Pace
from airflow_riffusion.emulator.records import TooSoon


def test_keep_pause_too_short_says_how_long_to_wait(clock):
    pace = Pace(3)
    pace.keep(clock.now)
    clock.advance(1)
    with pytest.raises(TooSoon) as error:
        pace.keep(clock.now)
    assert error.value.seconds == 2


def test_keep_after_a_submission_too_soon_counts_from_the_one_before(clock):
    pace = Pace(3)
    pace.keep(clock.now)
    clock.advance(2)
    with pytest.raises(TooSoon):
        pace.keep(clock.now)
    clock.advance(1)
    pace.keep(clock.now)


def test_keep_without_a_pause_takes_all(clock):
    pace = Pace(0)
    for _ in range(3):
        pace.keep(clock.now)
