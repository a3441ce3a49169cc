"""The emulator as an ASGI application."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse

from airflow_riffusion.emulator.callbacks import report_ended_jobs
from airflow_riffusion.emulator.control import control_routes
from airflow_riffusion.emulator.dialects import Dialect
from airflow_riffusion.emulator.faults import FaultList
from airflow_riffusion.emulator.middleware import OPENAPI_PATH, RequestMiddleware
from airflow_riffusion.emulator.misbehaviour import error_answer
from airflow_riffusion.emulator.records import (
    LoginExpired,
    NoFreeSlot,
    NotExecuting,
    UnknownAccount,
    UnknownJob,
)
from airflow_riffusion.emulator.routes import service_routes
from airflow_riffusion.emulator.service import SchedulerService


def create_app(
    service: SchedulerService,
    dialect: Dialect,
    *,
    token: Callable[[], str | None] = lambda: None,
    faults: FaultList | None = None,
    closing: asyncio.Event | None = None,
) -> FastAPI:
    """Build the application; only EmulatorServer can serve faults that close the connection."""
    faults = FaultList() if faults is None else faults
    service_prefix = f"/v1/{dialect.service}"

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        reports = asyncio.create_task(report_ended_jobs(service, dialect))
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
        service_prefix=f"{service_prefix}/",
        token=token,
        closing=closing or asyncio.Event(),  # once set, no request is delayed
    )
    app.include_router(service_routes(service, dialect), prefix=service_prefix)
    app.include_router(control_routes(service, faults))
    _answer_errors_like_the_service(app, dialect)
    return app


def _answer_errors_like_the_service(app: FastAPI, dialect: Dialect) -> None:
    @app.exception_handler(RequestValidationError)
    async def invalid(_request: Request, error: RequestValidationError) -> JSONResponse:
        return error_answer(400, _explain(error.errors()))

    @app.exception_handler(HTTPException)
    async def no_route(_request: Request, error: HTTPException) -> JSONResponse:
        known = f" (known here: /v1/{dialect.service}/ and /emulator/)" if error.status_code == 404 else ""
        answer = error_answer(error.status_code, f"{error.detail}{known}")
        answer.headers.update(error.headers or {})
        return answer

    async def refused(_request: Request, error: Exception) -> JSONResponse:
        return error_answer(*refusals[type(error)])

    refusals = {
        NoFreeSlot: (429, "No free slot: wait 10..30 seconds and retry"),
        UnknownAccount: (400, f"{dialect.account_field}: no such account (GET accounts lists them)"),
        LoginExpired: (596, "The account's login has expired: renew it (GET accounts says which)"),
        UnknownJob: (404, f"Unable to locate {dialect.job_field}"),
        NotExecuting: (404, f"Unable to locate running {dialect.job_field}"),
    }
    for refusal in refusals:
        app.add_exception_handler(refusal, refused)


def _explain(errors: Sequence[Any]) -> str:
    # The name of a field that is not known may be as long as the request.
    return "; ".join(_explain_one(error) for error in errors)[:500]


def _explain_one(error: dict[str, Any]) -> str:
    if error["type"] == "json_invalid":
        return "the body is not valid JSON"
    message = str(error["msg"]).removeprefix("Value error, ")
    if len(error["loc"]) > 1:
        return f"{error['loc'][1]}: {message}"
    if error["type"] == "value_error":
        return message
    return "a JSON object is expected as body, with Content-Type: application/json"
