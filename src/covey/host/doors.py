"""Where this machine's agent listens for the cluster: addresses (HOST:PORT) beside the one that the cluster calls it by."""

from __future__ import annotations

from typing import Protocol

from covey.host.shelf import Shelf

_PREFIX = "door:"


class Doors(Protocol):
    async def ensure_open(self, address: str) -> None:
        """The agent listens there, too, and does after a restart. Raises Refused when the address is none of this machine's, or its port is
        somebody else's."""
        ...

    async def ensure_closed(self, address: str) -> None:
        """The agent does not listen there, unless it is where the cluster calls it."""
        ...


class FakeDoors:
    def __init__(self, shelf: Shelf) -> None:
        self._shelf = shelf

    async def ensure_open(self, address: str) -> None:
        self._shelf.put(f"{_PREFIX}{address}", {})

    async def ensure_closed(self, address: str) -> None:
        self._shelf.delete(f"{_PREFIX}{address}")
