"""How the service answers what goes wrong."""

import math
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse

from airflow_riffusion.emulator.clock import timestamp
from airflow_riffusion.emulator.dialects.base import Dialect
from airflow_riffusion.emulator.misbehaviour import error_answer
from airflow_riffusion.emulator.records import (
    AccountRequired,
    LoginExpired,
    NoAudio,
    NoFreeSlot,
    NotExecuting,
    TooSoon,
    UnknownAccount,
    UnknownJob,
)
from airflow_riffusion.emulator.service import SchedulerService


class ErrorAnswer(BaseModel):
    """The shape of every error; ``code`` is the HTTP status again."""

    error: str
    code: int


# Declared as ranges, or FastAPI would announce an error 422 in a shape of its own.
errors: dict[int | str, dict[str, Any]] = {
    "4XX": {"model": ErrorAnswer, "description": "Refused"},
    "5XX": {"model": ErrorAnswer, "description": "Not now, or a login has expired (596)"},
}


def answer_errors_like_the_service(app: FastAPI, service: SchedulerService, dialect: Dialect) -> None:
    """Have all errors answered in the service's shape."""

    @app.exception_handler(RequestValidationError)
    async def invalid(_request: Request, error: RequestValidationError) -> JSONResponse:
        return error_answer(400, _explain(error.errors()))

    @app.exception_handler(HTTPException)
    async def failed(_request: Request, error: HTTPException) -> JSONResponse:
        known = f" (known here: {dialect.prefix}/ and /emulator/)" if error.status_code == 404 else ""
        answer = error_answer(error.status_code, f"{error.detail}{known}")
        answer.headers.update(error.headers or {})
        return answer

    @app.exception_handler(NoFreeSlot)
    async def full(_request: Request, _error: NoFreeSlot) -> JSONResponse:
        return too_many("No free slot: wait 10..30 seconds and retry", dialect.full_retry_after)

    @app.exception_handler(TooSoon)
    async def too_soon(_request: Request, error: TooSoon) -> JSONResponse:
        return too_many("Too soon after the previous submission", math.ceil(error.seconds))

    def too_many(message: str, retry_after: int | None) -> JSONResponse:
        if retry_after is None:
            return error_answer(429, message)
        at = timestamp(service.read().now + timedelta(seconds=retry_after))
        answer = error_answer(429, message, **({"retryAfter": at} if dialect.retry_after_in_body else {}))
        answer.headers["Retry-After"] = str(retry_after)
        return answer

    async def refused(_request: Request, error: Exception) -> JSONResponse:
        return error_answer(*refusals[type(error)])

    account, job = dialect.account_field, dialect.job_field
    refusals = {
        AccountRequired: (400, f"{account}: required, as there are several accounts"),
        UnknownAccount: (400, f"{account}: no such account (GET accounts lists them)"),
        LoginExpired: (596, "The account's login has expired: renew it (GET accounts says which)"),
        UnknownJob: (404, f"Unable to locate {job}"),
        NotExecuting: (404, f"Unable to locate running {job}"),
        NoAudio: (404, "There is no such audio, or not yet"),
    }
    for refusal in refusals:
        app.add_exception_handler(refusal, refused)


def _explain(problems: Sequence[Any]) -> str:
    # The name of a field that is not known may be as long as the request.
    return "; ".join(_explain_one(problem) for problem in problems)[:500]


def _explain_one(error: dict[str, Any]) -> str:
    if error["type"] == "json_invalid":
        return "the body is not valid JSON"
    message = str(error["msg"]).removeprefix("Value error, ")
    if len(error["loc"]) > 1:
        return f"{error['loc'][1]}: {message}"
    if error["type"] == "value_error":
        return message
    return "a JSON object is expected as body, with Content-Type: application/json"
