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


def test_capacity_operator_execute_returns_the_reading(hook):
    result = CapacityOperator(task_id="t", riffusion_conn_id="mine").execute({})

    assert (result["available"], result["best_user_id"]) == (3, "b")
    assert hook.made_with == [("mine", {"retries": 3})]


def test_capacity_operator_multiple_outputs_is_on_by_default():
    assert CapacityOperator(task_id="t").multiple_outputs is True
    assert CapacityOperator(task_id="t", multiple_outputs=False).multiple_outputs is False


def test_capacity_operator_user_ids_limit_the_totals(hook):
    assert CapacityOperator(task_id="t", user_ids=["a"]).execute({})["available"] == 1


def test_capacity_operator_unavailable_service_fails_the_task(hook):
    hook.answer = RiffusionUnavailable("503")

    with pytest.raises(RiffusionUnavailable):
        CapacityOperator(task_id="t").execute({})


@pytest.mark.parametrize("user_ids", ["a", [], [""], 3])
def test_capacity_operator_wrong_user_ids_are_an_error(user_ids):
    with pytest.raises(ValueError, match="user_ids must"):
        CapacityOperator(task_id="t", user_ids=user_ids)


def test_capacity_operator_user_ids_rendered_wrong_fail_before_any_request(hook):
    operator = CapacityOperator(task_id="t", user_ids=["{{ params.account }}"])
    operator.user_ids = [""]

    with pytest.raises(AirflowFailException, match="user_ids must"):
        operator.execute({})
    assert hook.made_with == []


def test_capacity_operator_conn_id_rendered_to_nothing_fails_without_retry(hook):
    operator = CapacityOperator(task_id="t", riffusion_conn_id="{{ params.conn }}")
    operator.riffusion_conn_id = ""

    with pytest.raises(AirflowFailException, match="riffusion_conn_id must be"):
        operator.execute({})


def test_capacity_operator_user_ids_of_a_mapped_task_count(hook, lazy_sequence):
    operator = CapacityOperator(task_id="t", user_ids=lazy_sequence(["a"]))

    assert operator.execute({})["available"] == 1


def test_capacity_operator_output_that_can_not_be_fetched_is_no_argument_error(hook):
    def unreadable():
        yield "a"
        raise ValueError("the bucket is away")

    operator = CapacityOperator(task_id="t", user_ids="{{ accounts }}")
    operator.user_ids = unreadable()

    with pytest.raises(ValueError, match=r"^the bucket is away$") as caught:
        operator.execute({})
    assert not isinstance(caught.value, AirflowFailException)
