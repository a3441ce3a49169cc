"""The references of jobs that readings do not name, at a gate in virtual time."""

from __future__ import annotations

import asyncio

import pytest

from airflow_riffusion.exceptions import (
    RiffusionJobAmbiguous,
    RiffusionRejected,
    RiffusionUnavailable,
)
from airflow_riffusion.gate.gate import CapacityGate
from airflow_riffusion.services import SERVICES
from tests.gates import cancel, watch
from tests.readings import parsed
from tests.virtual_time import run

NOT_FOUND = RiffusionRejected("404 Not Found", status=404)
NO_ANSWER = RiffusionUnavailable("no complete answer within 30 s")


def busy(*job_ids, email="a@x.com", **other_jobs):
    jobs = {email: job_ids, **other_jobs}
    return parsed(
        {
            name: {"running": len(ids), "maxJobs": 9, "jobs": [{"jobid": each} for each in ids]}
            for name, ids in jobs.items()
        },
        "flowmusic",
    )


@pytest.fixture
def service(hook):
    """Return the hook of a service whose readings name no references."""
    hook.settings.service = SERVICES["flowmusic"]
    return hook


def found(service, **wanted):
    """Return the job that is found by its reference."""

    async def scenario():
        return await watch("w", reply_ref="mine", until_seen=True, **wanted)

    return run(scenario())


def test_references_each_job_is_asked_once_until_the_job_is_found(service):
    service.references = {"1": "another", "2": None, "3": "mine"}
    service.next_answers = [busy("1", "2")]
    service.answer = busy("1", "2", "3")

    assert found(service).job_id == "3"
    assert service.asked_references == ["1", "2", "3"]


def test_references_no_job_has_it_is_gone_after_two_readings_that_tell(service):
    service.references = {"1": "another"}
    service.answer = busy("1")

    assert found(service) is None
    assert len(service.asked_at) == 2


def test_references_job_without_an_id_cant_be_asked_is_ambiguous(service):
    service.answer = parsed(
        {"a@x.com": {"running": 1, "maxJobs": 9, "jobs": [{"status": "pending"}]}}, "flowmusic"
    )

    with pytest.raises(RiffusionJobAmbiguous):
        found(service)


def test_references_error_that_nobody_thought_of_spoils_no_reading(service):
    service.answer = busy("1")
    service.references = {"1": ValueError("an endpoint is a path")}

    with pytest.raises(RiffusionJobAmbiguous):
        found(service)


def test_references_service_that_never_answers_is_ambiguous_in_the_end(service):
    service.answer = busy("1")
    service.references = {"1": NO_ANSWER}

    with pytest.raises(RiffusionJobAmbiguous):
        found(service)
    assert len(service.asked_references) == 10


def test_references_retry_after_is_left_alone(service):
    service.answer = busy("1", "2", "3")
    service.references = dict.fromkeys("123", RiffusionUnavailable("429", status=429, retry_after=600))

    async def scenario():
        watching = watch("w", reply_ref="mine", until_seen=True)
        await asyncio.sleep(300)
        await cancel(watching)

    run(scenario())
    assert len(service.asked_references) == 1


def test_references_jobs_on_other_accounts_are_not_asked(service):
    service.answer = busy("1", **{"b@x.com": ("2",)})
    service.references = {"2": "mine"}

    assert found(service, user_ids=frozenset({"b@x.com"})).job_id == "2"
    assert service.asked_references == ["2"]


def test_references_nobody_looks_for_a_job_asks_nothing(service):
    service.answer = busy("1")
    service.next_answers = [busy("1", "mine's")]

    async def scenario():
        return await watch("w", job_ids=("mine's",))

    assert run(scenario()).job_id == "mine's"
    assert service.asked_references == []


def test_references_job_submitted_here_is_not_asked(service):
    service.answer = busy("1", "2")
    service.references = {"2": "another"}

    async def scenario():
        CapacityGate.of("riffusion_test").accepted(None, ["1"], "mine")
        return await watch("w", reply_ref="mine", until_seen=True)

    assert run(scenario()).job_id == "1"
    assert service.asked_references == ["2"]


@pytest.mark.parametrize("error", [NOT_FOUND, LookupError("the answer has no 'request'")])
def test_references_executing_job_does_not_tell_is_ambiguous(service, error):
    service.answer = busy("1")
    service.references = {"1": error}

    with pytest.raises(RiffusionJobAmbiguous, match=r"Job 1 on account a@x\.com may be"):
        found(service)


def test_references_job_that_did_not_tell_has_ended_is_not_ambiguous(service):
    service.next_answers = [busy("1")]
    service.answer = busy()
    service.references = {"1": NOT_FOUND}

    assert found(service) is None


def test_references_service_does_not_answer_is_asked_again(service):
    service.answer = busy("1")
    service.references = {"1": NO_ANSWER}

    async def scenario():
        watching = watch("w", reply_ref="mine", until_seen=True)
        await asyncio.sleep(30)
        assert not watching.done()
        service.references = {"1": "mine"}
        job = await watching
        await cancel(watching)
        return job

    assert run(scenario()).job_id == "1"


def test_references_job_that_always_fails_keeps_no_other_from_being_asked(service):
    service.answer = busy("1", "2")
    service.references = {"1": NO_ANSWER, "2": "mine"}

    assert found(service).job_id == "2"
