"""What all triggers of this provider have in common."""

from __future__ import annotations

from collections.abc import Mapping
from inspect import Parameter, signature
from typing import TYPE_CHECKING, Any

from airflow.triggers.base import BaseTrigger

from airflow_riffusion.core.mapping import arguments_at
from airflow_riffusion.xcoms import in_thread, output_of

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context
    from jinja2 import Environment


class SerializedByArguments:
    """
    A trigger that Airflow stores by its constructor's arguments: each is an attribute of the same name.

    So no argument can be forgotten when one is added, and a restarted triggerer restores the same trigger.
    """

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the class's path and all arguments."""
        cls = type(self)
        own = cls.__mro__[: cls.__mro__.index(SerializedByArguments)]
        arguments = {
            name: getattr(self, name)
            for base in reversed(own)
            if "__init__" in vars(base)
            for name, parameter in signature(vars(base)["__init__"]).parameters.items()
            if name != "self" and parameter.kind is not Parameter.VAR_KEYWORD
        }
        return f"{cls.__module__}.{cls.__qualname__}", arguments


class RenderedInTriggerer(BaseTrigger):
    """A trigger that renders its arguments if its task starts with it, without a worker."""

    _context: Context | None = None

    @property
    def render_template_as_native_obj(self) -> bool:
        """Whether templates render to objects: as the task says, or else its DAG."""
        native = getattr(self.task, "render_template_as_native_obj", None)
        if native is None:
            native = getattr(getattr(self.task, "dag", None), "render_template_as_native_obj", False)
        return bool(native)

    def get_template_env(self, dag: Any = None) -> Environment:
        """
        Return the Jinja environment for the arguments of a task that starts in the triggerer.

        Airflow's own (3.3.2) supports no native templates, and renders an undefined name to empty text, which
        is an error in a worker.
        """
        from jinja2 import StrictUndefined
        from jinja2.nativetypes import NativeEnvironment

        environment: Environment = super().get_template_env(dag)
        if self.render_template_as_native_obj:
            native = type("NativeSandbox", (type(environment), NativeEnvironment), {})
            environment = native(cache_size=0)
        environment.undefined = StrictUndefined
        return environment

    def render_template_fields(
        self,
        context: Context,
        jinja_env: Environment | None = None,  # noqa: ARG002 - as Airflow calls it
    ) -> None:
        """Keep the context: the arguments of a mapped task have to be fetched first."""
        self._context = context

    async def _render_arguments(self) -> None:
        """
        Take the arguments of this task out of those that its operator is mapped over, and render them.

        Another task's output is not rendered, as in a worker: it may be text of anybody's.
        """
        assert self._context is not None
        literals, outputs = await self._mapped_arguments()
        for name, value in literals.items():
            setattr(self, name, value)
        super().render_template_fields(self._context)
        for name, value in outputs.items():
            setattr(self, name, value)

    async def _mapped_arguments(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return the mapped arguments of this task that are literal, and those of other tasks."""
        ti = self.task_instance
        expand_input = getattr(self.task, "expand_input", None)
        if ti is None or expand_input is None:
            return {}, {}
        given = expand_input.value
        if not isinstance(given, Mapping):  # of expand_kwargs()
            return self._own(given[ti.map_index]), {}
        sources = {name: getattr(value, "operator", None) for name, value in given.items()}
        mapped = {
            name: value if sources[name] is None else await in_thread(output_of, ti, sources[name], value.key)
            for name, value in given.items()
        }
        arguments = self._own(arguments_at(ti.map_index, mapped))
        literals = {name: value for name, value in arguments.items() if sources[name] is None}
        return literals, {name: value for name, value in arguments.items() if name not in literals}

    def _own(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Leave out what is not the trigger's, such as a task's ``doc_md``."""
        return {name: value for name, value in arguments.items() if hasattr(self, name)}
