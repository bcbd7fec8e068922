"""What a machine does with the insides of guests."""

from __future__ import annotations

from typing import Protocol

from covey.host.guest.listener import Reported
from covey.model.seed import Seed


class ConsoleSession(Protocol):
    """One person at a guest's serial console."""

    async def read(self) -> bytes:
        """What the guest printed since the last call, the history first; b"" once the console is gone."""
        ...

    async def write(self, data: bytes) -> None: ...

    async def close(self) -> None: ...


class Guests(Protocol):
    async def ensure_seed(self, seed: Seed, user_data: str) -> None:
        """The cloud-init seed of an instance is here. Raises NoSpace."""
        ...

    async def ensure_seed_absent(self, instance: str) -> None: ...

    async def seeds(self) -> tuple[str, ...]:
        """The instances that have a seed here."""
        ...

    def subscribe(self, reported: Reported) -> None:
        """Call `reported` (in the event loop) with the instance and what it says, whenever a guest says that it is ready."""
        ...

    def follow(self, instance: str, running: bool) -> None:
        """Listen to a guest's ready channel while it runs."""
        ...

    async def attach(self, instance: str) -> ConsoleSession:
        """Raises Refused when the guest does not run."""
        ...

    def console_tail(self, instance: str, size: int) -> bytes:
        """The last `size` bytes that the guest's console printed."""
        ...

    async def close(self) -> None: ...
