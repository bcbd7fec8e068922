"""The feed: one watch on one prefix keeps the ClusterView current (DESIGN section 3)."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from dataclasses import replace

import structlog

from covey.base.errors import CoveyError, Unavailable
from covey.model.node import Telemetry
from covey.model.order import Room
from covey.model.record import PREFIX, Record, from_bytes
from covey.model.view import ClusterView
from covey.store.protocol import Change, Compacted, Store

Changes = list[tuple[str, Record | None]]
Listener = Callable[[ClusterView, ClusterView, Changes], None]  # before, after, what changed
PAUSE_S = 0.5  # before a store that does not answer is asked again
log = structlog.get_logger()


class Feed:
    """Holds the newest view and tells listeners of every change, in order."""

    def __init__(self, store: Store) -> None:
        self.view = ClusterView()
        self.trouble = ""  # why it cannot be followed at the moment
        self._store = store
        self._listeners: list[Listener] = []
        self._waiting: list[tuple[int, asyncio.Future[None]]] = []
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Read everything, then follow."""
        await self._rebuild()
        self._task = asyncio.create_task(self._follow(), name="feed")
        self._task.add_done_callback(self._give_up)

    async def followed(self) -> None:
        """Until following ends, as it does when the store is closed; raises what else ended it."""
        if self._task:
            await asyncio.shield(self._task)

    async def close(self) -> None:
        if self._task:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError, CoveyError):
                await self._task

    def listen(self, listener: Listener) -> None:
        self._listeners.append(listener)

    def ignore(self, listener: Listener) -> None:
        self._listeners.remove(listener)

    async def reached(self, revision: int) -> ClusterView:
        """The view once it holds all up to `revision`: so a client reads its own writes. Raises Unavailable when following has ended."""
        if self.view.revision < revision:
            if self._task and self._task.done():
                raise _over()
            future = asyncio.get_running_loop().create_future()
            self._waiting.append((revision, future))
            await future
        return self.view

    def _give_up(self, ended: asyncio.Task[None]) -> None:
        """Nothing is followed any more: who waits would wait for ever."""
        for _, future in self._waiting:
            if not future.done():
                future.set_exception(_over())
        self._waiting.clear()

    def tell(self, node: str, telemetry: Telemetry | None) -> None:
        """Take in what a node says of itself; None when its agent no longer answers."""
        before = self.view
        self.view = before.with_telemetry(node, telemetry)
        self._announce(before, [])

    def tell_room(self, node: str, room: Room) -> None:
        """Take in how much room a node has. Of one that has not introduced itself, all is told when it does."""
        known = self.view.telemetry.get(node)
        if known:
            self.tell(node, room.within(known))

    async def _follow(self) -> None:
        compacted = False
        while True:
            try:
                if compacted:
                    await self._rebuild()
                    compacted = False
                async for batch in self._store.watch(PREFIX, self.view.revision + 1):
                    self.trouble = ""
                    self._take(_decode(batch.changes), batch.revision)
                return  # the store was closed
            except Compacted:
                log.warning("the store kept too little history: reading everything anew", at=self.view.revision)
                compacted = True
            except Unavailable as error:  # without its feed the leader would wait for ever for its own writes
                log.warning("the store does not answer; following it again", error=str(error), at=self.view.revision)
                self.trouble = str(error)
                await asyncio.sleep(PAUSE_S)

    async def _rebuild(self) -> None:
        """Build the view beside the old one and emit the difference."""
        listing = await self._store.list(PREFIX)
        records = [(entry.key, from_bytes(entry.key, entry.value), entry.revision) for entry in listing.entries]
        before = self.view
        self.view = replace(ClusterView.of(records, listing.revision), telemetry=before.telemetry)
        gone: Changes = [(key, None) for key in sorted(_keys(before)) if not _holds(self.view, key)]
        self._announce(before, gone + [(key, record) for key, record, _ in records])

    def _take(self, changes: Changes, revision: int) -> None:
        before = self.view
        self.view = before.apply(changes, revision)
        self._announce(before, changes)

    def _announce(self, before: ClusterView, changes: Changes) -> None:
        for listener in list(self._listeners):
            listener(before, self.view, changes)
        if self._waiting:
            reached = self.view.revision
            for revision, future in self._waiting:
                if revision <= reached and not future.done():
                    future.set_result(None)
            self._waiting = [(revision, future) for revision, future in self._waiting if not future.done()]


def _over() -> Unavailable:
    return Unavailable("this process no longer follows it", "the store", "ask again: what was asked for may have been done")


def _keys(view: ClusterView) -> Iterator[str]:
    for collection, records in view.collections.items():
        for id in records:
            yield f"{PREFIX}{collection}/{id}"


def _holds(view: ClusterView, key: str) -> bool:
    collection, _, id = key[len(PREFIX) :].partition("/")
    return id in view.collections[collection]


def _decode(changes: tuple[Change, ...]) -> Changes:
    return [(change.key, None if change.value is None else from_bytes(change.key, change.value)) for change in changes]
