from __future__ import annotations

import contextlib
import json
from typing import Any
from urllib.parse import urlsplit

from hypothesis import given
from hypothesis import strategies as st

from airflow_riffusion.core.capacity import Capacity, CapacityFormatError
from airflow_riffusion.services import SERVICES
from tests.readings import NOON, parsed

SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(-3, 12),
    st.floats(),
    st.text(),
    st.integers(-3, 12).map(str),
    st.sampled_from(
        ["a", "b", "MM:SS", "00:10", "2025-02-12T01:55:16.128Z", "https://u:p@x.example/?q", "\ud800"]
    ),
)
ANY_JSON = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4)
)
NAMES = ["user_id", "email", "maxJobs", "executing", "available", "job_id", "id", "jobId", "started"]
ENTRIES = st.lists(
    st.one_of(
        ANY_JSON, st.dictionaries(st.sampled_from([*NAMES, "elapsed", "replyUrl", "replyRef"]), SCALARS)
    ),
    max_size=6,
)
NEARLY_ANSWERS = st.fixed_dictionaries({}, optional={"executing": ENTRIES, "available": ENTRIES})


def parse(payload: Any) -> Capacity | None:
    with contextlib.suppress(CapacityFormatError):
        return parsed(payload)
    return None


def most_that_is_supported(payload: Any) -> int:
    """Add up, for every account entry, the largest number that any reading of its own numbers allows."""

    def number(value: Any) -> int | None:
        try:
            return max(0, int(float(value))) if not isinstance(value, bool) else None
        except (TypeError, ValueError, OverflowError):
            return None

    entries = payload.get("available") if isinstance(payload, dict) else None
    most = 0
    for entry in entries if isinstance(entries, list) else []:
        if isinstance(entry, dict):
            max_jobs, executing = number(entry.get("maxJobs")), number(entry.get("executing"))
            stated = number(entry.get("available"))
            bounds = [bound for bound in (stated, max_jobs) if bound is not None]
            if max_jobs is not None and executing is not None:
                bounds.append(max(0, max_jobs - executing))
            most += min(bounds, default=0)
    return most


@given(ANY_JSON)
def test_capacity_any_json_value_is_read_or_is_a_format_error(payload):
    parse(payload)


@given(NEARLY_ANSWERS)
def test_capacity_any_answer_has_no_more_free_slots_than_its_numbers_support(payload):
    capacity = parse(payload)
    if capacity is not None:
        assert 0 <= capacity.available <= most_that_is_supported(payload)


@given(NEARLY_ANSWERS)
def test_capacity_any_reading_becomes_plain_json_and_text(payload):
    capacity = parse(payload)
    if capacity is not None:
        json.dumps(capacity.to_xcom(), allow_nan=False).encode()
        str(capacity).encode()
        " ".join(capacity.warnings).encode()


@given(st.binary() | ANY_JSON.map(lambda value: json.dumps(value).encode()))
def test_capacity_any_body_is_read_or_is_a_format_error(body):
    with contextlib.suppress(CapacityFormatError):
        SERVICES["riffusion"].read_capacity(body, observed_at=NOON)


@given(st.builds("{}://{}@{}/{}?{}#{}".format, st.sampled_from(["http", "https"]), *[st.text()] * 5))
def test_job_any_callback_address_is_kept_without_secrets(address):
    capacity = parse({"executing": [{"replyUrl": address}]})
    assert capacity is not None
    kept = urlsplit(capacity.jobs[0].reply_url or "")
    assert (kept.username, kept.password, kept.query, kept.fragment) == (None, None, "", "")
