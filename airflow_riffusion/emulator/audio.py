"""The audio of completed jobs, at ``/emulator/audio/<job id>.wav``."""

import re
from typing import Any
from urllib.parse import quote

from fastapi import APIRouter, Response

from airflow_riffusion.emulator.records import Job, NoAudio, UnknownJob
from airflow_riffusion.emulator.service import SchedulerService
from airflow_riffusion.emulator.tone import DURATION_SECONDS, tone

__all__ = ["AUDIO_PREFIX", "DURATION_SECONDS", "audio_routes", "audio_url", "title_of"]

AUDIO_PREFIX = "/emulator/audio/"
"""No request below it needs a token, as is usual for the addresses of audio."""

_LONGEST_TITLE = 60


class Wave(Response):
    """A WAV file."""

    media_type = "audio/wav"


def audio_url(base_url: str, job: Job, song: int = 1) -> str:
    """Return where the n-th song of a job is; the first has 1."""
    number = "" if song == 1 else f".{song}"
    return f"{base_url.rstrip('/')}{AUDIO_PREFIX}{quote(str(job.job_id), safe='')}{number}.wav"


def title_of(job: Job) -> str:
    """Return a job's title: the beginning of its prompt."""
    return " ".join(job.prompt.split())[:_LONGEST_TITLE].rstrip() or "Untitled"


def audio_routes(service: SchedulerService) -> APIRouter:
    """Build the route that serves the audio."""
    routes = APIRouter(tags=["audio"])
    found: dict[int | str, dict[str, Any]] = {404: {"description": "No such audio, or not yet"}}

    @routes.get(AUDIO_PREFIX + "{file_name:path}", response_class=Wave, responses=found)
    def audio(file_name: str) -> Wave:
        """Serve a song of a completed job: ``<job id>.wav``, a second one as ``<job id>.2.wav``."""
        name = file_name.removesuffix(".wav")
        if name == file_name or not _is_there(service, name):
            raise NoAudio(file_name)
        return Wave(tone(name))

    return routes


def _is_there(service: SchedulerService, name: str) -> bool:
    for job_id in (name, re.sub(r"\.\d+$", "", name)):
        try:
            return service.find(job_id).status == "completed"
        except UnknownJob:
            continue
    return False
