"""The emulator as an ASGI application."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

from fastapi import FastAPI

from airflow_riffusion.emulator.audio import audio_routes
from airflow_riffusion.emulator.callbacks import report_ended_jobs
from airflow_riffusion.emulator.control import control_routes
from airflow_riffusion.emulator.dialects.base import Context, Dialect
from airflow_riffusion.emulator.errors import answer_errors_like_the_service
from airflow_riffusion.emulator.faults import FaultList
from airflow_riffusion.emulator.middleware import OPENAPI_PATH, RequestMiddleware
from airflow_riffusion.emulator.routes import endpoint_finder, service_routes
from airflow_riffusion.emulator.service import SchedulerService


def create_app(
    service: SchedulerService,
    dialect: Dialect,
    *,
    token: Callable[[], str | None] = lambda: None,
    base_url: Callable[[], str] = lambda: "http://127.0.0.1",
    faults: FaultList | None = None,
    closing: asyncio.Event | None = None,
    jobs_per_submission: int = 1,
    audio_delay: float = 0.0,
) -> FastAPI:
    """Build the application; only EmulatorServer can serve faults that close the connection."""
    faults = FaultList() if faults is None else faults
    closing = closing or asyncio.Event()  # once set, no request is delayed or held
    context = Context(service, closing, jobs_per_submission, audio_delay)
    endpoints = service_routes(dialect, context)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        reports = asyncio.create_task(report_ended_jobs(service, dialect, base_url))
        yield
        reports.cancel()
        with suppress(asyncio.CancelledError):
            await reports

    app = FastAPI(
        title=f"{dialect.title} emulator",
        summary="useapi.net's scheduler service on your own machine.",
        openapi_url=OPENAPI_PATH,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        lifespan=lifespan,
    )
    app.add_middleware(
        RequestMiddleware,
        service=service,
        faults=faults,
        endpoint_of=endpoint_finder(endpoints),
        token=token,
        closing=closing,
    )
    app.include_router(endpoints)
    app.include_router(control_routes(service, faults))
    app.include_router(audio_routes(service))
    answer_errors_like_the_service(app, service, dialect)
    return app
