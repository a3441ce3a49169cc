"""Passes a sensor's arguments to the triggerer when no worker starts it (Airflow 3.3)."""

from __future__ import annotations

from collections import ChainMap
from dataclasses import replace
from datetime import timedelta
from inspect import signature
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import conf
from airflow.sdk.definitions.mappedoperator import MappedOperator, OperatorPartial
from airflow.triggers.base import StartTriggerArgs

from airflow_riffusion.compat import require_zero_worker_mode
from airflow_riffusion.core.arguments import (
    account_ids,
    boolean,
    conn_id,
    seconds,
    unless_template,
    whole_number,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

# Arguments of every operator that Airflow itself applies in a worker only.
TASK_OPTIONS = frozenset({"execution_timeout", "outlets", "do_xcom_push", "multiple_outputs"})


def start_args(
    *,
    riffusion_conn_id: str = "riffusion_default",
    slots: Any = 1,
    user_ids: Any = None,
    same_account: bool = False,
    hold: timedelta | float = 120,
    poke_interval: timedelta | float = 5,
    timeout: timedelta | float | None = None,
    priority_weight: int = 1,
    end_from_trigger: bool = False,
) -> StartTriggerArgs:
    """Return what the triggerer starts with, from the sensor's arguments; check them."""
    for name, value in (("riffusion_conn_id", riffusion_conn_id), ("slots", slots), ("user_ids", user_ids)):
        _only_text_templates(name, value)
    if timeout is None:
        timeout = conf.getfloat("sensors", "default_timeout")
    timeout = seconds("timeout", timeout)
    ids = unless_template(account_ids, user_ids)
    return StartTriggerArgs(
        trigger_cls="airflow_riffusion.triggers.capacity.CapacityTrigger",
        next_method="execute_complete",
        timeout=timedelta(seconds=timeout),
        trigger_kwargs={
            "riffusion_conn_id": conn_id(riffusion_conn_id),
            "slots": unless_template(whole_number, "slots", slots),
            "user_ids": sorted(ids) if isinstance(ids, frozenset) else ids,
            "same_account": boolean("same_account", same_account),
            "hold": seconds("hold", hold, zero=True),
            "poke_interval": seconds("poke_interval", poke_interval),
            "priority": priority_weight,
            "timeout": timeout,
            "end_from_trigger": boolean("end_from_trigger", end_from_trigger),
        },
    )


# The arguments of a sensor that reach the triggerer.
OWN_ARGUMENTS = frozenset(signature(start_args).parameters)


def arguments_of(args: StartTriggerArgs) -> dict[str, Any]:
    """Return those of the sensor's own arguments that the triggerer would start with."""
    arguments = {name: value for name, value in (args.trigger_kwargs or {}).items() if name in OWN_ARGUMENTS}
    if args.timeout is not None:
        arguments["timeout"] = args.timeout.total_seconds()
    return arguments


def with_task_options(args: StartTriggerArgs, options: Mapping[str, Any]) -> StartTriggerArgs:
    """Apply these :data:`TASK_OPTIONS`; a task with outlets ends in a worker, which creates their events."""
    kwargs = dict(args.trigger_kwargs or {})
    limits = [limit for limit in (args.timeout, options.get("execution_timeout")) if limit is not None]
    timeout = min(limits, default=None)
    if timeout is not None:
        kwargs["timeout"] = timeout.total_seconds()
    kwargs["end_from_trigger"] = kwargs.get("end_from_trigger", False) and not options.get("outlets")
    kwargs["do_xcom_push"] = options.get("do_xcom_push", True)
    kwargs["multiple_outputs"] = options.get("multiple_outputs", False)
    return replace(args, timeout=timeout, trigger_kwargs=kwargs)


def partial_with_start_args(
    partial: OperatorPartial, default_args: Mapping[str, Any] | None
) -> OperatorPartial:
    """Check the arguments of ``.partial()`` and of any ``default_args``, and pass them to the triggerer."""
    require_zero_worker_mode("start_from_trigger")
    kwargs = dict(partial.kwargs)
    parents = [parent.default_args or {} for parent in (kwargs["dag"], kwargs["task_group"]) if parent]
    given = dict(ChainMap(kwargs, dict(default_args or {}), *reversed(parents)))
    own = {name: given[name] for name in OWN_ARGUMENTS & given.keys()}
    args = kwargs.get("start_trigger_args")
    if args is None:
        args = start_args(**own)
    elif lost := sorted(OWN_ARGUMENTS & kwargs.keys() - {"priority_weight"}):
        raise ValueError(f"{', '.join(lost)} would be lost: give all arguments to start_args()")
    kwargs["start_trigger_args"] = with_task_options(
        args, {name: kwargs[name] for name in TASK_OPTIONS & kwargs.keys()}
    )
    partial._expand_called = True  # noqa: SLF001 - or Airflow warns that this one was never mapped
    return _ZeroWorkerPartial(operator_class=partial.operator_class, kwargs=kwargs, params=partial.params)


class _ZeroWorkerPartial(OperatorPartial):
    """Refuses to map over arguments that would never reach the triggerer."""

    def _expand(self, expand_input: Any, *, strict: bool) -> MappedOperator:
        mapped = expand_input.value
        travel = OWN_ARGUMENTS | TASK_OPTIONS
        lost = sorted(travel & set(mapped)) if isinstance(mapped, dict) else ["expand_kwargs"]
        if lost:
            self._expand_called = True
            raise ValueError(
                f"start_from_trigger can't map over {', '.join(lost)}: Airflow starts them all with the same "
                "arguments. Use a template that depends on ti.map_index, or a mapped task group."
            )
        return super()._expand(expand_input, strict=strict)


def _only_text_templates(name: str, value: object) -> None:
    if isinstance(value, list | tuple | set | frozenset):
        for item in value:
            _only_text_templates(name, item)
    if hasattr(value, "resolve"):
        raise ValueError(
            f"{name} can't be another task's output with start_from_trigger; use a template such as "
            "\"{{ ti.xcom_pull('other_task') }}\""
        )
