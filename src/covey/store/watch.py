"""Watches: how the changes of a store reach those who follow it. Shared by the engines that live in this process.

A watch is either *live* (the engine hands it each batch as it is written) or *behind* (it reads the engine's change log
in slices until it has caught up). One that starts in the past, and one whose reader is too slow, are behind; so a slow
reader costs no memory.
"""

from __future__ import annotations

import asyncio
import weakref
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from dataclasses import dataclass

from covey.base.errors import CoveyError
from covey.store.protocol import Batch, Change

LONGEST_QUEUE = 1_000  # batches kept for a reader before it is sent to the log


@dataclass(frozen=True, slots=True)
class LogSlice:
    """A piece of the change log: all batches from the asked revision up to, but not including, `next_revision`.
    `is_last` when the log had nothing more at that moment."""

    batches: Sequence[Batch]
    next_revision: int
    is_last: bool


ReadLog = Callable[[int], LogSlice]  # from a revision on (inclusive); raises Compacted, Unavailable


class Watch(AsyncIterator[Batch]):
    """One reader's view of the changes under a prefix. To be iterated by one task."""

    __slots__ = ("__weakref__", "_behind", "_ended", "_next_revision", "_prefix", "_queue", "_read_log", "_waiting")

    def __init__(self, prefix: str, from_revision: int, read_log: ReadLog) -> None:
        self._prefix = prefix
        self._next_revision = max(from_revision, 1)
        self._read_log = read_log
        self._queue: deque[Batch] = deque()
        self._behind = True
        self._ended = False
        self._waiting: asyncio.Future[None] | None = None

    def feed(self, batches: Iterable[Batch]) -> None:
        """Hand over what was just written, in order of revision."""
        if self._behind or self._ended:
            return
        for batch in batches:
            if batch.revision >= self._next_revision:
                self._next_revision = batch.revision + 1
                self._keep(batch)
        if len(self._queue) > LONGEST_QUEUE:
            self._next_revision = self._queue[0].revision
            self._queue.clear()
            self._behind = True
        self._wake()

    def end(self) -> None:
        """Let the iterator finish after what it was handed already."""
        self._ended = True
        self._wake()

    async def __anext__(self) -> Batch:
        while True:
            if self._queue:
                return self._queue.popleft()
            if self._ended:
                raise StopAsyncIteration
            if self._behind:
                self._catch_up()
                if self._behind:
                    await asyncio.sleep(0)  # a long log must not hold up the rest of the process
                continue
            self._waiting = asyncio.get_running_loop().create_future()
            try:
                await self._waiting
            finally:
                self._waiting = None

    def _catch_up(self) -> None:
        try:
            found = self._read_log(self._next_revision)
        except CoveyError:
            self._ended = True
            raise
        for batch in found.batches:
            self._keep(batch)
        self._next_revision = found.next_revision
        self._behind = not found.is_last

    def _keep(self, batch: Batch) -> None:
        """Queue the part of a batch that is under the prefix, if any."""
        changes = tuple(change for change in batch.changes if change.key.startswith(self._prefix))
        if len(changes) == len(batch.changes):
            self._queue.append(batch)
        elif changes:
            self._queue.append(Batch(batch.revision, changes))

    def _wake(self) -> None:
        if (self._queue or self._ended or self._behind) and self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)


class Watches:
    """The watches of one open store, fed in the order in which they were asked for. They are held weakly: who drops the
    iterator has ended the watch."""

    __slots__ = ("_watches",)

    def __init__(self) -> None:
        self._watches: list[weakref.ref[Watch]] = []

    def __bool__(self) -> bool:
        return bool(self._watches)

    def add(self, watch: Watch) -> Watch:
        self._watches.append(weakref.ref(watch))
        return watch

    def feed(self, batches: Sequence[Batch]) -> None:
        for watch in self._living():
            watch.feed(batches)

    def end(self) -> None:
        for watch in self._living():
            watch.end()
        self._watches.clear()

    def _living(self) -> list[Watch]:
        found = [watch for reference in self._watches if (watch := reference()) is not None]
        if len(found) < len(self._watches):
            self._watches = [weakref.ref(watch) for watch in found]
        return found


def to_batch(revision: int, changes: Iterable[tuple[str, bytes | None]]) -> Batch:
    return Batch(revision, tuple(Change(key, value) for key, value in changes))
