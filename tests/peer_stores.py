"""A peer store in memory, for gates that pretend to be in different triggerers."""

from __future__ import annotations

from airflow_riffusion.gate.peer_store import PeersUnreachable


class MemoryPeerStore:
    """All gates' states, and how often they were read and written."""

    def __init__(self) -> None:
        self.texts: dict[str, str] = {}
        self.calls: list[str] = []
        self.unreachable = False
        self.unreadable: set[str] = set()

    async def ids(self) -> list[str]:
        self._call("ids")
        return list(self.texts)

    async def get(self, gate_id: str) -> str | None:
        self._call("get")
        return None if gate_id in self.unreadable else self.texts.get(gate_id)

    async def put(self, gate_id: str, text: str) -> None:
        self._call("put")
        self.texts[gate_id] = text

    async def delete(self, gate_id: str) -> None:
        self._call("delete")
        self.texts.pop(gate_id, None)

    def _call(self, name: str) -> None:
        self.calls.append(name)
        if self.unreachable:
            raise PeersUnreachable("no API server")
