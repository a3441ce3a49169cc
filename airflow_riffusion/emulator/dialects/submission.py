"""What all services take with a submission."""

from typing import Annotated

from pydantic import AfterValidator, AnyHttpUrl, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError
from starlette.requests import Request

from airflow_riffusion.emulator.dialects.base import Context
from airflow_riffusion.emulator.misbehaviour import JOB_ERROR
from airflow_riffusion.emulator.records import Job, Text

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

Prompt = Annotated[Text, Field(json_schema_extra={"pattern": r"\S"}), AfterValidator(_not_blank)]


class Submission(BaseModel):
    """
    What a submission holds. The services know more fields, which are ignored here.

    Only of Riffusion is it known that a prompt is required.
    """

    model_config = ConfigDict(strict=True)

    prompt: Prompt | None = None
    reply_url: Annotated[
        Annotated[Text, Field(max_length=LONGEST_REPLY), AfterValidator(_callable_url)] | None,
        Field(alias="replyUrl", json_schema_extra={"format": "uri"}),
    ] = None
    reply_ref: Annotated[Text, Field(max_length=LONGEST_REPLY)] | None = Field(None, alias="replyRef")


def submit(
    context: Context,
    request: Request,
    submission: Submission,
    account: str | None,
    *,
    instrumental: bool = False,
    max_jobs: int | None = None,
) -> list[Job]:
    """Take the slots of a submission; raise what SchedulerService raises if there are none."""
    context.service.keep_pause()
    return context.service.submit_jobs(
        context.jobs_per_submission,
        submission.prompt or "",
        user_id=account,
        instrumental=instrumental,
        reply_url=submission.reply_url,
        reply_ref=submission.reply_ref,
        max_jobs=max_jobs,
        error=request.scope.get(JOB_ERROR),
    )
