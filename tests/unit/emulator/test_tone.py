from __future__ import annotations

import io
import wave

from airflow_riffusion.emulator.tone import DURATION_SECONDS, tone


def read(name):
    with wave.open(io.BytesIO(tone(name))) as file:
        return file.getnframes() / file.getframerate(), file.readframes(file.getnframes())


def test_tone_has_its_duration():
    duration, _ = read("job-1")
    assert duration == DURATION_SECONDS


def test_tone_is_heard():
    _, frames = read("job-1")
    assert max(memoryview(frames).cast("h")) > 10_000


def test_tone_of_the_same_name_is_the_same():
    assert tone("job-1") == tone("job-1")


def test_tone_of_each_name_is_different():
    assert len({tone(f"job-{number}") for number in range(20)}) == 20
