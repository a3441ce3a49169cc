from __future__ import annotations

import json

import pytest

from airflow_riffusion.core.capacity import ExecutingJob
from airflow_riffusion.core.note import JobNote
from airflow_riffusion.core.outcome import Accepted, Audio

NOTE = JobNote("ref", submitted_by="x", submissions=2, waited_seconds=3.5, submitted_at=100.0)


def test_note_stored_as_json_is_read_back():
    assert JobNote.parse(json.loads(json.dumps(NOTE.to_json()))) == NOTE


@pytest.mark.parametrize("value", [None, "note", 7, [], {}, {"reply_ref": None}, {"reply_ref": 7}])
def test_note_something_else_was_stored_is_none(value):
    assert JobNote.parse(value) is None


def test_note_of_another_version_leaves_out_what_it_does_not_know():
    assert JobNote.parse({"reply_ref": "ref", "mood": "sad"}) == JobNote("ref")


@pytest.mark.parametrize(
    ("answer", "job_id", "user_id"),
    [(Accepted(("1", "2"), "a"), "1", "a"), (Accepted(), None, "granted")],
)
def test_accept_takes_over_what_the_answer_names(answer, job_id, user_id):
    accepted = JobNote("ref", user_id="granted").accept(answer)

    assert (accepted.accepted, accepted.job_id, accepted.user_id) == (True, job_id, user_id)


def test_adopt_keeps_the_ids_that_are_known():
    note = JobNote("ref", job_ids=("1", "2")).adopt(ExecutingJob(job_id="2", user_id="a"))

    assert (note.accepted, note.is_seen, note.job_ids, note.user_id) == (True, True, ("1", "2"), "a")


@pytest.mark.parametrize(("now", "ran_seconds"), [(120.1234, 20.123), (90.0, 0.0)])
def test_over_tells_how_long_it_ran_also_by_a_clock_that_is_behind(now, ran_seconds):
    assert NOTE.over(ExecutingJob(job_id="1"), now).ran_seconds == ran_seconds


def test_to_xcom_names_the_job_and_its_outcome():
    accepted = NOTE.accept(Accepted(("1",), "a"))

    assert accepted.to_xcom({"status": "completed"}, [Audio("https://example.com/1.mp3", "Polka")]) == {
        "job_id": "1",
        "job_ids": ["1"],
        "user_id": "a",
        "reply_ref": "ref",
        "submissions": 2,
        "waited_seconds": 3.5,
        "ran_seconds": None,
        "audio": [{"url": "https://example.com/1.mp3", "title": "Polka", "duration_seconds": None}],
        "result": {"status": "completed"},
    }


@pytest.mark.parametrize(
    ("note", "title"),
    [
        (JobNote("ref", job_ids=("1",)), "Job 1"),
        (JobNote("ref", job_ids=("1", "2")), "Job 1 and 2"),
        (JobNote("ref"), "The job with replyRef 'ref'"),
    ],
)
def test_title_begins_a_sentence(note, title):
    assert note.title == title
