"""A short tone, which stands for the music that the services make."""

from __future__ import annotations

import hashlib
import io
import math
import sys
import wave
from array import array

DURATION_SECONDS = 2
_RATE = 22_050
_FRAMES = DURATION_SECONDS * _RATE
_FADE = _RATE // 20  # without it, a tone begins and ends with a click
_LOUDEST = 12_000
_LOWEST_HERTZ = 220.0
_OCTAVES = 2


def tone(name: str) -> bytes:
    """Make the WAV file of a tone, whose pitch depends on the name."""
    step = 2 * math.pi * _hertz(name) / _RATE
    frames = array("h", (round(_loudness(number) * math.sin(step * number)) for number in range(_FRAMES)))
    if sys.byteorder == "big":
        frames.byteswap()
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(1)
        writer.setsampwidth(frames.itemsize)
        writer.setframerate(_RATE)
        writer.writeframes(frames.tobytes())
    return file.getvalue()


def _hertz(name: str) -> float:
    place = int.from_bytes(hashlib.sha256(name.encode()).digest()[:4]) / 2**32
    return float(_LOWEST_HERTZ * 2 ** (_OCTAVES * place))


def _loudness(number: int) -> float:
    return _LOUDEST * min(1.0, number / _FADE, (_FRAMES - number) / _FADE)
