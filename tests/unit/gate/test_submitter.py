"""One job from its place in the queue until it is accepted, at a gate in virtual time."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import pytest

from airflow_riffusion import clock
from airflow_riffusion.core.note import JobNote
from airflow_riffusion.core.request import SlotRequest
from airflow_riffusion.core.submission import Submission
from airflow_riffusion.exceptions import (
    RiffusionBadResponse,
    RiffusionJobAmbiguous,
    RiffusionJobFailed,
    RiffusionRejected,
    RiffusionUnavailable,
)
from airflow_riffusion.gate import submitter as module
from airflow_riffusion.gate.gate import CapacityGate
from airflow_riffusion.gate.source import ReadingSource
from airflow_riffusion.gate.submitter import Submitter
from airflow_riffusion.services import SERVICES
from airflow_riffusion.xcoms import JOB_KEY, JobNotes
from tests.gates import cancel, our_tasks, wait
from tests.readings import job, parsed, reading
from tests.virtual_time import run
from tests.xcoms import MemoryXComs

FULL = reading(a=(0, 1))
FREE = reading(a=(1, 1))
RUNNING = reading(job("1", "a", "ref"), a=(0, 1))
ACCEPTED = {"job_id": "1", "user_id": "a"}
NO_SLOT_FREE = RiffusionUnavailable("429 Too Many Requests", status=429, retry_after=42)
NO_ANSWER = RiffusionUnavailable("no complete answer within 30 s")
SERVER_ERROR = RiffusionUnavailable("500 Internal Server Error (moderated)", status=500)
NOT_JSON = RiffusionBadResponse("not JSON")
TASK = SimpleNamespace(dag_id="d", task_id="t", run_id="r", map_index=3)
OF_ANOTHER = JobNote("ref", submitted_by="another", submissions=1, submitted_at=1.0)


@pytest.fixture(autouse=True)
def virtual_clock(monkeypatch):
    """Let the wall clock and the monotonic clock be that of the event loop."""
    for name in ("epoch", "monotonic"):
        monkeypatch.setattr(clock, name, lambda: asyncio.get_running_loop().time())


@pytest.fixture
def xcoms(monkeypatch):
    return MemoryXComs(monkeypatch)


@pytest.fixture
def service(hook, xcoms):
    """Return the hook of a service that accepts a submission and executes its job until it is over."""
    hook.answer = FREE
    hook.submission_answers = [ACCEPTED]
    return hook


def new(*, hold=120.0, endpoint="music/create-prompt", ref="ref", user_ids=None, **arguments):
    return Submitter(
        CapacityGate.of("riffusion_test"),
        JobNotes(TASK),
        Submission(endpoint, {"prompt": "polka"}),
        SlotRequest(since=1000.0, reply_ref=ref, hold=hold, user_ids=user_ids),
        poke_interval=10,
        **arguments,
    )


def submitted(service, **arguments):
    """Return a job that was submitted, with the time that it took and the slots that are held in the end."""

    async def scenario():
        submitter = new(**arguments)
        began = asyncio.get_running_loop().time()
        try:
            await submitter.submit()
        finally:
            outcome.took = asyncio.get_running_loop().time() - began
            outcome.held = CapacityGate.of("riffusion_test")._ledger.held
        outcome.note = submitter.note
        return outcome

    outcome = SimpleNamespace()
    service.outcome = outcome
    return run(scenario())


def posts(service):
    return [body for method, _, body in service.sent if method == "POST"]


class TestSubmit:
    def test_submit_a_slot_is_free_sends_its_account_and_the_reference(self, service):
        outcome = submitted(service)

        assert posts(service) == [{"prompt": "polka", "user_id": "a", "replyRef": "ref"}]
        assert (outcome.note.job_id, outcome.note.user_id, outcome.note.submissions) == ("1", "a", 1)
        assert outcome.held == 1

    def test_submit_no_slot_is_free_waits_for_one(self, service):
        service.next_answers = [FULL]

        assert 11 <= submitted(service).took <= 12.1

    def test_submit_answer_without_id_and_account_counts_as_accepted(self, service):
        service.submission_answers = [{}]

        note = submitted(service).note

        assert (note.accepted, note.job_id, note.user_id) == (True, None, "a")

    def test_submit_refused_for_capacity_waits_as_long_as_asked_and_keeps_its_place(self, service):
        service.submission_answers = [NO_SLOT_FREE, ACCEPTED]

        outcome = submitted(service)

        assert outcome.note.submissions == 2
        assert outcome.took >= 42
        assert len(service.asked_at) == 2  # it was not looked for

    def test_submit_refused_for_capacity_gives_the_slot_back_at_once(self, service):
        service.submission_answers = [NO_SLOT_FREE, ACCEPTED]

        async def scenario():
            refused = asyncio.create_task(new().submit())
            await asyncio.sleep(5)
            other = await asyncio.wait_for(wait("other"), 15)
            await cancel(refused)
            return other.grant_id

        assert run(scenario()) == "other"

    def test_submit_connection_cant_be_looked_up_sends_nothing_and_keeps_its_place(
        self, service, monkeypatch
    ):
        look_up = CapacityGate.settings
        answers = ["it is there", RiffusionUnavailable("The connection can't be looked up.")]

        async def settings(gate):
            if answers and isinstance(answer := answers.pop(0), Exception):
                raise answer
            return await look_up(gate)

        monkeypatch.setattr(CapacityGate, "settings", settings)

        assert submitted(service).note.submissions == 1
        assert len(service.asked_at) == 2  # it was not looked for

    @pytest.mark.parametrize("error", [NO_ANSWER, SERVER_ERROR, NOT_JSON])
    def test_submit_answer_is_unclear_and_a_reading_shows_the_job_submits_no_other(self, service, error):
        service.submission_answers = [error]
        service.next_answers = [FREE, FULL, RUNNING]

        note = submitted(service).note

        assert (note.accepted, note.job_id, note.submissions) == (True, "1", 1)

    def test_submit_answer_is_unclear_holds_the_slot_until_two_readings_miss_the_job(self, service):
        service.submission_answers = [NO_ANSWER, ACCEPTED]
        held = []

        def note_held():
            held.append(CapacityGate.of("riffusion_test")._ledger.held)
            return FREE

        service.answer = note_held

        outcome = submitted(service)

        assert outcome.note.submissions == 2
        assert held[:3] == [0, 1, 1]

    def test_submit_job_is_listed_only_while_it_waits_again_adopts_it(self, service):
        service.submission_answers = [NO_ANSWER]
        service.next_answers = [FREE, FULL, FULL, FULL, FULL, FULL]
        service.answer = RUNNING

        outcome = submitted(service)

        assert (outcome.note.job_id, len(posts(service))) == ("1", 1)

    def test_submit_job_is_listed_in_the_reading_of_the_next_grant_adopts_it(self, service):
        service.submission_answers = [NO_ANSWER]
        service.next_answers = [FREE, FULL, FULL]
        service.answer = reading(job("1", "a", "ref"), a=(1, 2))

        outcome = submitted(service)

        assert (outcome.note.job_id, len(posts(service)), outcome.held) == ("1", 1, 0)

    def test_submit_three_answers_without_json_are_rejected_with_the_last_one(self, service):
        service.submission_answers = [NOT_JSON]

        with pytest.raises(RiffusionRejected, match=r"3 submissions in a row failed.*not JSON"):
            submitted(service)
        assert (len(posts(service)), service.outcome.held) == (3, 0)

    def test_submit_three_server_errors_fail_with_what_the_service_says(self, service):
        service.submission_answers = [SERVER_ERROR]

        with pytest.raises(RiffusionUnavailable, match=r"3 submissions in a row failed.*moderated"):
            submitted(service)
        assert (len(posts(service)), service.outcome.held) == (3, 0)

    def test_submit_server_errors_not_in_a_row_go_on(self, service):
        unavailable = RiffusionUnavailable("503 Service Unavailable", status=503)
        service.submission_answers = [SERVER_ERROR, SERVER_ERROR, unavailable, SERVER_ERROR, ACCEPTED]

        assert submitted(service).note.submissions == 5

    @pytest.mark.parametrize(
        ("answer", "said"),
        [
            (RiffusionRejected("402 Payment Required: no credits", status=402), "no credits"),
            ({"error": "no such model"}, "made no job.*no such model"),
            ({"error": {"code": 7, "message": "no such model"}}, "made no job.*: no such model"),
            ({"is_flagged": True, "reason": "violence"}, "moderated: violence"),
        ],
    )
    def test_submit_is_rejected_gives_the_slot_back(self, service, answer, said):
        service.submission_answers = [answer]

        with pytest.raises(RiffusionRejected, match=said):
            submitted(service)
        assert (len(posts(service)), service.outcome.held) == (1, 0)


class TestNotes:
    def test_submit_notes_the_claim_before_and_the_job_after(self, service, xcoms):
        submitted(service)

        (_, before), (_, after) = xcoms.written
        assert (before["accepted"], before["submitted_by"] is None) == (False, False)
        assert (after["accepted"], after["job_ids"], after["user_id"]) == (True, ["1"], "a")
        assert before["submitted_by"] == after["submitted_by"]

    def test_submit_noted_as_accepted_submits_nothing(self, service, xcoms):
        xcoms[JOB_KEY] = OF_ANOTHER.to_json() | {"accepted": True, "job_ids": ["7"]}

        assert submitted(service).note.job_id == "7"
        assert (posts(service), service.asked_at) == ([], [])

    def test_submit_left_by_an_earlier_try_submits_nothing_and_notes_it(self, service, xcoms):
        noted = JobNote("ref", submitted_by="another", accepted=True, job_ids=("7",))

        assert submitted(service, noted=noted).note.job_id == "7"
        assert (posts(service), xcoms[JOB_KEY]["job_ids"]) == ([], ["7"])

    @pytest.mark.parametrize("of_earlier_try", [True, False])
    def test_submit_job_was_adopted_before_submits_nothing_when_it_is_over(
        self, service, xcoms, of_earlier_try
    ):
        service.answer = RUNNING
        adopted = submitted(service, in_doubt=True).note
        service.answer = FREE
        if of_earlier_try:
            xcoms.clear()

        note = submitted(service, noted=adopted if of_earlier_try else None).note

        assert (note.job_id, posts(service)) == ("1", [])

    def test_submit_noted_as_on_its_way_and_executing_adopts_the_job(self, service, xcoms):
        xcoms[JOB_KEY] = OF_ANOTHER.to_json()
        service.answer = RUNNING

        assert submitted(service).note.job_id == "1"
        assert (posts(service), xcoms[JOB_KEY]["accepted"]) == ([], True)

    @pytest.mark.parametrize("is_noted", [True, False])
    def test_submit_in_doubt_and_not_executing_submits_after_two_readings(self, service, xcoms, is_noted):
        if is_noted:
            xcoms[JOB_KEY] = OF_ANOTHER.to_json()

        outcome = submitted(service, in_doubt=not is_noted)

        assert (outcome.note.submissions, outcome.note.job_id) == (2 if is_noted else 1, "1")
        assert len(service.asked_at) == 2

    def test_submit_another_triggerer_claims_at_the_same_time_adopts_its_job(
        self, service, xcoms, monkeypatch
    ):
        write = JobNotes.write

        async def write_first(notes, note):
            monkeypatch.setattr(JobNotes, "write", write)
            await write(notes, note)
            xcoms[JOB_KEY] = OF_ANOTHER.to_json()
            service.answer = RUNNING

        monkeypatch.setattr(JobNotes, "write", write_first)

        outcome = submitted(service)

        assert (posts(service), outcome.note.job_id, outcome.held) == ([], "1", 0)

    @pytest.mark.parametrize(
        "made",
        [OF_ANOTHER.to_json() | {"accepted": True, "job_ids": ["7"]}, None],
        ids=["noted", "forgotten"],
    )
    def test_submit_stalled_while_another_triggerer_made_the_job_submits_nothing(
        self, service, xcoms, monkeypatch, made
    ):
        async def is_deferred(ti):
            return made is not None  # the task has ended, or is the other's

        monkeypatch.setattr("airflow_riffusion.xcoms.is_deferred", is_deferred)
        service.answer = FULL

        async def scenario():
            submitter = new()
            waiting = asyncio.create_task(submitter.submit())
            await asyncio.sleep(30)
            service.answer = FREE
            if made is not None:
                xcoms[JOB_KEY] = made
            asyncio.get_running_loop().now += 60
            await asyncio.wait([waiting], timeout=40)
            await cancel(waiting)
            return submitter.note.job_id

        assert run(scenario()) == ("7" if made else None)
        assert posts(service) == []

    def test_submit_stalled_after_the_claim_looks_for_the_job_first(self, service, monkeypatch):
        claim = JobNotes.claim

        async def stall(notes, note, **options):
            monkeypatch.setattr(JobNotes, "claim", claim)
            claimed = await claim(notes, note, **options)
            await asyncio.sleep(60)
            service.answer = RUNNING
            return claimed

        monkeypatch.setattr(JobNotes, "claim", stall)

        assert submitted(service).note.job_id == "1"
        assert posts(service) == []

    def test_submit_job_cant_be_noted_goes_on_with_it(self, service, xcoms, caplog):
        def accept():
            xcoms.error = OSError("no database")
            return ACCEPTED

        run_hook = service.run
        service.run = lambda *arguments: (accept(), run_hook(*arguments))[1]

        assert submitted(service).note.job_id == "1"
        assert "Job 1 can't be noted for a restart" in caplog.text

    @pytest.mark.parametrize("asked", ["read", "claim"])
    def test_submit_airflow_does_not_answer_for_a_while_asks_again(self, service, monkeypatch, asked):
        answers = getattr(JobNotes, asked)
        errors = [OSError("no database")] * 3

        async def fail(*arguments, **options):
            if errors:
                raise errors.pop()
            return await answers(*arguments, **options)

        monkeypatch.setattr(JobNotes, asked, fail)

        assert submitted(service).note.job_id == "1"
        assert len(posts(service)) == 1

    def test_submit_airflow_never_answers_fails_before_anything_is_submitted(self, service, xcoms):
        xcoms.error = OSError("no database")

        with pytest.raises(OSError, match="no database"):
            submitted(service)
        assert posts(service) == []

    def test_submit_without_a_task_notes_nothing(self, service):
        async def scenario():
            submitter = Submitter(
                CapacityGate.of("riffusion_test"),
                JobNotes(None),
                Submission("music", {}),
                SlotRequest(reply_ref="ref"),
                poke_interval=10,
            )
            await submitter.submit()
            return submitter.note.job_id

        assert run(scenario()) == "1"


class TestCancellation:
    def test_submit_cancelled_while_it_waits_leaves_nothing_behind(self, service):
        service.answer = FULL

        async def scenario():
            waiting = asyncio.create_task(new(in_doubt=True).submit())
            await asyncio.sleep(60)
            await cancel(waiting)
            return our_tasks(), CapacityGate.of("riffusion_test").needs_readings()

        assert run(scenario()) == ([], False)

    def test_submit_cancelled_while_it_sends_still_notes_the_job(self, service, xcoms, monkeypatch):
        slow_service(monkeypatch)

        async def scenario():
            sending = asyncio.create_task(new().submit())
            await asyncio.sleep(5)
            await cancel(sending)
            await asyncio.sleep(10)

        run(scenario())
        assert xcoms[JOB_KEY]["job_ids"] == ["1"]

    def test_stop_while_it_sends_waits_for_the_answer_and_stops_the_job(self, service, monkeypatch):
        slow_service(monkeypatch)

        async def scenario():
            submitter = new()
            sending = asyncio.create_task(submitter.submit())
            await asyncio.sleep(5)
            await cancel(sending)
            await submitter.stop()
            return CapacityGate.of("riffusion_test").needs_readings()

        assert (run(scenario()), service.stopped) == (False, [("1", None)])

    def test_stop_while_the_answer_takes_too_long_stops_the_job_when_it_comes(self, service, monkeypatch):
        slow_service(monkeypatch, seconds=40)

        async def scenario():
            submitter = new()
            sending = asyncio.create_task(submitter.submit())
            await asyncio.sleep(5)
            await cancel(sending)
            await submitter.stop()
            stopped_at_once = list(service.stopped)
            await asyncio.sleep(60)
            return stopped_at_once

        assert (run(scenario()), service.stopped) == ([], [("1", None)])

    def test_stop_deletes_the_note_of_the_job(self, service, xcoms):
        async def scenario():
            submitter = new()
            await submitter.submit()
            await submitter.stop()

        run(scenario())
        assert JOB_KEY not in xcoms

    def test_stop_leaves_the_note_of_another_trigger(self, service, xcoms):
        async def scenario():
            submitter = new()
            await submitter.submit()
            xcoms[JOB_KEY] = OF_ANOTHER.to_json()
            await submitter.stop()

        run(scenario())
        assert xcoms[JOB_KEY] == OF_ANOTHER.to_json()

    def test_stop_a_job_that_executes_stops_it_and_frees_its_slot(self, service):
        async def scenario():
            submitter = new()
            await submitter.submit()
            await submitter.stop()
            return CapacityGate.of("riffusion_test").needs_readings()

        assert (run(scenario()), service.stopped) == (False, [("1", None)])

    def test_stop_while_it_waits_asks_the_service_nothing(self, service):
        run(submitter_that_is_stopped(in_doubt=False, answers=FULL, service=service))

        assert service.stopped == []

    @pytest.mark.parametrize(("answer", "stopped"), [(FULL, []), (RUNNING, [(None, "ref")])])
    def test_stop_in_doubt_after_two_readings_stops_only_what_a_later_one_shows(
        self, service, answer, stopped
    ):
        async def scenario():
            submitter = new(in_doubt=True)
            service.answer = FULL
            waiting = asyncio.create_task(submitter.submit())
            await asyncio.sleep(60)
            await cancel(waiting)
            service.answer = answer
            await wait_for_a_reading()
            await submitter.stop()

        run(scenario())
        assert service.stopped == stopped

    def test_stop_in_doubt_before_any_reading_stops_by_the_reference(self, service):
        async def scenario():
            await new(in_doubt=True).stop()

        run(scenario())
        assert service.stopped == [(None, "ref")]


def slow_service(monkeypatch, seconds=10):
    """Let the answer to each submission take some time."""

    async def call(source, function, *, threads=None, until_due=None):
        answer = function(source._hook)
        await asyncio.sleep(seconds if threads else 0)
        return answer

    monkeypatch.setattr(ReadingSource, "call", call)
    monkeypatch.setattr(module, "_CLAIM_LIFETIME", 60.0)


async def submitter_that_is_stopped(*, in_doubt, answers, service):
    service.answer = answers
    submitter = new(in_doubt=in_doubt)
    waiting = asyncio.create_task(submitter.submit())
    await asyncio.sleep(60)
    await cancel(waiting)
    await submitter.stop()


async def wait_for_a_reading():
    waiting = wait("reader")
    await asyncio.sleep(15)
    await cancel(waiting)


class TestOtherServices:
    """What differs from service to service."""

    @pytest.fixture
    def flowmusic(self, service):
        service.settings.service = SERVICES["flowmusic"]
        service.submission_answers = [{"jobid": "1", "status": "pending"}]
        service.answer = self.busy()
        return service

    def busy(self, *job_ids):
        """Return a reading of one account with 2 slots."""
        jobs = [{"jobid": each, "created_at": "2026-11-26T10:00:00Z"} for each in job_ids]
        return parsed({"a": {"running": len(jobs), "maxJobs": 2, "jobs": jobs}}, "flowmusic")

    def sent(self, service):
        return [(endpoint, body) for method, endpoint, body in service.sent if method == "POST"]

    def test_submit_without_an_endpoint_uses_the_services_and_what_it_needs(self, flowmusic):
        submitted(flowmusic, endpoint=None)

        assert self.sent(flowmusic) == [
            ("music", {"mode": "async", "prompt": "polka", "email": "a", "replyRef": "ref"})
        ]

    def test_submit_service_without_an_endpoint_is_rejected_before_the_wait(self, service):
        service.settings.service = SERVICES["kling"]

        with pytest.raises(RiffusionRejected, match="set endpoint"):
            submitted(service, endpoint=None)
        assert service.asked_at == []

    def test_submit_accepted_job_settles_its_hold_by_its_id(self, flowmusic):
        flowmusic.next_answers = [self.busy()]
        flowmusic.answer = self.busy("1")

        async def scenario():
            await new().submit()
            await asyncio.sleep(30)
            return CapacityGate.of("riffusion_test")._ledger.held

        assert run(scenario()) == 0
        assert flowmusic.asked_references == []

    def test_submit_lost_answer_finds_the_job_by_asking_jobs_on_its_account(self, flowmusic):
        flowmusic.submission_answers = [NO_ANSWER]
        flowmusic.next_answers = [self.busy()]
        flowmusic.answer = self.busy("7", "8")
        flowmusic.references = {"7": "another", "8": "ref"}

        note = submitted(flowmusic).note

        assert (note.job_id, note.submissions, len(posts(flowmusic))) == ("8", 1, 1)
        assert flowmusic.asked_references == ["7", "8"]

    def test_submit_lost_answer_and_no_job_of_it_submits_again(self, flowmusic):
        flowmusic.submission_answers = [NO_ANSWER, {"jobid": "1"}]
        flowmusic.next_answers = [self.busy()]
        flowmusic.answer = self.busy("7")
        flowmusic.references = {"7": "another"}

        assert submitted(flowmusic).note.submissions == 2

    def test_submit_lost_answer_and_a_job_that_does_not_tell_fails(self, flowmusic):
        flowmusic.submission_answers = [NO_ANSWER]
        flowmusic.answer = self.busy("7")
        flowmusic.references = {"7": LookupError("no request")}

        with pytest.raises(RiffusionJobAmbiguous, match=r"Job 7 on account a .* resubmit_in_doubt=True"):
            submitted(flowmusic)
        assert len(posts(flowmusic)) == 1

    def test_submit_job_that_does_not_tell_is_risked_if_wanted(self, flowmusic):
        flowmusic.submission_answers = [NO_ANSWER, {"jobid": "1"}]
        flowmusic.answer = self.busy("7")
        flowmusic.references = {"7": LookupError("no request")}

        assert submitted(flowmusic, resubmit_in_doubt=True).note.submissions == 2

    def test_submit_two_jobs_of_one_answer_are_both_noted_and_stopped(self, service):
        service.settings.service = SERVICES["tempolor"]
        service.submission_answers = [{"jobs": ["1", "2"]}]

        async def scenario():
            submitter = new()
            await submitter.submit()
            await submitter.stop()
            return submitter.note.job_ids

        assert run(scenario()) == ("1", "2")
        assert service.stopped == [("1", None), ("2", None)]

    def test_submit_service_wants_a_pause_between_submissions(self, service):
        service.settings.service = SERVICES["mureka"]
        service.answer = reading(a=(5, 5))
        service.submission_answers = [{"jobid": "1"}]

        async def scenario():
            began = asyncio.get_running_loop().time()
            await asyncio.gather(*(new(ref=f"ref {number}").submit() for number in range(4)))
            return asyncio.get_running_loop().time() - began

        pauses = 3 * SERVICES["mureka"].submission_interval
        assert 9 <= pauses <= run(scenario()) <= pauses + 3

    def test_submit_answer_that_waited_for_the_song_is_over_at_once(self, service):
        service.settings.service = SERVICES["acemusic"]
        service.submission_answers = [{"jobid": "1", "status": "completed", "songs": []}]

        assert submitted(service).note.ran_seconds is not None

    def test_stop_service_cant_stop_it_says_that_it_goes_on(self, service, monkeypatch, caplog):
        def cancel_job(job_id=None, reply_ref=None):
            raise RiffusionRejected("405 Method Not Allowed")

        async def scenario():
            submitter = new()
            await submitter.submit()
            monkeypatch.setattr(service, "cancel_job", cancel_job)
            await submitter.stop()

        run(scenario())
        assert "Job 1 can't be stopped, and goes on. 405 Method Not Allowed" in caplog.text

    def test_submit_answer_that_came_with_the_song_frees_its_slot_and_is_the_result(self, service):
        service.settings.service = SERVICES["acemusic"]
        service.submission_answers = [{"songs": [{"audioUrl": "https://example.com/1"}]}]

        async def scenario():
            submitter = new()
            await submitter.submit()
            return submitter.result, CapacityGate.of("riffusion_test")._ledger.held

        result, held = run(scenario())
        assert [audio["url"] for audio in result["audio"]] == ["https://example.com/1"]
        assert held == 0

    def test_submit_answer_that_came_with_a_failure_fails(self, service):
        service.settings.service = SERVICES["acemusic"]
        service.submission_answers = [{"jobid": "1", "status": "failed", "error": "too loud"}]

        with pytest.raises(RiffusionJobFailed, match="too loud"):
            submitted(service)

    def test_submit_lost_answer_of_two_jobs_adopts_both(self, service):
        service.settings.service = SERVICES["tempolor"]
        service.submission_answers = [NO_ANSWER]
        service.next_answers = [FREE]
        service.answer = reading(job("1", "a", "ref"), job("2", "a", "ref"), a=(0, 2))

        assert submitted(service).note.job_ids == ("1", "2")

    def test_submit_turn_comes_after_the_hold_waits_for_another_slot(self, service, caplog):
        service.settings.service = SERVICES["mureka"]
        service.answer = reading(a=(9, 9))
        service.submission_answers = [{"jobid": "1"}]

        async def scenario():
            often = wait("lets the gate read every second", slots=99, poke_interval=1)
            songs = [asyncio.create_task(new(hold=3, ref=f"ref {number}").submit()) for number in range(4)]
            await asyncio.wait(songs, timeout=20)
            await cancel(often, *songs)

        run(scenario())
        assert caplog.text.count("The slot is not held any more") == 1  # The last turn comes after 3.5 s.
        assert len(posts(service)) == 3


class TestLoggedOutAccounts:
    """An account of several whose login has expired since the last reading."""

    LOGGED_OUT = RiffusionRejected("596 Account Logged Out", status=596)

    def test_submit_account_is_logged_out_waits_for_another(self, service):
        service.submission_answers = [self.LOGGED_OUT, ACCEPTED]

        assert submitted(service).note.submissions == 2
        assert service.doubted == 1

    def test_submit_only_account_is_logged_out_is_rejected(self, service):
        service.submission_answers = [self.LOGGED_OUT]

        with pytest.raises(RiffusionRejected, match="596"):
            submitted(service, user_ids=frozenset({"a"}))

    def test_submit_accounts_stay_logged_out_waits_until_one_is_well(self, service):
        service.submission_answers = [*[self.LOGGED_OUT] * 5, ACCEPTED]

        assert submitted(service).note.submissions == 6


class TestReadingsDuringTheSubmission:
    """A submission whose answer takes long, and is lost."""

    def test_expecting_two_with_one_reference_by_mistake_is_no_error(self, service):
        async def scenario():
            gate = CapacityGate.of("riffusion_test")
            with gate.submissions.expecting("album") as seen:
                with gate.submissions.expecting("album"):
                    pass
                return seen()

        assert run(scenario()) is None

    def test_submit_job_that_was_over_before_its_answer_is_made_once(self, service):
        def reading_comes(_):
            CapacityGate.of("riffusion_test")._take_in(RUNNING, guess=False)

        service.submission_answers = [NO_ANSWER]
        service.on_post = reading_comes

        note = submitted(service).note
        assert (note.job_id, note.submissions, note.is_seen) == ("1", 1, True)

    def test_submit_another_tasks_reading_shows_the_job_during_retry_after_is_made_once(self, service):
        service.submission_answers = [RiffusionUnavailable("503", status=503, retry_after=120)]
        service.next_answers = [FREE, RUNNING]
        service.answer = FREE

        async def scenario():
            submitter = new()
            submitting = asyncio.create_task(submitter.submit())
            await asyncio.sleep(5)
            other = wait("keeps the gate polling", slots=9)
            await submitting
            await cancel(other)
            return submitter.note

        note = run(scenario())
        assert (note.job_id, note.submissions) == ("1", 1)


def test_submit_connection_is_wrong_after_a_restart_keeps_the_accepted_job(service, xcoms, monkeypatch):
    async def settings(gate):
        raise RiffusionRejected("the connection does not exist")

    monkeypatch.setattr(CapacityGate, "settings", settings)
    xcoms[JOB_KEY] = OF_ANOTHER.to_json() | {"accepted": True, "job_ids": ["7"]}

    assert submitted(service).note.job_ids == ("7",)


class TestConnectionThatChanges:
    def test_submit_refusal_after_a_new_token_is_not_sent_again(self, service):
        service.tokens = ["old", "old", "new"]  # the last is found after a rejection
        service.submission_answers = [{"error": "moderated"}]

        with pytest.raises(RiffusionRejected, match="Riffusion made no job of the submission: moderated"):
            submitted(service)

        assert len(posts(service)) == 1

    def test_submit_answer_is_read_by_the_service_that_was_asked(self, service):
        async def look_up():
            return SimpleNamespace(token="token", service=SERVICES["riffusion"])

        service.aload = look_up
        service.settings = SimpleNamespace(separate_triggerers=False, service=SERVICES["tempolor"])
        service.submission_answers = [{"jobs": ["user:1-tempolor:a-job:x"]}]

        assert submitted(service).note.job_ids == ("user:1-tempolor:a-job:x",)
