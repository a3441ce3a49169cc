"""Lets tasks start in the triggerer, without a worker, mapped or not (Airflow 3.3)."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Mapping, Sequence
from datetime import timedelta
from functools import cache
from inspect import Parameter, signature
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.providers.common.compat.sdk import conf

from airflow_riffusion.compat import require_zero_worker_mode
from airflow_riffusion.core.arguments import seconds

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from airflow.sdk.definitions.mappedoperator import OperatorPartial
    from airflow.triggers.base import StartTriggerArgs

# Arguments of every operator that Airflow itself applies in a worker only, with their defaults.
_OPTIONS = {
    "priority_weight": 1,
    "execution_timeout": None,
    "outlets": None,
    "do_xcom_push": True,
    "multiple_outputs": False,
}
# Arguments of ours that are the same for all tasks of a mapped operator.
_LIMITS = ("timeout", "end_from_trigger")


class _StartTriggerArgs:
    """
    The attribute ``start_trigger_args``, computed when Airflow reads it.

    A cluster policy or ``add_outlets()`` may change a task after it was constructed. On the class it is None,
    as Airflow would use any other value for every mapped task.
    """

    def __get__(self, task: Any, owner: type[StartsInTriggerer]) -> StartTriggerArgs | None:
        if task is None or not task.start_from_trigger:
            return None
        names = (*owner.travelling, *_LIMITS, *_OPTIONS)
        return _start_args(owner, {name: getattr(task, name) for name in names})


class StartsInTriggerer:
    """
    An operator whose task can start in the triggerer.

    No worker constructs it then, so its arguments travel with the trigger. Those of a mapped operator are
    checked when the DAG is parsed; the trigger picks the ones of its own task.
    """

    trigger_path: ClassVar[str]
    travelling: ClassVar[Mapping[str, Callable[[Any], Any]]]
    """The arguments that the trigger has by the same names, and how each is checked."""

    start_trigger_args = _StartTriggerArgs()

    @classmethod
    def partial(cls, **kwargs: Any) -> OperatorPartial:
        """
        Map the operator.

        :raises ValueError: if it is to start in the triggerer, and an argument can't be what it should.
        """
        partial: OperatorPartial = super().partial(**kwargs)  # type: ignore[misc]
        if partial.kwargs.get("start_from_trigger"):
            require_zero_worker_mode("start_from_trigger")
            partial.kwargs["start_trigger_args"] = _start_args(cls, _given(partial))
            partial.__class__ = _zero_worker_partial()
        return partial


@cache
def _zero_worker_partial() -> type[OperatorPartial]:
    # Late: Airflow 2 has none.
    from airflow.sdk.definitions.mappedoperator import OperatorPartial

    class ZeroWorkerPartial(OperatorPartial):
        """Checks what is mapped over, which no worker does."""

        __slots__ = ()

        def expand(self, **mapped: Any) -> Any:
            for name, values in mapped.items():
                _check_mapped(self, name, values)
            return super().expand(**mapped)

        def expand_kwargs(self, kwargs: Any, *, strict: bool = True) -> Any:
            if not isinstance(kwargs, Sequence) or not all(isinstance(each, Mapping) for each in kwargs):
                raise ValueError("start_from_trigger can map with expand_kwargs() over literal dicts only")
            for arguments in kwargs:
                for name, value in arguments.items():
                    _check_mapped(self, name, [value])
            return super().expand_kwargs(kwargs, strict=strict)

    return ZeroWorkerPartial


def _check_mapped(partial: OperatorPartial, name: str, values: Any) -> None:
    """Raise ValueError if a trigger can't get an argument of its own task."""
    if name in (*_LIMITS, *_OPTIONS):
        raise ValueError(f"start_from_trigger can't map over {name}: it is the same for all tasks")
    if (check := partial.operator_class.travelling.get(name)) is None:  # type: ignore[attr-defined]
        return
    if (source := getattr(values, "operator", None)) is not None:
        if source.is_mapped or source.get_closest_mapped_task_group() is not None:
            raise ValueError(
                f"start_from_trigger can't map {name} over the outputs of mapped task {source.task_id}: let "
                "a task in between return them as one list"
            )
    elif isinstance(values, Sequence):
        for value in values:
            check(_without_outputs(name, value))
    else:
        raise ValueError(
            f"start_from_trigger can map {name} over a literal list or a task's output, not {values!r:.80}"
        )


def _given(partial: OperatorPartial) -> Mapping[str, Any]:
    """Return the arguments of a mapped operator, with those of any ``default_args``, and the defaults."""
    kwargs = partial.kwargs
    parents = [parent.default_args or {} for parent in (kwargs["dag"], kwargs["task_group"]) if parent]
    parameters = signature(partial.operator_class.__init__).parameters.values()
    defaults = {each.name: each.default for each in parameters if each.default is not Parameter.empty}
    return ChainMap(kwargs, kwargs.get("default_args") or {}, *reversed(parents), defaults, _OPTIONS)


def _start_args(operator: type[StartsInTriggerer], given: Mapping[str, Any]) -> StartTriggerArgs:
    """Return what the triggerer starts a task with; an argument that is not given yet is to be mapped."""
    from airflow.triggers.base import StartTriggerArgs

    timeout = given.get("timeout")
    if timeout is None:
        timeout = conf.getfloat("sensors", "default_timeout")
    timeout = seconds("timeout", timeout)
    if (limit := given["execution_timeout"]) is not None:
        timeout = min(timeout, limit.total_seconds())
    return StartTriggerArgs(
        trigger_cls=operator.trigger_path,
        next_method="execute_complete",
        timeout=timedelta(seconds=timeout),
        trigger_kwargs={
            **{
                name: check(_without_outputs(name, given[name])) if name in given else None
                for name, check in operator.travelling.items()
            },
            "priority": given["priority_weight"],
            "timeout": timeout,
            # A task with outlets ends in a worker, as nothing else makes their events.
            "end_from_trigger": bool(given.get("end_from_trigger")) and not given["outlets"],
            "do_xcom_push": given["do_xcom_push"],
            "multiple_outputs": given["multiple_outputs"],
        },
    )


def _without_outputs(name: str, value: Any) -> Any:
    """Return a value, unless another task's output is in it: only text is rendered in the triggerer."""
    items: Collection[Any] = ()
    if isinstance(value, Mapping):
        items = value.values()
    elif isinstance(value, list | tuple | set | frozenset):
        items = value
    for item in items:
        _without_outputs(name, item)
    if hasattr(value, "resolve"):
        raise ValueError(
            f"{name} can't be another task's output with start_from_trigger; use a template such as "
            "\"{{ ti.xcom_pull('other_task') }}\""
        )
    return value
