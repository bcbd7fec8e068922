"""The simulator's store: its faults, its crashes, its repeatability."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from covey.base.clock import SystemClock
from covey.base.errors import Unavailable
from covey.store.memory import Faults, MemoryData, MemoryStore
from covey.store.protocol import Batch, Change, Op, Put, Unchanged

CLOCK = SystemClock()


class Spoilt(Faults):
    """Fails, and holds up, at the named hooks."""

    def __init__(self, *failing: str) -> None:
        self.failing = set(failing)
        self.gate = asyncio.Event()
        self.gate.set()

    async def _pass(self, hook: str) -> None:
        await self.gate.wait()
        if hook in self.failing:
            raise Unavailable("the line was cut", hook)

    async def before_read(self, key: str) -> None:
        await self._pass("before_read")

    async def before_txn(self, compare: Sequence[Unchanged], ops: Sequence[Op]) -> None:
        await self._pass("before_txn")

    async def after_txn(self, revision: int) -> None:
        await self._pass("after_txn")

    async def before_batch(self, batch: Batch) -> None:
        await self._pass("before_batch")


async def test_a_fault_before_a_transaction_leaves_nothing_written() -> None:
    data = MemoryData()
    with pytest.raises(Unavailable):
        await MemoryStore(data, CLOCK, Spoilt("before_txn")).txn([], [Put("a", b"")])
    assert await MemoryStore(data, CLOCK).get("a") is None


async def test_a_fault_after_a_transaction_leaves_it_written_and_watched() -> None:
    data = MemoryData()
    watch = MemoryStore(data, CLOCK).watch("", 1)
    with pytest.raises(Unavailable):
        await MemoryStore(data, CLOCK, Spoilt("after_txn")).txn([], [Put("a", b"")])
    assert await MemoryStore(data, CLOCK).get("a")
    assert await anext(watch) == Batch(1, (Change("a", b""),))


async def test_a_fault_in_reading_and_in_watching_is_the_readers_alone() -> None:
    data = MemoryData()
    cut, sound = MemoryStore(data, CLOCK, Spoilt("before_read", "before_batch")), MemoryStore(data, CLOCK)
    await cut.txn([], [Put("a", b"")])
    with pytest.raises(Unavailable):
        await cut.get("a")
    with pytest.raises(Unavailable):
        await cut.list("")
    with pytest.raises(Unavailable):
        await anext(cut.watch("", 1))
    assert await sound.get("a")


async def test_a_delayed_transaction_is_written_when_it_arrives() -> None:
    data, faults = MemoryData(), Spoilt()
    slow, quick = MemoryStore(data, CLOCK, faults), MemoryStore(data, CLOCK)
    faults.gate.clear()
    writing = asyncio.ensure_future(slow.txn([], [Put("a", b"slow")]))
    assert await quick.txn([], [Put("a", b"quick")]) == 1
    faults.gate.set()
    assert await writing == 2
    entry = await quick.get("a")
    assert entry is not None
    assert entry.value == b"slow"


async def test_a_transaction_of_a_process_that_died_on_the_way_is_not_written() -> None:
    data, faults = MemoryData(), Spoilt()
    dying = MemoryStore(data, CLOCK, faults)
    faults.gate.clear()
    writing = asyncio.ensure_future(dying.txn([], [Put("a", b"")]))
    reading = asyncio.ensure_future(dying.get("a"))
    await asyncio.sleep(0)
    await dying.close()
    faults.gate.set()
    for late in (writing, reading):
        with pytest.raises(Unavailable):
            await late
    assert await MemoryStore(data, CLOCK).get("a") is None


async def test_closing_one_handle_leaves_the_others_open() -> None:
    data = MemoryData()
    one, other = MemoryStore(data, CLOCK), MemoryStore(data, CLOCK)
    ended, going_on = one.watch("", 1), other.watch("", 1)
    await one.txn([], [Put("a", b"1")])
    assert (await anext(ended)).revision == (await anext(going_on)).revision == 1
    await one.close()
    await other.txn([], [Put("a", b"2")])
    assert [batch async for batch in ended] == []
    assert (await anext(going_on)).revision == 2


async def test_the_same_calls_are_told_in_the_same_order_every_time() -> None:
    async def story() -> list[str]:
        told: list[str] = []
        data = MemoryData()

        async def follow(name: str) -> None:
            async for batch in MemoryStore(data, CLOCK).watch("", 1):
                told.append(f"{name} {batch.revision}")

        followers = [asyncio.ensure_future(follow(str(number))) for number in range(20)]
        await asyncio.gather(*(MemoryStore(data, CLOCK).txn([], [Put(f"k{number}", b"")]) for number in range(20)))
        for follower in followers:
            follower.cancel()
        return told

    stories = [await story() for _ in range(5)]
    assert len(stories[0]) == 400
    assert all(other == stories[0] for other in stories)


async def test_a_dropped_watch_costs_nothing_more() -> None:
    data = MemoryData()
    store = MemoryStore(data, CLOCK)
    watch = store.watch("", 1)
    assert data.watches
    await store.txn([], [Put("a", b"")])
    del watch
    await store.txn([], [Put("a", b"")])
    assert not data.watches
