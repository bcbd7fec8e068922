"""A store of several machines whose database has reached its limit is given room again by itself: mostly it is full of its own past."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import structlog

from covey.base.clock import Clock
from covey.base.errors import CoveyError

LOOK_EVERY_S = 15.0
PATIENCE_LOOKS = 3  # for the leader to do it; then whoever sees it does
TRY_AGAIN_LOOKS = 40
FULL = "its database has reached its limit: nothing can be written"
log = structlog.get_logger()


class Roomy(Protocol):
    """A store that can be full of its past: EtcdStore."""

    async def is_full(self) -> bool: ...

    async def make_room(self) -> int: ...


class RoomKeeper:
    """`trouble` says in a sentence what is wrong, "" for nothing. `leads` says whether this controller does; while the store is full, nobody
    may come to."""

    def __init__(self, store: Roomy, clock: Clock, leads: Callable[[], bool]) -> None:
        self.trouble = ""
        self._store = store
        self._clock = clock
        self._leads = leads
        self._looks = 0  # since it was first seen to be full

    async def run(self) -> None:
        while True:
            try:
                await self.look()
            except CoveyError as error:
                log.warning("cannot see to the room in the store; trying again", error=str(error))
            await self._clock.sleep(LOOK_EVERY_S)

    async def look(self) -> None:
        """Make room if there is none. Raises Unavailable."""
        if not await self._store.is_full():
            self.trouble, self._looks = "", 0
            return
        self.trouble = FULL
        self._looks += 1
        is_due = 1 if self._leads() else PATIENCE_LOOKS
        if self._looks % TRY_AGAIN_LOOKS == is_due:
            await self.make()

    async def make(self) -> int:
        """Forget what the store keeps of the past, give the room back, and have it write again; the bytes of its database after that.
        Raises Unavailable."""
        log.warning("the store is compacted")
        size = await self._store.make_room()
        log.info("the store was compacted", bytes=size)
        if not await self._store.is_full():
            self.trouble, self._looks = "", 0
        return size
