from __future__ import annotations

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException

from airflow_riffusion.exceptions import RiffusionUnavailable
from airflow_riffusion.hooks import riffusion as hook_module
from airflow_riffusion.operators.capacity import CapacityOperator
from tests.readings import reading


@pytest.fixture
def hook(monkeypatch):
    """Let every hook give the reading that the test puts here."""

    class FakeHook:
        made_with = []
        answer = reading(a=1, b=2)

        def __init__(self, conn_id, **kwargs):
            self.made_with.append((conn_id, kwargs))

        def get_complete_capacity(self):
            if isinstance(self.answer, Exception):
                raise self.answer
            return self.answer

    monkeypatch.setattr(hook_module, "RiffusionHook", FakeHook)
    return FakeHook


def test_the_reading_is_the_return_value(hook):
    result = CapacityOperator(task_id="t", riffusion_conn_id="mine").execute({})

    assert (result["available"], result["best_user_id"]) == (3, "b")
    assert hook.made_with == [("mine", {"retries": 3})]


def test_each_key_is_an_xcom_of_its_own_unless_unwanted():
    assert CapacityOperator(task_id="t").multiple_outputs is True
    assert CapacityOperator(task_id="t", multiple_outputs=False).multiple_outputs is False


def test_the_totals_are_those_of_the_accounts_asked_for(hook):
    assert CapacityOperator(task_id="t", user_ids=["a"]).execute({})["available"] == 1


def test_an_unavailable_service_fails_the_task_so_that_airflow_may_retry_it(hook):
    hook.answer = RiffusionUnavailable("503")

    with pytest.raises(RiffusionUnavailable):
        CapacityOperator(task_id="t").execute({})


@pytest.mark.parametrize("user_ids", ["a", [], [""], 3])
def test_wrong_accounts_are_an_error_when_the_dag_is_parsed(user_ids):
    with pytest.raises(ValueError, match="user_ids must"):
        CapacityOperator(task_id="t", user_ids=user_ids)


def test_templates_are_checked_when_they_are_rendered(hook):
    operator = CapacityOperator(task_id="t", user_ids=["{{ params.account }}"])
    operator.user_ids = [""]

    with pytest.raises(AirflowFailException, match="user_ids must"):
        operator.execute({})
    assert hook.made_with == []


def test_a_connection_that_a_template_rendered_to_nothing_fails_without_a_retry(hook):
    operator = CapacityOperator(task_id="t", riffusion_conn_id="{{ params.conn }}")
    operator.riffusion_conn_id = ""

    with pytest.raises(AirflowFailException, match="riffusion_conn_id must be"):
        operator.execute({})


def test_the_accounts_may_come_from_a_mapped_task(hook, lazy_sequence):
    operator = CapacityOperator(task_id="t", user_ids=lazy_sequence(["a"]))

    assert operator.execute({})["available"] == 1


def test_another_tasks_output_that_cant_be_fetched_is_no_wrong_argument(hook):
    def unreadable():
        yield "a"
        raise ValueError("the bucket is away")

    operator = CapacityOperator(task_id="t", user_ids="{{ accounts }}")
    operator.user_ids = unreadable()

    with pytest.raises(ValueError, match=r"^the bucket is away$") as caught:
        operator.execute({})
    assert not isinstance(caught.value, AirflowFailException)
