"""What all triggers of this provider have in common."""

from __future__ import annotations

from inspect import Parameter, signature
from typing import Any


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
