"""What two machines need of each other while a guest moves: bytes, and the truth about where it runs."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol

from covey.model.domain import Domain

# What goes between them, each on a connection of its own.
CONTROL, MEMORY, DISKS = "control", "memory", "disks"
PIECE = 64 * 1024  # bytes at once: larger ones are slower, as they are copied more often


@dataclass(frozen=True, slots=True)
class Destination:
    """The node (by id) that a guest moves to, whose agent listens at `address`."""

    node: str
    name: str
    address: str


@dataclass(frozen=True, slots=True)
class Offer:
    """A guest as it runs, in its hypervisor's words, and `processor` as the machine has it; what it is to be there, and as which start."""

    domain: Domain
    generation: int
    description: str
    processor: str


@dataclass(frozen=True, slots=True)
class Wish:
    """How a guest is to move. `disks` are the indexes of those that are copied, `whole` or without what lies
    below them; 0 is no limit of `bandwidth` (bytes a second), and the
    usual one of `downtime_s`."""

    disks: tuple[int, ...]
    whole: bool = False
    bandwidth: int = 0
    downtime_s: float = 0.0
    slows_guest: bool = True


@dataclass(frozen=True, slots=True)
class Moved:
    """How it went: what was sent, and how long the guest stood still, by the hypervisor's own word."""

    sent: int  # bytes
    took_s: float
    stood_s: float


class Pipe(Protocol):
    """Bytes both ways. Calls raise Unavailable when the way is broken, as told apart from its proper end."""

    async def read(self) -> bytes:
        """Some bytes; b"" when the other end sends no more."""
        ...

    async def write(self, data: bytes) -> None: ...

    async def end(self) -> None:
        """No more is sent."""
        ...

    async def close(self) -> None: ...


class Passage(Protocol):
    """The way to the other machine, for one guest, for as long as it is open there."""

    description: str  # of the guest as the other machine will have it

    async def pipe(self, kind: str) -> Pipe:
        """Raises Unavailable."""
        ...

    async def has_arrived(self) -> bool:
        """Whether the guest has begun to run on the other machine, whatever became of it since; if not, nothing of it is half-way there, and
        it will not run there by this passage, which ends with the question. Asks until there is an answer."""
        ...


class Neighbours(Protocol):
    """The other machines, as this one reaches them."""

    def passage(self, to: Destination, offer: Offer) -> AbstractAsyncContextManager[Passage]:
        """Raises Unavailable, and Refused when the other machine does not let the guest in."""
        ...

    async def has_arrived_at(self, to: Destination, instance: str, generation: int) -> bool:
        """As Passage.has_arrived, when there is no passage. Raises Unavailable."""
        ...


Told = Callable[[str, int, int], None]
