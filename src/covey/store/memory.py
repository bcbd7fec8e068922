"""A store in memory: the simulator's, and the model that the other engines are compared with.

It has no threads, no files and no time of its own, so that the same calls in the same order give the same answers. The
records are in `MemoryData`, which outlives the handles on it as a disk outlives the processes that use it: a crash is a
`MemoryStore` closed (or forgotten), a restart another one on the same data. Handles on one data see each other's
changes at once.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_left, insort
from collections.abc import AsyncIterator, Sequence
from itertools import islice

from covey.base.clock import Clock
from covey.base.errors import Unavailable
from covey.store.lease import LocalLease, LocalLeases, check_duration
from covey.store.limits import check_key, check_listing, check_prefix, check_transaction, prefix_end
from covey.store.protocol import LEASES, Batch, Compacted, Delete, Entry, Lease, Listing, Op, Put, Unchanged, Unmet
from covey.store.watch import LogSlice, Watch, Watches, to_batch


class MemoryData:
    """Records and their recent history. `kept` is the number of revisions that a watch can go back."""

    __slots__ = ("_entries", "_history", "_kept", "_keys", "last_lease", "leases", "revision", "watches")

    def __init__(self, kept: int = 10_000) -> None:
        self.revision = 0
        self.last_lease = 0
        self.leases = LocalLeases(self._drop)
        self.watches = Watches()
        self._kept = kept
        self._entries: dict[str, Entry] = {}
        self._keys: list[str] = []  # in order
        self._history: list[Batch] = []  # without gaps; the last is the present revision

    def get(self, key: str) -> Entry | None:
        return self._entries.get(key)

    def list(self, prefix: str, start: str, limit: int, descending: bool) -> Listing:
        end = prefix_end(prefix)
        first = bisect_left(self._keys, prefix)
        beyond = len(self._keys) if end is None else bisect_left(self._keys, end)
        if start and descending:
            beyond = min(beyond, bisect_left(self._keys, start))
        elif start:
            first = max(first, bisect_left(self._keys, start))
        keys = self._keys[first:beyond]
        if descending:
            keys.reverse()
        return Listing(tuple(self._entries[key] for key in islice(keys, limit or None)), self.revision)

    def write(self, compare: Sequence[Unchanged], ops: Sequence[Op]) -> int:
        """The whole of a transaction, at once. Raises Unmet."""
        for comparison in compare:
            entry = self._entries.get(comparison.key)
            if (entry.revision if entry else 0) != comparison.revision:
                raise Unmet(comparison.key)
        changing = [op for op in ops if type(op) is Put or op.key in self._entries]
        if not changing:
            return self.revision
        self.revision += 1
        for op in changing:
            if isinstance(op, Put):
                if op.key not in self._entries:
                    insort(self._keys, op.key)
                self._entries[op.key] = Entry(op.key, op.value, self.revision)
            else:
                del self._keys[bisect_left(self._keys, op.key)]
                del self._entries[op.key]
        batch = to_batch(self.revision, ((op.key, op.value if isinstance(op, Put) else None) for op in changing))
        self._history.append(batch)
        if len(self._history) > self._kept:
            del self._history[0]
        self.watches.feed((batch,))
        return self.revision

    async def _drop(self, key: str) -> None:
        self.write((), [Delete(key)])

    def read_log(self, revision: int) -> LogSlice:
        """All batches from `revision` on. Raises Compacted."""
        oldest = self.revision - len(self._history) + 1
        if revision < oldest:
            raise Compacted(oldest)
        return LogSlice(self._history[revision - oldest :], max(revision, self.revision + 1), is_last=True)


class Faults:
    """What can go wrong between a process and its store. This one lets all pass; a simulator overrides what it wants to
    spoil. Each hook may wait, and may raise Unavailable."""

    async def before_read(self, key: str) -> None:
        """Before a key is read, or a prefix listed."""

    async def before_txn(self, compare: Sequence[Unchanged], ops: Sequence[Op]) -> None:
        """Before a transaction: when this raises, nothing was written."""

    async def after_txn(self, revision: int) -> None:
        """After a transaction was written, before its caller hears of it: when this raises, the caller cannot know the
        outcome."""

    async def before_batch(self, batch: Batch) -> None:
        """Before a watch hands on a batch; raising breaks the watch there."""


NO_FAULTS = Faults()


class MemoryStore:
    """One process's handle on the data. The clock is asked for nothing but the ends of leases."""

    __slots__ = ("_clock", "_data", "_faults", "_is_open", "_watches")

    def __init__(self, data: MemoryData, clock: Clock, faults: Faults = NO_FAULTS) -> None:
        self._data = data
        self._clock = clock
        self._faults = faults
        self._is_open = True
        self._watches = Watches()

    async def get(self, key: str) -> Entry | None:
        check_key(key)
        self._check_open()
        await self._faults.before_read(key)
        self._check_open()
        await self._data.leases.end_overdue()
        return self._data.get(key)

    async def list(self, prefix: str, *, start: str = "", limit: int = 0, descending: bool = False) -> Listing:
        check_listing(prefix, start, limit)
        self._check_open()
        await self._faults.before_read(prefix)
        self._check_open()
        await self._data.leases.end_overdue()
        return self._data.list(prefix, start, limit, descending)

    async def txn(self, compare: Sequence[Unchanged], ops: Sequence[Op]) -> int:
        check_transaction(compare, ops)
        self._check_open()
        await self._faults.before_txn(compare, ops)
        self._check_open()  # the process may have died while its request was on the way
        await self._data.leases.end_overdue()
        revision = self._data.write(compare, ops)
        await asyncio.sleep(0)  # the watches were fed: their readers go first
        await self._faults.after_txn(revision)
        return revision

    def watch(self, prefix: str, from_revision: int) -> AsyncIterator[Batch]:
        check_prefix(prefix)
        self._check_open()
        watch = Watch(prefix, from_revision, self._data.read_log)
        self._watches.add(watch)
        self._data.watches.add(watch)
        return _SpoiltWatch(watch, self._faults)

    async def lease(self, ttl_s: float) -> Lease:
        check_duration(ttl_s)
        await self._reach()
        data = self._data
        data.last_lease += 1
        key = f"{LEASES}{data.last_lease:016x}"
        held = Unchanged(key, data.write((), [Put(key, b"")]))
        lease = LocalLease(data.last_lease, ttl_s, held, self._clock, data.leases, self._reach)
        data.leases.add(lease)
        return lease

    async def _reach(self) -> None:
        self._check_open()
        await self._faults.before_read(LEASES)
        self._check_open()

    async def close(self) -> None:
        self._is_open = False
        self._watches.end()

    def _check_open(self) -> None:
        if not self._is_open:
            raise Unavailable("the store is closed", "store")


class _SpoiltWatch(AsyncIterator[Batch]):
    """A watch with faults on its way."""

    __slots__ = ("_faults", "_watch")

    def __init__(self, watch: Watch, faults: Faults) -> None:
        self._watch = watch
        self._faults = faults

    async def __anext__(self) -> Batch:
        batch = await anext(self._watch)
        await self._faults.before_batch(batch)
        return batch
