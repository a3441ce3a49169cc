"""The arguments of a task that its operator is mapped over, when it starts in the triggerer."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from airflow.providers.common.compat.sdk import DAG

from airflow_riffusion.compat import HAS_ZERO_WORKER_MODE
from airflow_riffusion.operators.submit import RiffusionSubmitOperator
from airflow_riffusion.triggers import base as module
from airflow_riffusion.triggers.submission import SubmissionTrigger
from tests.versions import needs_zero_worker_mode
from tests.virtual_time import run

pytestmark = needs_zero_worker_mode

if HAS_ZERO_WORKER_MODE:
    from airflow.sdk import task
    from airflow.serialization.serialized_objects import DagSerialization

CONTEXT = {"mood": "sad", "account": "a"}


@pytest.fixture
def outputs(monkeypatch):
    """Return what other tasks have left, by task and key."""
    outputs = {}
    monkeypatch.setattr(module, "output_of", lambda ti, source, key: outputs[source.task_id, key])
    return outputs


def started(expand, map_index, **partial):
    """Return the trigger of one task of a mapped operator, with its arguments rendered."""
    with DAG("d") as dag:
        mapped = expand(
            RiffusionSubmitOperator.partial(task_id="song", start_from_trigger=True, hold=9, **partial)
        )
    stored = DagSerialization.from_dict(DagSerialization.to_dict(dag)).get_task("song")
    trigger = SubmissionTrigger(**mapped.start_trigger_args.trigger_kwargs)
    trigger.task_instance = SimpleNamespace(
        dag_id="d", run_id="r", task_id="song", map_index=map_index, try_number=1, task=stored
    )
    trigger.render_template_fields(CONTEXT)
    run(trigger._read_arguments())
    return trigger


def test_mapped_arguments_literal_list_gives_each_task_its_own_rendered():
    def expand(partial):
        return partial.expand(json=[{"prompt": "polka"}, {"prompt": "{{ mood }} waltz"}])

    trigger = started(expand, 1, user_ids=["{{ account }}"])

    assert (trigger.json, trigger.user_ids, trigger.hold) == ({"prompt": "sad waltz"}, ["a"], 9.0)


def test_mapped_arguments_of_another_task_are_not_rendered(outputs):
    def expand(partial):
        @task
        def prompts():
            return []

        return partial.expand(json=prompts())

    outputs["prompts", "return_value"] = [{"prompt": "polka"}, {"prompt": "{{ mood }}"}]

    assert started(expand, 1).json == {"prompt": "{{ mood }}"}


def test_mapped_arguments_several_are_combined():
    def expand(partial):
        return partial.expand(json=[{"prompt": "a"}, {"prompt": "b"}], slots=[1, 2], doc_md=["x"])

    found = [started(expand, index) for index in range(4)]

    assert [(each.json["prompt"], each.slots) for each in found] == [("a", 1), ("a", 2), ("b", 1), ("b", 2)]


def test_mapped_arguments_of_expand_kwargs_are_one_dict_for_each_task():
    def expand(partial):
        return partial.expand_kwargs([{"json": {"prompt": "a"}}, {"json": {"prompt": "b"}, "slots": 3}])

    trigger = started(expand, 1)

    assert (trigger.json, trigger.slots) == ({"prompt": "b"}, 3)


def test_mapped_arguments_output_cant_be_had_leaves_them_to_a_worker(outputs):
    def expand(partial):
        @task
        def prompts():
            return []

        return partial.expand(json=prompts())

    with pytest.raises(ValueError, match="can't be rendered"):
        started(expand, 0)
