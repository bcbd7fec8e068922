"""Leases of a store that one process has to itself."""

from __future__ import annotations

from collections.abc import Callable

from covey.base.clock import Clock
from covey.base.errors import BadInput, Unavailable

_ENDED = float("-inf")  # an ended lease does not come back, whatever the clock does


class LocalLease:
    """A lease that nobody but its own process can see: it ends when it is not renewed in time by the process's clock
    (`monotonic`), when the store is closed, and with the process. That is all that electing a leader on a single
    machine needs, because a second process cannot open the store."""

    __slots__ = ("_clock", "_ends_at", "_id", "_store_is_open", "_ttl_s")

    def __init__(self, id: int, ttl_s: float, clock: Clock, store_is_open: Callable[[], bool]) -> None:
        """Raises BadInput when `ttl_s` is not a positive number of seconds."""
        if not ttl_s > 0:
            raise BadInput(f"a lease of {ttl_s} s would have ended already", "store", "give a positive number of seconds")
        self._id = id
        self._ttl_s = ttl_s
        self._clock = clock
        self._store_is_open = store_is_open
        self._ends_at = clock.monotonic() + ttl_s

    @property
    def id(self) -> int:
        return self._id

    async def renew(self) -> None:
        """Raises Unavailable once it has expired, was revoked, or its store was closed."""
        now = self._clock.monotonic()
        if now >= self._ends_at or not self._store_is_open():
            self._ends_at = _ENDED
            raise Unavailable("the lease has ended", f"lease {self._id}", "ask for a new one")
        self._ends_at = now + self._ttl_s

    async def revoke(self) -> None:
        self._ends_at = _ENDED
