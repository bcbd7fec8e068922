"""What every store promises: watches."""

from __future__ import annotations

import asyncio

import pytest

from covey.store.protocol import (
    Batch,
    Change,
    Compacted,
    Delete,
    Put,
    Store,
    Unmet,
    absent,
)
from tests.kit.stores import PATIENCE_S, Engine, batches, keys, put, rest


async def test_a_watch_has_one_batch_a_revision_in_order(store: Store) -> None:
    first = await store.txn([], [Put("b", b"1"), Put("a", b"2")])
    await store.txn([], [Delete("b"), Put("c", b"3")])
    watch = store.watch("", first)
    await put(store, "a", b"4")
    assert await batches(watch, 3) == [
        Batch(first, (Change("b", b"1"), Change("a", b"2"))),
        Batch(first + 1, (Change("b", None), Change("c", b"3"))),
        Batch(first + 2, (Change("a", b"4"),)),
    ]


async def test_a_watch_has_only_changes_under_its_prefix(store: Store) -> None:
    first = await store.txn([], [Put("a/1", b"1"), Put("b/1", b"2")])
    await put(store, "b/2")
    watch = store.watch("a/", first)
    assert await batches(watch, 1) == [Batch(first, (Change("a/1", b"1"),))]
    await put(store, "b/3")
    await store.txn([], [Put("b/4", b""), Put("a/2", b"3"), Put("a", b"")])
    assert await batches(watch, 1) == [Batch(first + 3, (Change("a/2", b"3"),))]


async def test_a_watch_resumes_from_any_revision(store: Store) -> None:
    first = await put(store, "k0")
    for number in range(1, 20):
        await put(store, f"k{number}")
    for start in range(20):
        found = await batches(store.watch("", first + start), 20 - start)
        assert [batch.revision for batch in found] == list(range(first + start, first + 20))


async def test_a_watch_from_before_the_first_revision_has_all(new_engine: Engine) -> None:
    store = await new_engine.open()
    first = await put(store, "a")
    assert (await batches(store.watch("", 0), 1))[0].revision == first
    await store.close()


async def test_a_watch_may_begin_in_the_future(store: Store) -> None:
    revision = await put(store, "a")
    watch = store.watch("", revision + 3)
    waiting = asyncio.ensure_future(batches(watch, 2))
    for _ in range(4):
        await put(store, "a")
    assert [batch.revision for batch in await waiting] == [revision + 3, revision + 4]


async def test_listing_and_then_watching_misses_nothing_under_load(store: Store) -> None:
    """The way every view is filled: a listing, then all that came after it."""

    async def write(writer: int) -> None:
        for number in range(40):
            await store.txn(
                [], [Put(f"{writer}/{number}", b"x"), *([Delete(f"{writer}/{number - 1}")] if number % 3 == 0 else [])]
            )

    async def follow() -> tuple[set[str], int]:
        listing = await store.list("")
        view = {entry.key for entry in listing.entries}
        revision = listing.revision
        async for batch in store.watch("", listing.revision + 1):
            assert batch.revision == revision + 1
            revision = batch.revision
            for change in batch.changes:
                if change.key == "end":
                    return view, revision
                (view.discard if change.value is None else view.add)(change.key)
        raise AssertionError("the watch ended by itself")

    async def start_late(turns: int) -> tuple[set[str], int]:
        for _ in range(turns):
            await store.txn([], [])
        return await follow()

    followers = [asyncio.ensure_future(start_late(turns)) for turns in range(10)]
    async with asyncio.timeout(PATIENCE_S):
        await asyncio.gather(*(write(writer) for writer in range(5)))
        end = await put(store, "end")
        seen = await asyncio.gather(*followers)
    present = set(await keys(store, "")) - {"end"}
    assert all(view == present and revision == end for view, revision in seen)


async def test_a_slow_reader_gets_everything_in_the_end(store: Store) -> None:
    first = await put(store, "a")
    watch = store.watch("", first)
    assert (await batches(watch, 1))[0].revision == first
    for _ in range(15):
        await asyncio.gather(*(put(store, "a") for _ in range(200)))
    assert [batch.revision for batch in await batches(watch, 3_000)] == list(range(first + 1, first + 3_001))
    last = await put(store, "b")
    assert await batches(watch, 1) == [Batch(last, (Change("b", b"v"),))]


async def test_when_a_transaction_returns_a_waiting_watcher_has_handled_it(store: Store) -> None:
    handled: list[int] = []

    upcoming = (await store.list("")).revision + 1

    async def follow(prefix: str) -> None:
        async for batch in store.watch(prefix, upcoming):
            handled.append(batch.revision)

    followers = [asyncio.ensure_future(follow(prefix)) for prefix in ("", "a")]
    last = await put(store, "a")
    for _ in range(30):
        handled.clear()
        last = await put(store, "a")
        assert handled == [last, last]

    async def write_and_look() -> None:
        revision = await put(store, "a")
        assert handled.count(revision) == 2

    await asyncio.gather(*(write_and_look() for _ in range(100)))
    await store.close()
    await asyncio.gather(*followers)


async def test_an_unmet_transaction_is_not_seen_by_watchers(store: Store) -> None:
    watch = store.watch("", (await store.list("")).revision + 1)
    first = await put(store, "a")
    with pytest.raises(Unmet):
        await store.txn([absent("a")], [Put("a", b"never")])
    second = await put(store, "b")
    assert [batch.revision for batch in await batches(watch, 2)] == [first, second]


async def test_a_compacted_revision_says_from_where_to_watch(engine: Engine) -> None:
    store = await engine.open(kept=100)
    for _ in range(10):
        await asyncio.gather(*(put(store, "a") for _ in range(100)))
    last = await put(store, "a")
    watch = store.watch("", 1)
    with pytest.raises(Compacted) as caught:
        await batches(watch, 1)
    assert await rest(watch) == []
    oldest = caught.value.oldest
    assert 1 < oldest <= last - 99
    found = await batches(store.watch("", oldest), last - oldest + 1)
    assert [batch.revision for batch in found] == list(range(oldest, last + 1))
    with pytest.raises(Compacted):
        await batches(store.watch("", oldest - 1), 1)
    await store.close()


async def test_a_watch_that_lags_beyond_what_is_kept_is_told_so(engine: Engine) -> None:
    store = await engine.open(kept=100)
    watch = store.watch("", (await store.list("")).revision + 1)
    await put(store, "a")
    await batches(watch, 1)
    for _ in range(20):
        await asyncio.gather(*(put(store, "a") for _ in range(100)))
    with pytest.raises(Compacted):
        await batches(watch, 2_000)
    await store.close()
