"""A watch on etcd: a task of its own follows the changes under a prefix and keeps them for its reader.

It goes on where it was when its member dies: with another one, from the next revision, so that nothing is lost and nothing comes twice. A
reader that is too slow is left behind: the task lets go of etcd until all that it kept was read, and then reads on from there; so a slow
reader costs little memory.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Collection
from itertools import groupby

from covey.base.errors import Bug, CoveyError, Unavailable
from covey.store.etcd_link import PATIENCE_S, PAUSE_S, Link
from covey.store.etcd_messages import DELETED, Event, WatchAnswer, WatchCreateRequest, WatchRequest
from covey.store.limits import prefix_end
from covey.store.protocol import Batch, Change, Compacted
from covey.store.watch import LONGEST_QUEUE

UNBOUNDED = b"\0"  # as the end of a range: all keys; as its beginning: the first there can be


class Follower:
    """The task and what it keeps. `prefix` and what is under it; `live` while it hands on changes as they happen."""

    __slots__ = (
        "_drained",
        "_ended",
        "_failure",
        "_limit",
        "_link",
        "_next",
        "_queue",
        "_reader",
        "_task",
        "_witnesses",
        "live",
        "prefix",
    )

    def __init__(self, prefix: str, from_revision: int, link: Link, forget: Callable[[Follower], None]) -> None:
        self.prefix = prefix
        self.live = True
        self._link = link
        self._next = max(from_revision, 1)
        self._queue: deque[Batch] = deque()
        self._drained = asyncio.Event()
        self._reader: asyncio.Future[None] | None = None
        self._witnesses: list[tuple[int, asyncio.Future[None]]] = []
        self._failure: CoveyError | None = None
        self._ended = False
        self._limit: asyncio.Timeout | None = None  # of the member that is followed at the moment
        self._task = asyncio.create_task(self._run(), name=f"watch {prefix}")
        self._task.add_done_callback(lambda _: forget(self))

    async def next(self) -> Batch:
        """Raises StopAsyncIteration when it has ended, Compacted, Unavailable."""
        while True:
            if self._queue:
                batch = self._queue.popleft()
                if not self._queue:
                    self._drained.set()
                return batch
            if self._failure:
                failure, self._failure = self._failure, None
                raise failure
            if self._ended:
                raise StopAsyncIteration
            self._reader = asyncio.get_running_loop().create_future()
            try:
                await self._reader
            finally:
                self._reader = None

    def end(self) -> None:
        """Let go of etcd; what is kept can still be read."""
        self._ended = True
        self.live = False
        self._task.cancel()
        self._wake()

    async def ended(self) -> None:
        """Until the task of a follower that was told to end has done so."""
        await asyncio.wait([self._task])

    def awaits(self, revision: int, keys: Collection[str]) -> bool:
        """Whether it will soon have changes of these keys, by this revision, to hand on."""
        return self.live and self._next <= revision and any(key.startswith(self.prefix) for key in keys)

    def witness(self, revision: int) -> asyncio.Future[None]:
        """Done once the follower has kept what that revision changed, or is no longer live."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._witnesses.append((revision, future))
        return future

    def doubt(self) -> None:
        """A change is known to have happened and has not come: follow another member."""
        if self.live and self._limit and not self._limit.expired():
            self._limit.reschedule(asyncio.get_running_loop().time())

    async def _run(self) -> None:
        try:
            await self._follow()
        except CoveyError as error:
            self._failure = error
        except Exception as error:  # noqa: BLE001  whatever it was, the reader must hear of it: a watch that just ends means a closed store
            self._failure = Bug(f"a watch failed: {error!r}", "etcd")
        finally:
            self._ended = True
            self.live = False
            self._wake()

    async def _follow(self) -> None:
        """Follow one member after the other. Raises Compacted, and Unavailable when none would have it for a while."""
        time = asyncio.get_running_loop().time
        lost_at = time()
        while True:
            try:
                await self._follow_one()
            except Compacted:
                raise
            except Unavailable:
                if self.live:
                    lost_at = time()
                    self._lag()
                elif time() - lost_at > PATIENCE_S:
                    raise
                await asyncio.sleep(PAUSE_S)
            else:
                self._lag()
                await self._drained.wait()
                lost_at = time()

    async def _follow_one(self) -> None:
        """Follow a member for as long as it serves; returns when the reader is too slow. Raises Compacted, Unavailable."""
        end = prefix_end(self.prefix)
        request = WatchCreateRequest(
            self.prefix.encode() or UNBOUNDED,
            end.encode() if end else UNBOUNDED,
            # one earlier than wanted: a watch from the very revision that etcd has compacted to is not refused, but lacks its deletions
            max(self._next - 1, 1),
        )
        async with self._link.watching(WatchRequest(request)) as answered, asyncio.timeout(None) as self._limit:
            self.live = True
            while len(self._queue) <= LONGEST_QUEUE:
                self._take(await answered())
        self._drained.clear()

    def _take(self, answer: WatchAnswer) -> None:
        """Raises Compacted, Unavailable."""
        if answer.compact_revision:
            raise Compacted(answer.compact_revision + 1)
        if answer.canceled:
            raise Unavailable(f"it ended a watch: {answer.cancel_reason.decode(errors='replace')}", "etcd")
        for revision, events in groupby(answer.events, key=lambda event: event.kv.mod_revision):
            if revision >= self._next:
                self._queue.append(Batch(revision, tuple(_change(event) for event in events)))
                self._next = revision + 1
        self._wake()

    def _lag(self) -> None:
        """Nobody is to wait for it until it has caught up."""
        self.live = False
        self._wake()

    def _wake(self) -> None:
        """The reader first, then who waits for it to have been handed a change."""
        if self._reader and not self._reader.done() and (self._queue or self._ended):
            self._reader.set_result(None)
        for revision, future in self._witnesses:
            if not future.done() and (revision < self._next or not self.live):
                future.set_result(None)
        self._witnesses = [(revision, future) for revision, future in self._witnesses if not future.done()]


class EtcdWatch(AsyncIterator[Batch]):
    """What a reader holds; dropping it ends the follower."""

    __slots__ = ("_follower", "_loop")

    def __init__(self, follower: Follower) -> None:
        self._follower = follower
        self._loop = asyncio.get_running_loop()

    async def __anext__(self) -> Batch:
        return await self._follower.next()

    def __del__(self) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._follower.end)  # it may be any thread that collects garbage


def _change(event: Event) -> Change:
    return Change(event.kv.key.decode(), None if event.type == DELETED else event.kv.value)
