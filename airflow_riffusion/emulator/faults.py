"""The faults that a test can ask for: what a service does on a bad day."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from airflow_riffusion.emulator.records import Endpoint, Text

if TYPE_CHECKING:
    from collections.abc import Sequence

LONGEST_DELAY_SECONDS = 300.0
LONGEST_BODY = 1_000_000
LONGEST_JOB_ERROR = 1000

_HeaderText = Annotated[
    str, Field(min_length=1, max_length=100, pattern=r"^[\x21-\x7e]([\x20-\x7e]*[\x21-\x7e])?$")
]
_Count = Annotated[int, Field(ge=1, le=1_000_000)]


class Fault(BaseModel):
    """
    What goes wrong, with which requests, and how often.

    With an answer of its own, or none (``drop``), the request never reaches the service and takes no
    slot. Any other fault lets it through.

    :param endpoint: the endpoint it applies to, by the name that ``requests_by_endpoint`` counts it under;
        without one, to every request for the service.
    :param status: the HTTP status to answer with; 200 if only a body is given.
    :param retry_after: the ``Retry-After`` to answer with: seconds, or any text.
    :param delay_seconds: how long the answer is kept back, in seconds. The service has done by then what was
        asked, if the request reaches it: a reading is as old as the delay.
    :param body: the body to answer with. ``truncated``: the answer ends in the middle of its JSON, whole by
        HTTP. ``cut``: the connection closes before as many bytes as announced were sent. ``html``: an error
        page. ``empty``: nothing. ``huge``: 60 MB of JSON. Any other text is sent as it is. Without a body,
        the service's own shape of an error.
    :param drop: whether the connection closes without an answer.
    :param lose_answer: whether the connection closes without an answer after the service has done what was
        asked, or refused it: a submission takes its slot, and the client can't know.
    :param job_error: for ``submit`` only: the submission is accepted as usual, but its job ends as failed,
        with this text. A submission that is refused counts for ``every`` and ``times`` as well.
    :param every: apply to every n-th of the matching requests.
    :param times: apply so many times at most; without it, for good.
    """

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    endpoint: Endpoint | None = None
    status: Annotated[int, Field(ge=200, le=599)] | None = None
    retry_after: Annotated[int, Field(ge=0, le=1_000_000)] | _HeaderText | None = None
    delay_seconds: Annotated[float, Field(ge=0, le=LONGEST_DELAY_SECONDS, allow_inf_nan=False)] = 0
    body: (
        Literal["truncated", "cut", "html", "empty", "huge"]
        | Annotated[Text, Field(max_length=LONGEST_BODY)]
        | None
    ) = None
    drop: bool = False
    lose_answer: bool = False
    job_error: Annotated[Text, Field(min_length=1, max_length=LONGEST_JOB_ERROR)] | None = None
    every: _Count = 1
    times: _Count | None = None

    @property
    def answers(self) -> bool:
        """Whether it gives an answer of its own."""
        return self.status is not None or self.body is not None

    @property
    def stops(self) -> bool:
        """Whether the request does not reach the service."""
        return self.drop or self.answers

    @model_validator(mode="after")
    def _make_sense(self) -> Self:
        if self.drop and self.answers:
            raise ValueError("a dropped connection has no status and no body")
        if self.retry_after is not None and not self.answers:
            raise ValueError("retry_after needs a status")
        if self.status in (204, 304) and self.body not in (None, "empty"):
            raise ValueError(f"an answer with status {self.status} has no body")
        if self.lose_answer and self.stops:
            raise ValueError("an answer that is lost is the service's own: it has no status, body or drop")
        if self.job_error is not None and self.stops:
            raise ValueError("a job can't fail if its submission has a status, a body or drop")
        if self.job_error is not None and self.endpoint != "submit":
            raise ValueError("job_error needs the endpoint submit")
        if not (self.stops or self.delay_seconds or self.lose_answer or self.job_error):
            raise ValueError("a fault needs a status, body, delay_seconds, drop, lose_answer or job_error")
        return self


@dataclass
class CountedFault:
    """A fault, how many requests matched it, and to how many of them it was applied."""

    fault: Fault
    met: int = 0
    fired: int = 0

    def matches(self, endpoint: str) -> bool:
        """Return whether the fault is for requests to this endpoint."""
        return self.fault.endpoint in (None, endpoint)

    def is_due(self) -> bool:
        """Return whether the fault applies to the request that was counted last."""
        spent = self.fault.times is not None and self.fired >= self.fault.times
        return not spent and self.met % self.fault.every == 0


class FaultList:
    """The faults in force, in the order in which they were added."""

    def __init__(self) -> None:
        self._faults: list[CountedFault] = []

    def add(self, fault: Fault) -> CountedFault:
        """Put a fault in force, and return it with its counters."""
        counted = CountedFault(fault)
        self._faults.append(counted)
        return counted

    def clear(self) -> None:
        """Lift all faults."""
        self._faults.clear()

    def all(self) -> Sequence[CountedFault]:
        """Return the faults in force, with their counters."""
        return tuple(self._faults)

    def meet(self, endpoint: str) -> Fault | None:
        """Count a request at each fault that matches it; return the first that is due."""
        matching = [counted for counted in self._faults if counted.matches(endpoint)]
        for counted in matching:
            counted.met += 1
        due = next((counted for counted in matching if counted.is_due()), None)
        if due is None:
            return None
        due.fired += 1
        return due.fault
