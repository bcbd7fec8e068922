"""Ended jobs, followed by a watch of their own: the latest are at hand, older ones are read from the store."""

from __future__ import annotations

import asyncio
import contextlib
from collections import OrderedDict, deque
from collections.abc import Callable

import structlog

from covey.base.errors import CoveyError, Unavailable
from covey.model.job import EndedJob
from covey.model.record import HISTORY, ended_from_bytes
from covey.store.feed import PAUSE_S
from covey.store.protocol import Compacted, Store

KEPT = 2_000  # jobs at hand
NEEDS_REPAIR = b'"needs_repair"'  # looked for in what is not decoded yet
Waiter = asyncio.Future[None]
log = structlog.get_logger()


class History:
    """What became of jobs. One task follows; any number may ask and wait."""

    def __init__(self, store: Store) -> None:
        self.revision = 0  # of the last change that was seen
        self._store = store
        self._kept: OrderedDict[int, EndedJob | bytes] = OrderedDict()  # decoded when first asked for
        self._needing_repair: deque[int] = deque(maxlen=100)
        self._waiting: dict[int, set[Waiter]] = {}
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Take in the latest, then follow."""
        await self._read()
        self._task = asyncio.create_task(self._follow(), name="history")

    async def followed(self) -> None:
        """Until following ends, as it does when the store is closed; raises what else ended it."""
        if self._task:
            await asyncio.shield(self._task)

    async def close(self) -> None:
        if self._task:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError, CoveyError):
                await self._task

    def recent(self, id: int) -> EndedJob | None:
        """A job that ended lately; None says nothing about older ones."""
        found = self._kept.get(id)
        if isinstance(found, bytes):
            found = self._kept[id] = ended_from_bytes(found)
        return found

    def needing_repair(self) -> list[EndedJob]:
        """Those at hand that ended half done, and after which no other job on the same objects succeeded."""
        found = []
        for id in self._needing_repair:
            job = self.recent(id)
            if job and job.job.state == "needs_repair" and not self._is_repaired(job):
                found.append(job)
        return found

    def _is_repaired(self, broken: EndedJob) -> bool:
        objects = set(broken.plan.uses.exclusive) if broken.plan else set()
        later = (self.recent(id) for id in reversed(self._kept) if id > broken.job.id)
        return any(job and job.job.state == "succeeded" and job.plan and objects & set(job.plan.uses.exclusive) for job in later)

    async def find(self, id: int) -> EndedJob | None:
        """An ended job, however old, as long as it is kept. Raises Unavailable."""
        found = self.recent(id)
        if found is None:
            entry = await self._store.get(f"{HISTORY}{id:010d}")
            found = ended_from_bytes(entry.value) if entry else None
        return found

    async def page(self, before: int, limit: int) -> list[EndedJob]:
        """The latest `limit` ended jobs with numbers below `before` (0: no bound), newest first. Raises Unavailable."""
        listing = await self._store.list(HISTORY, start=f"{HISTORY}{before:010d}" if before else "", limit=limit, descending=True)
        return [self.recent(int(entry.key[len(HISTORY) :])) or ended_from_bytes(entry.value) for entry in listing.entries]

    async def until_ended(self, id: int, seconds: float) -> EndedJob | None:
        """The job once it has ended; None when `seconds` went by first."""
        if found := self.recent(id):
            return found
        waiter: Waiter = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(id, set()).add(waiter)
        try:
            async with asyncio.timeout(seconds):
                await waiter
        except TimeoutError:
            pass  # the caller is told by None
        finally:
            self._forget(id, waiter)
        return self.recent(id)

    def on_end(self, id: int, call: Callable[[], None]) -> Callable[[], None]:
        """Call `call` once when the job ends; returns what takes that back."""
        waiter: Waiter = asyncio.get_running_loop().create_future()
        waiter.add_done_callback(lambda future: None if future.cancelled() else call())
        self._waiting.setdefault(id, set()).add(waiter)

        def forget() -> None:
            waiter.cancel()
            self._forget(id, waiter)

        return forget

    def _forget(self, id: int, waiter: Waiter) -> None:
        waiters = self._waiting.get(id)
        if waiters:
            waiters.discard(waiter)
            if not waiters:
                del self._waiting[id]

    async def _read(self) -> None:
        listing = await self._store.list(HISTORY, limit=KEPT, descending=True)
        self._kept.clear()
        self._needing_repair.clear()
        for entry in reversed(listing.entries):
            self._take(entry.key, entry.value)
        self.revision = listing.revision

    async def _follow(self) -> None:
        compacted = False
        while True:
            try:
                if compacted:
                    await self._read()
                    compacted = False
                async for batch in self._store.watch(HISTORY, self.revision + 1):
                    self.revision = batch.revision
                    for change in batch.changes:
                        self._take(change.key, change.value)
                return  # the store was closed
            except Compacted:
                log.warning("the store kept too little history: reading ended jobs anew", at=self.revision)
                compacted = True
            except Unavailable as error:  # who waits for the end of a job would wait for ever
                log.warning("the store does not answer; following ended jobs again", error=str(error), at=self.revision)
                await asyncio.sleep(PAUSE_S)

    def _take(self, key: str, value: bytes | None) -> None:
        id = int(key[len(HISTORY) :])
        if value is None:
            self._kept.pop(id, None)
            return
        self._kept[id] = value
        if NEEDS_REPAIR in value:
            self._needing_repair.append(id)
        while len(self._kept) > KEPT:
            self._kept.popitem(last=False)
        for waiter in self._waiting.pop(id, ()):
            if not waiter.done():
                waiter.set_result(None)
