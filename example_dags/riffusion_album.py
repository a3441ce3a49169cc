"""
Make an album: each prompt becomes a song, each audio file is saved, and a playlist names them all.

The folder is a local one by default, which has to be the same for all workers. With Airflow's provider for an
object store installed it can be a bucket, as in ``s3://aws_default@my-bucket/album``.

Needs the connection ``riffusion_default``.
"""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

from airflow.sdk import ObjectStoragePath, Param, dag, task

from airflow_riffusion.operators.submit import RiffusionSubmitOperator


@dag(
    schedule=None,
    default_args={"retries": 3, "retry_delay": timedelta(seconds=30)},
    params={
        "prompts": Param(["a lullaby for a lighthouse", "polka on the moon"], type="array", minItems=1),
        "folder": Param((Path.home() / "riffusion-album").as_uri(), type="string", minLength=1),
    },
    tags=["riffusion", "example"],
)
def riffusion_album():
    @task
    def songs(params: dict) -> list[dict]:
        return [{"prompt": prompt} for prompt in params["prompts"]]

    @task
    def save(song: dict, params: dict, ti) -> list[dict]:
        """Save each audio file of a song; services make one or two."""
        import requests

        album = ObjectStoragePath(params["folder"])
        album.mkdir(parents=True, exist_ok=True)
        tracks = []
        for take, audio in enumerate(song["audio"], start=1):
            suffix = PurePosixPath(urlsplit(audio["url"]).path).suffix
            file = album / f"{ti.map_index + 1:02}-{take}{suffix}"
            with requests.get(audio["url"], stream=True, timeout=60) as answer:
                answer.raise_for_status()
                with file.open("wb") as opened:
                    for chunk in answer.iter_content(chunk_size=65536):
                        opened.write(chunk)
            tracks.append({**audio, "file": file.name})
        return tracks

    @task
    def playlist(songs: list[list[dict]], params: dict) -> str:
        """Write a playlist that any player opens, and return where it is."""
        lines = ["#EXTM3U"]
        for track in (track for tracks in songs for track in tracks):
            seconds = round(track["duration_seconds"] or -1)  # -1 is the format's word for unknown
            lines += [f"#EXTINF:{seconds},{track['title'] or track['file']}", track["file"]]
        file = ObjectStoragePath(params["folder"]) / "album.m3u8"
        file.write_text("\n".join(lines) + "\n")
        return str(file)

    song = RiffusionSubmitOperator.partial(task_id="song").expand(json=songs())
    playlist(save.expand(song=song.output))


riffusion_album()
