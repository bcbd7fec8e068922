"""Leases that etcd counts, and that end by our own clock at the latest."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, suppress

from covey.base.clock import Clock
from covey.base.errors import NotFound
from covey.store.etcd_link import Link
from covey.store.etcd_messages import KEEP_ALIVE, REVOKE, LeaseRequest
from covey.store.protocol import Ended, Unchanged

_ENDED = float("-inf")  # an ended lease does not come back, whatever the clock does


class EtcdLease:
    """Its time runs from before it was asked for, so it ends for us before it ends for etcd: nobody else can have what we still hold."""

    __slots__ = ("_clock", "_ends_at", "_held", "_id", "_link", "_ttl_s", "_working")

    def __init__(
        self,
        id: int,
        held: Unchanged,
        ttl_s: float,
        asked_at: float,
        clock: Clock,
        link: Link,
        working: Callable[[], AbstractContextManager[None]],
    ) -> None:
        self._id = id
        self._held = held
        self._ttl_s = ttl_s
        self._ends_at = asked_at + ttl_s
        self._clock = clock
        self._link = link
        self._working = working

    @property
    def id(self) -> int:
        return self._id

    @property
    def held(self) -> Unchanged:
        return self._held

    async def renew(self) -> None:
        asked_at = self._clock.monotonic()
        if asked_at < self._ends_at:
            with self._working():
                renewed = await self._link.read(KEEP_ALIVE, LeaseRequest(self._id))
            if renewed.ttl > 0 and self._ends_at != _ENDED:
                self._ends_at = asked_at + self._ttl_s
                return
        self._ends_at = _ENDED
        raise Ended(self._id)

    async def revoke(self) -> None:
        self._ends_at = _ENDED
        with self._working(), suppress(NotFound):
            await self._link.read(REVOKE, LeaseRequest(self._id))
