"""Becoming the leader, staying it, and ceasing to be it.

Who leads holds a lease of the store, whose key the leadership record names. Whoever finds that key gone raises the epoch in that record, in
one transaction that compares the record, the old key and the own one: of two at once only one is written, and a lease that ended meanwhile
leads nobody. From then on the ledger of whoever led before is refused (P10). The lease is a matter of speed: that two never write in one
epoch rests on the epoch alone (S1).
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from typing import Protocol

import structlog

from covey.base.clock import Clock
from covey.base.errors import NoSpace, Unavailable
from covey.model import record as records
from covey.model.job import Leadership
from covey.model.timings import USUAL, Timings
from covey.store.protocol import Ended, Lease, Put, Store, Unchanged, Unmet, absent

KEY = records.key("leadership", "leader")
log = structlog.get_logger()


async def take_leadership(store: Store, clock: Clock, holder: str) -> tuple[Leadership, int]:
    """Raise the epoch, whoever led: for a store that one process has to itself, so that nobody contends. Returns the record and the
    revision that wrote it."""
    while True:
        before, revision = await _present(store)
        leadership = _raised(before, holder, clock)
        try:
            written = await store.txn([Unchanged(KEY, revision)], [Put(KEY, records.to_bytes(leadership))])
        except Unmet:
            continue  # somebody else was quicker: raise theirs
        return leadership, written


class Held(Protocol):
    """A right to lead, as it was won. `revision` is the one that wrote the record."""

    leadership: Leadership
    revision: int

    async def held(self) -> None:
        """Returns once it is lost."""
        ...

    async def resign(self) -> None:
        """Let the next one lead at once."""
        ...


@dataclass(slots=True)
class Right:
    """One that ends with its lease."""

    leadership: Leadership
    revision: int
    lease: Lease
    asked_at: float  # monotonic: it was last renewed after that
    clock: Clock
    timings: Timings

    @property
    def left_s(self) -> float:
        """Seconds until its holder stops by its own clock, before the store lets others lead."""
        return self.asked_at + self.timings.lease_s - self.timings.let_go_s - self.clock.monotonic()

    async def held(self) -> None:
        """Renew it; returns once it is lost."""
        while True:
            await self.clock.sleep(min(self.timings.renew_every_s, max(self.left_s, 0.0)))
            asked_at = self.clock.monotonic()
            if self.left_s <= 0:
                log.warning("leads no more: the right to could not be renewed", epoch=self.leadership.epoch)
                return
            try:
                async with asyncio.timeout(self.left_s):
                    await self.lease.renew()
            except Ended:
                log.warning("leads no more: the right to has ended", epoch=self.leadership.epoch)
                return
            except (Unavailable, TimeoutError) as error:
                log.warning(
                    "the right to lead could not be renewed", error=str(error) or "no answer", left_s=round(self.left_s, 1)
                )
            else:
                self.asked_at = asked_at

    async def resign(self) -> None:
        """Let the next one lead at once; if the store does not answer, the lease runs out."""
        with contextlib.suppress(Unavailable, TimeoutError):
            async with asyncio.timeout(self.timings.renew_every_s):
                await self.lease.revoke()


@dataclass(slots=True)
class Sole:
    """One that nobody contends."""

    leadership: Leadership
    revision: int

    async def held(self) -> None:
        await asyncio.Event().wait()

    async def resign(self) -> None:
        return


class Alone:
    """How a controller comes to lead that has the store to itself: at once."""

    def __init__(self, store: Store, clock: Clock, holder: str) -> None:
        self._store = store
        self._clock = clock
        self._holder = holder

    async def won(self) -> Sole:
        return Sole(*await take_leadership(self._store, self._clock, self._holder))


class Election:
    """How one controller comes to lead. `holder` is its node's id, `address` where others reach it."""

    def __init__(self, store: Store, clock: Clock, holder: str, address: str = "", timings: Timings = USUAL) -> None:
        self._address = address
        self._store = store
        self._clock = clock
        self._holder = holder
        self._timings = timings

    async def won(self) -> Right:
        """Wait until nobody leads, then lead; however long that takes, and whatever the store does meanwhile."""
        while True:
            try:
                await self._until_vacant()
                asked_at = self._clock.monotonic()
                lease = await self._store.lease(self._timings.lease_s)
            except (Unavailable, NoSpace) as error:  # a full one is given room while everybody waits
                log.info("the store does not answer; asking again who leads", error=str(error))
                await self._clock.sleep(self._timings.pause_s)
                continue
            right = await self._claimed(lease, asked_at)
            if right:
                log.info("leads the cluster", epoch=right.leadership.epoch)
                return right

    async def _until_vacant(self) -> None:
        """Until the right that the record names is gone. Raises Unavailable."""
        while True:
            leadership, _ = await _present(self._store)
            if leadership is None or not leadership.right:
                return
            found = await self._store.list(leadership.right)
            if not found.entries:
                return
            async for batch in self._store.watch(leadership.right, found.revision + 1):
                if any(change.value is None for change in batch.changes):
                    break

    async def _claimed(self, lease: Lease, asked_at: float) -> Right | None:
        """The right, or None when somebody else was quicker or the lease ended before it was written."""
        while True:
            try:
                before, revision = await _present(self._store)
                if before and before.right == lease.held.key:  # the answer was lost, but it was written
                    return Right(before, revision, lease, asked_at, self._clock, self._timings)
                vacant = [absent(before.right)] if before and before.right else []
                leadership = _raised(before, self._holder, self._clock, lease.held.key, self._address)
                ops = [Put(KEY, records.to_bytes(leadership))]
                written = await self._store.txn([Unchanged(KEY, revision), *vacant, lease.held], ops)
            except Unmet:
                break
            except (Unavailable, NoSpace) as error:
                log.info("the store does not answer; claiming again to lead", error=str(error))
                await self._clock.sleep(self._timings.pause_s)
            else:
                return Right(leadership, written, lease, asked_at, self._clock, self._timings)
        with contextlib.suppress(Unavailable):
            await lease.revoke()
        return None


async def _present(store: Store) -> tuple[Leadership | None, int]:
    """The leadership record and the revision that wrote it. Raises Unavailable."""
    entry = await store.get(KEY)
    found = records.from_bytes(KEY, entry.value) if entry else None
    return (found if isinstance(found, Leadership) else None), (entry.revision if entry else 0)


def _raised(before: Leadership | None, holder: str, clock: Clock, right: str = "", address: str = "") -> Leadership:
    incarnation, epoch = (before.incarnation, before.epoch) if before else (1, 0)
    return Leadership(incarnation, epoch + 1, holder, clock.now(), right, address)
