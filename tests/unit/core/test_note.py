from __future__ import annotations

import json

import pytest

from airflow_riffusion.core.capacity import ExecutingJob
from airflow_riffusion.core.note import JobNote

NOTE = JobNote("ref", submitted_by="x", submissions=2, waited_seconds=3.5, submitted_at=100.0)


def job(**fields):
    return ExecutingJob.parse(fields)


def test_note_stored_as_json_is_read_back():
    assert JobNote.parse(json.loads(json.dumps(NOTE.to_json()))) == NOTE


@pytest.mark.parametrize("value", [None, "note", 7, [], {}, {"reply_ref": None}, {"reply_ref": 7}])
def test_note_something_else_was_stored_is_none(value):
    assert JobNote.parse(value) is None


def test_note_of_another_version_leaves_out_what_it_does_not_know():
    assert JobNote.parse({"reply_ref": "ref", "mood": "sad"}) == JobNote("ref")


@pytest.mark.parametrize(
    ("answer", "job_id", "user_id"),
    [
        ({"job_id": "1", "user_id": "a"}, "1", "a"),
        ({"id": 7, "email": "a@b.c"}, "7", "a@b.c"),
        ({}, None, "granted"),
    ],
)
def test_accept_takes_over_what_the_answer_names(answer, job_id, user_id):
    accepted = JobNote("ref", user_id="granted").accept(job(**answer))

    assert (accepted.accepted, accepted.job_id, accepted.user_id) == (True, job_id, user_id)


@pytest.mark.parametrize(("now", "ran_seconds"), [(120.1234, 20.123), (90.0, 0.0)])
def test_over_tells_how_long_it_ran_also_by_a_clock_that_is_behind(now, ran_seconds):
    assert NOTE.over(job(job_id="1"), now).ran_seconds == ran_seconds


def test_to_xcom_names_the_job_and_its_outcome():
    assert NOTE.accept(job(job_id="1", user_id="a")).to_xcom({"status": "completed"}) == {
        "job_id": "1",
        "user_id": "a",
        "reply_ref": "ref",
        "submissions": 2,
        "waited_seconds": 3.5,
        "ran_seconds": None,
        "result": {"status": "completed"},
    }


@pytest.mark.parametrize(
    ("note", "title"),
    [(JobNote("ref", job_id="1"), "Job 1"), (JobNote("ref"), "The job with replyRef 'ref'")],
)
def test_title_begins_a_sentence(note, title):
    assert note.title == title
