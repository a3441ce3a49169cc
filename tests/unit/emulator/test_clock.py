from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest

from airflow_riffusion.emulator.clock import elapsed, timestamp


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "00:00"),
        (59.9, "00:59"),
        (237, "03:57"),
        (3599, "59:59"),
        (3600, "01:00:00"),
        (360_000, "100:00:00"),
    ],
)
def test_elapsed_from_one_hour_on_has_hours(seconds, text):
    assert elapsed(timedelta(seconds=seconds)) == text


def test_elapsed_below_zero_is_zero():
    assert elapsed(timedelta(seconds=-90)) == "00:00"


def test_timestamp_of_any_zone_is_utc_to_the_millisecond():
    moment = datetime(2025, 2, 12, 3, 55, 16, tzinfo=timezone(timedelta(hours=2)))
    assert timestamp(moment) == "2025-02-12T01:55:16.000Z"
