"""Leases of records that one process counts by its own clock: those of SQLite, and of the simulator's memory."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from covey.base.clock import Clock
from covey.base.errors import BadInput
from covey.store.protocol import Ended, Unchanged

PAUSE_S = 1.0  # before a key that could not be removed is tried again
_ENDED = float("-inf")  # an ended lease does not come back, whatever the clock does


def check_duration(ttl_s: float) -> None:
    """Raises BadInput unless it is a positive number of seconds."""
    if not ttl_s > 0:
        raise BadInput(f"a lease of {ttl_s} s would have ended already", "store", "give a positive number of seconds")


class LocalLease:
    """It ends when it is not renewed in time by the clock (`monotonic`), when it is revoked, and for its holder with the holder's store."""

    __slots__ = ("_clock", "_ends_at", "_held", "_id", "_leases", "_reach", "_ttl_s")

    def __init__(
        self, id: int, ttl_s: float, held: Unchanged, clock: Clock, leases: LocalLeases, reach: Callable[[], Awaitable[None]]
    ) -> None:
        """`reach` is awaited before each call: it raises Unavailable when the store is closed, or cannot be reached."""
        self._id = id
        self._ttl_s = ttl_s
        self._held = held
        self._clock = clock
        self._leases = leases
        self._reach = reach
        self._ends_at = clock.monotonic() + ttl_s

    @property
    def id(self) -> int:
        return self._id

    @property
    def held(self) -> Unchanged:
        return self._held

    @property
    def left_s(self) -> float:
        """Seconds until it ends; not positive once it has ended."""
        return self._ends_at - self._clock.monotonic()

    async def renew(self) -> None:
        await self._reach()
        if self.left_s <= 0:
            self._ends_at = _ENDED
            raise Ended(self._id)
        self._ends_at = self._clock.monotonic() + self._ttl_s

    async def revoke(self) -> None:
        await self._reach()
        self._ends_at = _ENDED
        await self._leases.end_overdue()


class LocalLeases:
    """Those that have not ended; each has its key among the records until then. `drop` removes a key."""

    __slots__ = ("_drop", "_present", "_timer")

    def __init__(self, drop: Callable[[str], Awaitable[None]]) -> None:
        self._drop = drop
        self._present: list[LocalLease] = []
        self._timer: asyncio.TimerHandle | None = None

    def __bool__(self) -> bool:
        return bool(self._present)

    def add(self, lease: LocalLease) -> None:
        self._present.append(lease)
        self._look_again()

    async def end_overdue(self) -> None:
        """Remove the keys of leases that have ended. Asked before anything is read or written: nobody sees the key of one that is over.
        Raises what `drop` raises."""
        for lease in [lease for lease in self._present if lease.left_s <= 0]:
            await self._drop(lease.held.key)
            if lease in self._present:
                self._present.remove(lease)

    def forget(self) -> None:
        """Nobody is left to hear of an end."""
        self._present.clear()
        if self._timer:
            self._timer.cancel()

    def _look_again(self, pause_s: float = 0.0) -> None:
        """Watches are to hear of an end though nobody asks: look when the next lease is due. It may have been renewed by then."""
        if self._timer:
            self._timer.cancel()
        if self._present:
            due_s = max(min(lease.left_s for lease in self._present), pause_s)
            self._timer = asyncio.get_running_loop().call_later(due_s, self._look)

    def _look(self) -> None:
        looking = asyncio.get_running_loop().create_task(self.end_overdue())
        looking.add_done_callback(self._looked)

    def _looked(self, looking: asyncio.Task[None]) -> None:
        if not looking.cancelled():
            self._look_again(PAUSE_S if looking.exception() else 0.0)
