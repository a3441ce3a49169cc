"""Where the gates of several triggerers read each other's states."""

from __future__ import annotations

import asyncio
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Protocol

from asgiref.sync import sync_to_async

from airflow_riffusion.compat import CAN_LIST_VARIABLES

if TYPE_CHECKING:
    from collections.abc import Callable

# Seconds; the first call of a triggerer that has just started takes ten on a busy machine.
_LONGEST_CALL = 30.0


PEER_KEY_PREFIX = "riffusion_gate_"
"""What the names of all gates' Variables begin with."""


def peer_key_prefix(riffusion_conn_id: str) -> str:
    """Return what the names of one connection's Variables begin with; the gate's id follows."""
    # Not the connection's id: Airflow masks the value of a Variable that has, say, "token" in its name.
    digest = sha256(riffusion_conn_id.encode()).hexdigest()[:12]
    return f"{PEER_KEY_PREFIX}{digest}_"


class PeersUnreachable(Exception):
    """The states of peers can't be read, or the own one can't be written."""


class PeerStore(Protocol):
    """Keeps a state of each gate: a text, under the gate's id."""

    async def ids(self) -> list[str]:
        """List the gates that have a state."""

    async def get(self, gate_id: str) -> str | None:
        """Read a gate's state; None if there is none, or none any longer."""

    async def put(self, gate_id: str, text: str) -> None:
        """Write a gate's state over the one before."""

    async def delete(self, gate_id: str) -> None:
        """Delete a gate's state."""


class VariablePeerStore:
    """One Airflow Variable for each gate: triggers in different triggerers share nothing else."""

    def __init__(self, riffusion_conn_id: str) -> None:
        self._prefix = peer_key_prefix(riffusion_conn_id)
        self._description = (
            f"airflow-riffusion: slots of connection '{riffusion_conn_id}' that one gate holds"
        )

    @staticmethod
    def is_within_reach() -> bool:
        """Return whether this is a triggerer, of an Airflow that lets triggers list Variables."""
        if not CAN_LIST_VARIABLES:
            return False
        from airflow.sdk.execution_time import task_runner

        # `airflow dags test` runs each wait in an event loop of its own, one after the other. Its stand-in
        # for a triggerer's supervisor can't be asked asynchronously (3.3.2: InProcessSupervisorComms).
        return hasattr(getattr(task_runner, "SUPERVISOR_COMMS", None), "asend")

    async def ids(self) -> list[str]:
        """List the gates that have a state."""
        from airflow.sdk import Variable

        keys = await _call(lambda: list(Variable.keys(prefix=self._prefix)))
        return [key.removeprefix(self._prefix) for key in keys]

    async def get(self, gate_id: str) -> str | None:
        """Read a gate's state."""
        from airflow.sdk import Variable

        text: str | None = await _call(Variable.get, self._prefix + gate_id, default=None)
        return text

    async def put(self, gate_id: str, text: str) -> None:
        """Write a gate's state."""
        from airflow.sdk import Variable

        await _call(Variable.set, self._prefix + gate_id, text, description=self._description)

    async def delete(self, gate_id: str) -> None:
        """Delete a gate's state."""
        from airflow.sdk import Variable

        await _call(Variable.delete, self._prefix + gate_id)


async def _call(function: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
    """
    Ask Airflow without blocking the event loop.

    All such calls run one after the other in one thread, so a late one can't overtake the next.

    :raises PeersUnreachable: if it fails, or takes too long.
    """
    try:
        # Not asyncio.to_thread: from its threads it fails before Airflow 3.3.
        async with asyncio.timeout(_LONGEST_CALL):
            return await sync_to_async(function)(*arguments, **options)
    except Exception as error:
        raise PeersUnreachable(repr(error)) from error
