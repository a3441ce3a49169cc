"""Kling: https://useapi.net/docs/api-kling-v1. It makes videos; only its capacity is known here."""

from __future__ import annotations

from airflow_riffusion.services.scheduler import SchedulerService


class Kling(SchedulerService):
    """Kling."""

    name = "kling"
    title = "Kling"
    makes = "video"
    account_field = "email"


SERVICE = Kling()
