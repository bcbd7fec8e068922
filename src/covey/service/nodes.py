"""What the services ask of nodes: a protocol, so that they know neither transports nor hosts."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

from covey.model.order import Inventory, Progress
from covey.model.pool import Place, Volume
from covey.model.transfer import Content, Found


class Terminal(Protocol):
    """One person's session on a guest's serial console; it begins with what the guest printed before."""

    async def read(self) -> bytes:
        """The next piece of output; b"" when the session or the guest's run has ended."""
        ...

    async def write(self, data: bytes) -> None:
        """What was typed. Raises Unavailable when the guest does not take it."""
        ...


class Nodes(Protocol):
    @property
    def progress(self) -> Mapping[int, Progress]:
        """By number of a running job: what its present step said last."""
        ...

    async def inventory(self, node: str) -> Inventory:
        """Everything of Covey's on a node (an id). Raises Unavailable."""
        ...

    def console(self, node: str, instance: str) -> AbstractAsyncContextManager[Terminal]:
        """A session on a guest's console. Raises Unavailable when the guest does not run or its node does not answer."""
        ...

    async def console_log(self, node: str, instance: str, size: int) -> bytes:
        """The last `size` bytes at most that a guest printed. Raises Unavailable."""
        ...

    async def ask_guest(
        self, node: str, instance: str, verb: str, wish: Mapping[str, Any], timeout_s: float
    ) -> Mapping[str, Any]:
        """What the agent within a guest answers: `verb` is facts, run, password or keys (agent/guest.py). Raises Unavailable, Refused
        when there is none that answers, StepFailed when a command does not end."""
        ...

    async def screenshot(self, node: str, instance: str) -> bytes:
        """What is on a guest's screen, as PNG. Raises Unavailable, Refused when it does not run."""
        ...

    async def receive(
        self, node: str, place: Place, upload: str, format: str, sha256: str, pieces: AsyncIterator[bytes]
    ) -> Found:
        """Have an image taken in beside the volumes of `place`, and say what it is. Raises Unavailable, BadInput for what is none or refers
        to other files, NoSpace, and what `pieces` raise; then nothing is left of it."""
        ...

    async def discard(self, node: str, place: Place, upload: str) -> None:
        """Nothing is left of an image that was taken in. Raises Unavailable."""
        ...

    def export(self, node: str, volume: Volume, format: str) -> AbstractAsyncContextManager[Content]:
        """What a volume shows; nobody writes to it within. Raises Unavailable, NotFound, Refused while somebody does."""
        ...
