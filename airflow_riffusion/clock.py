"""The time, and sleep: the one place where a test replaces the clock."""

from __future__ import annotations

import time
from datetime import UTC, datetime

monotonic = time.monotonic
sleep = time.sleep
epoch = time.time


def utc_now() -> datetime:
    """Return the time in UTC."""
    return datetime.fromtimestamp(epoch(), UTC)
