"""How many songs and tasks there are in the largest runs: ``make test-scale`` raises the numbers."""

from __future__ import annotations

import os

FULL = os.environ.get("SCALE") == "full"

SONGS = 200 if FULL else 60
SONGS_OVER_A_KILLED_TRIGGERER = 120 if FULL else 60
ALBUMS = 10 if FULL else 4  # of 40 songs each
WAITING_IN_THE_SOAK = 1000 if FULL else 300
