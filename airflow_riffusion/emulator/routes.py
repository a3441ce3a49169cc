"""The service's own endpoints."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request
from fastapi.security import HTTPBearer
from pydantic import AfterValidator, AnyHttpUrl, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from airflow_riffusion.emulator.dialects import Dialect
from airflow_riffusion.emulator.limits import MAX_SLOTS
from airflow_riffusion.emulator.misbehaviour import JOB_ERROR
from airflow_riffusion.emulator.records import Text
from airflow_riffusion.emulator.service import SchedulerService

LONGEST_REPLY = 1024


def _not_blank(text: str) -> str:
    if not text.strip():
        raise ValueError("must not be empty")
    return text


def _callable_url(url: str) -> str:
    try:
        _HTTP_URL.validate_python(url)
    except ValidationError:
        raise ValueError("must be an http:// or https:// URL") from None
    return url


_HTTP_URL = TypeAdapter(AnyHttpUrl)


class Submission(BaseModel):
    """What a submission holds. The service knows more fields, which are ignored here."""

    model_config = ConfigDict(strict=True)

    prompt: Annotated[Text, Field(json_schema_extra={"pattern": r"\S"}), AfterValidator(_not_blank)]
    instrumental: bool | None = None
    user_id: Text | None = None
    email: Text | None = None
    reply_url: Annotated[
        Annotated[Text, Field(max_length=LONGEST_REPLY), AfterValidator(_callable_url)] | None,
        Field(alias="replyUrl", json_schema_extra={"format": "uri"}),
    ] = None
    reply_ref: Annotated[Text, Field(max_length=LONGEST_REPLY)] | None = Field(None, alias="replyRef")
    max_jobs: Annotated[int, Field(ge=1, le=MAX_SLOTS)] | None = Field(None, alias="maxJobs")


class ErrorAnswer(BaseModel):
    """The shape of every error; ``code`` is the HTTP status again."""

    error: str
    code: int


# Only declared here: the middleware checks the token before a body is read.
bearer_token = Depends(HTTPBearer(auto_error=False, description="The API token."))

# Declared as a range, or FastAPI would announce an error 422 in a shape of its own.
errors: dict[int | str, dict[str, Any]] = {"4XX": {"model": ErrorAnswer, "description": "Refused"}}


def service_routes(service: SchedulerService, dialect: Dialect) -> APIRouter:
    """Build the routes of one service, relative to ``/v1/<service>``."""
    routes = APIRouter(tags=["service"], dependencies=[bearer_token], responses=errors)

    @routes.get("/scheduler/available")
    async def available() -> dict[str, Any]:
        """List the executing jobs and what is free on each healthy account."""
        return dialect.available(service.read())

    @routes.get("/accounts")
    async def accounts() -> dict[str, Any]:
        """List every account as it is configured, secrets among it, with an ``error`` if it takes no jobs."""
        return dialect.accounts(service.read())

    @routes.get("/scheduler")
    async def executing() -> list[dict[str, Any]]:
        """List the executing jobs."""
        return dialect.executing(service.read())

    @routes.delete("/scheduler/{job_id}", status_code=204)
    async def cancel(job_id: str) -> None:
        """Drop an executing job, which frees its slot. Its ``replyUrl`` is not called."""
        service.cancel(job_id)

    @routes.post("/music/create-prompt", responses={596: {**errors["4XX"], "description": "Login expired"}})
    async def submit(submission: Submission, request: Request) -> dict[str, Any]:
        """Take a slot for a new job, or answer 429. All services have this path here."""
        job = service.submit(
            submission.prompt,
            user_id=submission.user_id if dialect.account_field == "user_id" else submission.email,
            instrumental=bool(submission.instrumental),
            reply_url=submission.reply_url,
            reply_ref=submission.reply_ref,
            max_jobs=submission.max_jobs,
            error=request.scope.get(JOB_ERROR),
        )
        return dialect.accepted(job)

    @routes.get("/music")
    async def result(
        job_id: Annotated[str, Query(alias="id", min_length=1)],
        user_id: Annotated[str | None, Query(alias=dialect.account_field)] = None,
    ) -> list[dict[str, Any]]:
        """Show how a job fares, or how it ended. All services have this path here."""
        return dialect.result(service.find(job_id, user_id))

    return routes
