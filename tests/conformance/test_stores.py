"""What every engine of the Store protocol promises: each sentence of `store/protocol.py` is a claim here."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Protocol

import pytest

from covey.base.errors import BadInput, Conflict, Unavailable
from covey.store.memory import MemoryData, MemoryStore
from covey.store.protocol import (
    LARGEST_REQUEST,
    LARGEST_TRANSACTION,
    Batch,
    Change,
    Compacted,
    Delete,
    Entry,
    Put,
    Store,
    Unchanged,
    Unmet,
    absent,
)
from covey.store.sqlite import SqliteStore

PATIENCE_S = 20


class SetClock:
    """A clock that moves when it is told to."""

    def __init__(self) -> None:
        self.seconds = 1_000.0

    def now(self) -> float:
        return self.seconds

    def monotonic(self) -> float:
        return self.seconds

    async def sleep(self, seconds: float) -> None:
        self.seconds += seconds


class Engine(Protocol):
    """How to open an engine on the same records again and again."""

    clock: SetClock

    async def open(self, kept: int = 10_000) -> Store: ...


class MemoryEngine:
    def __init__(self) -> None:
        self.clock = SetClock()
        self.data: MemoryData | None = None

    async def open(self, kept: int = 10_000) -> Store:
        self.data = self.data or MemoryData(kept)
        return MemoryStore(self.data, self.clock)


class SqliteEngine:
    def __init__(self, directory: Path) -> None:
        self.clock = SetClock()
        self.path = directory / "store.db"

    async def open(self, kept: int = 10_000) -> Store:
        return await SqliteStore.open(self.path, self.clock, kept=kept, reserve=2**16)


@pytest.fixture(params=["memory", "sqlite"])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Engine:
    return MemoryEngine() if request.param == "memory" else SqliteEngine(tmp_path)


@pytest.fixture
async def store(engine: Engine) -> AsyncIterator[Store]:
    opened = await engine.open()
    yield opened
    await opened.close()


async def put(store: Store, key: str, value: bytes = b"v") -> int:
    return await store.txn([], [Put(key, value)])


async def keys(store: Store, prefix: str, start: str = "", limit: int = 0, descending: bool = False) -> list[str]:
    listing = await store.list(prefix, start=start, limit=limit, descending=descending)
    return [entry.key for entry in listing.entries]


async def batches(watch: AsyncIterator[Batch], count: int) -> list[Batch]:
    async with asyncio.timeout(PATIENCE_S):
        return [await anext(watch) for _ in range(count)]


async def rest(watch: AsyncIterator[Batch]) -> list[Batch]:
    async with asyncio.timeout(PATIENCE_S):
        return [batch async for batch in watch]


# get and list


async def test_an_absent_key_is_none(store: Store) -> None:
    assert await store.get("a") is None


async def test_an_entry_has_its_value_and_the_revision_that_wrote_it(store: Store) -> None:
    first = await put(store, "a", b"1")
    await put(store, "b", b"2")
    assert await store.get("a") == Entry("a", b"1", first)
    third = await put(store, "a", b"\x00\xff")
    assert third == first + 2
    assert await store.get("a") == Entry("a", b"\x00\xff", third)


async def test_an_empty_value_is_a_value(store: Store) -> None:
    revision = await put(store, "a", b"")
    assert await store.get("a") == Entry("a", b"", revision)


async def test_a_new_store_lists_nothing(store: Store) -> None:
    listing = await store.list("")
    assert listing.entries == ()
    assert await put(store, "a") == listing.revision + 1


async def test_a_listing_is_in_key_order_and_as_of_the_last_revision(store: Store) -> None:
    for key in ("b", "a/2", "a/10", "é", "a/1", "Z", "\U0001f426", "\uffff"):
        last = await put(store, key)
    listing = await store.list("")
    assert [entry.key for entry in listing.entries] == ["Z", "a/1", "a/10", "a/2", "b", "é", "\uffff", "\U0001f426"]
    assert listing.revision == last


async def test_a_listing_has_the_keys_with_its_prefix_and_no_others(store: Store) -> None:
    for key in ("a", "a.", "a/", "a/1", "a/\U0010ffff", "a0", "b", "A/1", "a%", "a_"):
        await put(store, key)
    assert await keys(store, "a/") == ["a/", "a/1", "a/\U0010ffff"]
    assert await keys(store, "a/\U0010ffff") == ["a/\U0010ffff"]
    assert await keys(store, "a_") == ["a_"]
    assert await keys(store, "c") == []


async def test_a_listing_starts_at_its_start_and_ends_at_its_limit(store: Store) -> None:
    for key in ("a/1", "a/2", "a/3", "a/4", "b"):
        await put(store, key)
    assert await keys(store, "a/", start="a/2") == ["a/2", "a/3", "a/4"]
    assert await keys(store, "a/", start="a/2", limit=2) == ["a/2", "a/3"]
    assert await keys(store, "a/", start="a/25", limit=1) == ["a/3"]
    assert await keys(store, "a/", limit=3) == ["a/1", "a/2", "a/3"]
    assert await keys(store, "a/", start="A") == ["a/1", "a/2", "a/3", "a/4"]
    assert await keys(store, "a/", start="b") == []


async def test_a_descending_listing_goes_down_from_before_its_start(store: Store) -> None:
    for key in ("a/1", "a/2", "a/3", "a/4", "b"):
        await put(store, key)
    assert await keys(store, "a/", descending=True) == ["a/4", "a/3", "a/2", "a/1"]
    assert await keys(store, "", descending=True, limit=2) == ["b", "a/4"]
    assert await keys(store, "a/", start="a/3", descending=True) == ["a/2", "a/1"]
    assert await keys(store, "", start="a/3", descending=True, limit=1) == ["a/2"]
    assert await keys(store, "a/", start="z", descending=True, limit=1) == ["a/4"]
    assert await keys(store, "a/", start="a/1", descending=True) == []


async def test_paging_through_a_listing_shows_every_key_once(store: Store) -> None:
    await store.txn([], [Put(f"k/{number:03}", b"") for number in range(100)])
    seen: list[str] = []
    start = ""
    while page := await keys(store, "k/", start=start, limit=7):
        seen += page
        start = page[-1] + "\0"
    assert seen == [f"k/{number:03}" for number in range(100)]


async def test_a_listing_of_fewer_than_no_entries_is_refused(store: Store) -> None:
    with pytest.raises(BadInput):
        await store.list("", limit=-1)


# txn


async def test_all_operations_of_a_transaction_have_one_revision(store: Store) -> None:
    await put(store, "old")
    revision = await store.txn([], [Put("a", b"1"), Put("b", b"2"), Delete("old")])
    assert await store.get("a") == Entry("a", b"1", revision)
    assert await store.get("b") == Entry("b", b"2", revision)
    assert await store.get("old") is None
    assert (await store.list("")).revision == revision


async def test_each_transaction_has_the_next_revision(store: Store) -> None:
    first = await put(store, "a")
    assert [await put(store, "a") for _ in range(5)] == [first + 1, first + 2, first + 3, first + 4, first + 5]


async def test_a_comparison_with_the_last_revision_holds(store: Store) -> None:
    first = await store.txn([absent("a")], [Put("a", b"1")])
    second = await store.txn([Unchanged("a", first), absent("b")], [Put("a", b"2")])
    assert await store.get("a") == Entry("a", b"2", second)


async def test_an_unmet_comparison_names_the_first_key_that_differs_and_writes_nothing(store: Store) -> None:
    first = await put(store, "a", b"1")
    second = await put(store, "b", b"2")
    with pytest.raises(Unmet) as caught:
        await store.txn(
            [Unchanged("a", first), Unchanged("b", first), absent("a")], [Put("a", b"x"), Delete("b"), Put("c", b"x")]
        )
    assert caught.value.key == "b"
    assert isinstance(caught.value, Conflict)
    assert (await store.list("")).entries == (Entry("a", b"1", first), Entry("b", b"2", second))
    assert (await store.list("")).revision == second


@pytest.mark.parametrize("wrong", [-1, 1_000_000])
async def test_a_comparison_with_another_revision_is_unmet(store: Store, wrong: int) -> None:
    await put(store, "a")
    for key in ("a", "b"):
        with pytest.raises(Unmet):
            await store.txn([Unchanged(key, wrong)], [Put("c", b"")])
    with pytest.raises(Unmet):
        await store.txn([absent("a")], [])
    assert await keys(store, "") == ["a"]


async def test_a_deleted_key_is_absent_again(store: Store) -> None:
    first = await put(store, "a")
    await store.txn([Unchanged("a", first)], [Delete("a")])
    with pytest.raises(Unmet):
        await store.txn([Unchanged("a", first)], [])
    await store.txn([absent("a")], [Put("a", b"again")])
    assert await keys(store, "") == ["a"]


async def test_an_empty_transaction_returns_the_present_revision(store: Store) -> None:
    before = (await store.list("")).revision
    assert await store.txn([], []) == before
    revision = await put(store, "a")
    assert await store.txn([], []) == revision
    assert await store.txn([Unchanged("a", revision)], []) == revision
    assert (await store.list("")).revision == revision


async def test_deleting_an_absent_key_is_no_change(store: Store) -> None:
    revision = await put(store, "a")
    watch = store.watch("", revision + 1)
    assert await store.txn([], [Delete("b"), Delete("c")]) == revision
    assert (await store.list("")).revision == revision
    assert await store.txn([], [Delete("b"), Put("c", b"")]) == revision + 1
    assert await batches(watch, 1) == [Batch(revision + 1, (Change("c", b""),))]


async def test_writing_the_same_value_again_is_a_change(store: Store) -> None:
    first = await put(store, "a", b"1")
    assert await put(store, "a", b"1") == first + 1
    assert await store.get("a") == Entry("a", b"1", first + 1)


async def test_the_largest_transaction_is_written_and_a_larger_one_refused(store: Store) -> None:
    largest = [Put(f"k{number:03}", b"") for number in range(LARGEST_TRANSACTION)]
    revision = await store.txn([absent(op.key) for op in largest], largest)
    watch = store.watch("", revision)
    assert (await batches(watch, 1))[0].changes == tuple(Change(op.key, b"") for op in largest)
    with pytest.raises(BadInput):
        await store.txn([], [*largest, Put("one more", b"")])
    with pytest.raises(BadInput):
        await store.txn([absent(f"x{number}") for number in range(LARGEST_TRANSACTION + 1)], [])
    assert (await store.list("")).revision == revision


async def test_the_largest_request_is_written_and_a_larger_one_refused(store: Store) -> None:
    value = bytes(LARGEST_REQUEST - 2)
    revision = await store.txn([absent("a")], [Put("a", value)])
    assert await store.get("a") == Entry("a", value, revision)
    with pytest.raises(BadInput):
        await store.txn([absent("é")], [Put("a", value)])
    with pytest.raises(BadInput):
        await store.txn([], [Put("b", value[: len(value) // 2]), Put("c", value[len(value) // 2 :] + b"...")])
    assert await keys(store, "") == ["a"]


async def test_a_key_cannot_be_written_twice_in_one_transaction(store: Store) -> None:
    with pytest.raises(BadInput) as caught:
        await store.txn([], [Put("b", b"1"), Put("a", b"1"), Delete("a")])
    assert caught.value.object == "a"
    assert await keys(store, "") == []


@pytest.mark.parametrize("key", ["", "\ud800"])
async def test_what_cannot_be_a_key_is_refused(store: Store, key: str) -> None:
    with pytest.raises(BadInput):
        await store.txn([], [Put(key, b"")])
    with pytest.raises(BadInput):
        await store.txn([absent(key)], [])
    with pytest.raises(BadInput):
        await store.get(key)


async def test_a_prefix_that_no_key_can_have_is_refused(store: Store) -> None:
    with pytest.raises(BadInput):
        await store.list("\ud800")
    with pytest.raises(BadInput):
        await store.list("", start="\ud800")
    with pytest.raises(BadInput):
        await batches(store.watch("\ud800", 1), 1)


async def test_of_many_transactions_on_one_key_exactly_one_wins(store: Store) -> None:
    async def claim(number: int) -> int:
        return await store.txn([absent("leader")], [Put("leader", str(number).encode())])

    results = await asyncio.gather(*(claim(number) for number in range(50)), return_exceptions=True)
    won = [result for result in results if isinstance(result, int)]
    assert len(won) == 1
    assert sum(isinstance(result, Unmet) for result in results) == 49
    entry = await store.get("leader")
    assert entry is not None
    assert entry.revision == won[0]
    assert results[int(entry.value)] == won[0]


async def test_concurrent_transactions_that_read_and_write_lose_no_update(store: Store) -> None:
    await put(store, "sum", b"0")

    async def add_one() -> None:
        while True:
            entry = await store.get("sum")
            assert entry is not None
            try:
                await store.txn([Unchanged("sum", entry.revision)], [Put("sum", str(int(entry.value) + 1).encode())])
            except Unmet:
                continue
            return

    async with asyncio.timeout(PATIENCE_S):
        await asyncio.gather(*(add_one() for _ in range(20)))
    entry = await store.get("sum")
    assert entry is not None
    assert entry.value == b"20"


async def test_concurrent_transactions_see_the_ones_before_them(store: Store) -> None:
    """Submitted together, so an engine that writes in groups has them in one."""
    base = await put(store, "a", b"0")
    first, second, third, fourth, fifth = await asyncio.gather(
        store.txn([Unchanged("a", base)], [Put("a", b"1")]),
        store.txn([Unchanged("a", base)], [Put("a", b"never"), Put("b", b"never")]),
        store.txn([Unchanged("a", base + 1), absent("b")], [Delete("a"), Put("b", b"2")]),
        store.txn([absent("a"), Unchanged("b", base + 2)], [Delete("a")]),
        store.txn([absent("a")], [Put("a", b"3"), Delete("b")]),
        return_exceptions=True,
    )
    assert (first, third, fourth, fifth) == (base + 1, base + 2, base + 2, base + 3)
    assert isinstance(second, Unmet)
    assert second.key == "a"
    assert (await store.list("")).entries == (Entry("a", b"3", base + 3),)
    assert await batches(store.watch("", base + 1), 3) == [
        Batch(base + 1, (Change("a", b"1"),)),
        Batch(base + 2, (Change("a", None), Change("b", b"2"))),
        Batch(base + 3, (Change("a", b"3"), Change("b", None))),
    ]


async def test_what_was_acknowledged_is_read_at_once(store: Store) -> None:
    async def write_and_read(number: int) -> None:
        revision = await put(store, f"k{number}")
        assert await store.get(f"k{number}") == Entry(f"k{number}", b"v", revision)
        assert (await store.list("k")).revision >= revision

    await asyncio.gather(*(write_and_read(number) for number in range(100)))


async def test_a_transaction_whose_list_is_changed_afterwards_is_written_as_it_was(store: Store) -> None:
    ops = [Put("a", b"1")]
    writing = asyncio.ensure_future(store.txn([], ops))
    await asyncio.sleep(0)
    ops[0] = Put("b", b"2")
    await writing
    assert await keys(store, "") == ["a"]


async def test_a_cancelled_caller_harms_nobody_else(store: Store) -> None:
    cancelled = asyncio.ensure_future(put(store, "a"))
    other = asyncio.ensure_future(put(store, "b"))
    await asyncio.sleep(0)
    cancelled.cancel()
    assert await other
    await put(store, "c")
    assert set(await keys(store, "")) >= {"b", "c"}


# watch


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


async def test_a_watch_from_before_the_first_revision_has_all(store: Store) -> None:
    first = await put(store, "a")
    assert (await batches(store.watch("", 0), 1))[0].revision == first


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

    async def follow(prefix: str) -> None:
        async for batch in store.watch(prefix, 1):
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
    watch = store.watch("", 1)
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
    watch = store.watch("", 1)
    await put(store, "a")
    await batches(watch, 1)
    for _ in range(20):
        await asyncio.gather(*(put(store, "a") for _ in range(100)))
    with pytest.raises(Compacted):
        await batches(watch, 2_000)
    await store.close()


# leases


async def test_a_lease_lives_as_long_as_it_is_renewed_in_time(store: Store, engine: Engine) -> None:
    lease = await store.lease(10)
    for _ in range(5):
        engine.clock.seconds += 9
        await lease.renew()
    engine.clock.seconds += 10
    with pytest.raises(Unavailable):
        await lease.renew()
    with pytest.raises(Unavailable):
        await lease.renew()


async def test_a_revoked_lease_has_ended(store: Store) -> None:
    lease = await store.lease(10)
    other = await store.lease(10)
    await lease.revoke()
    with pytest.raises(Unavailable):
        await lease.renew()
    await other.renew()


async def test_an_ended_lease_does_not_come_back_when_the_clock_is_set_back(store: Store, engine: Engine) -> None:
    expired, revoked = await store.lease(10), await store.lease(10)
    await revoked.revoke()
    engine.clock.seconds += 20
    for lease in (expired, revoked):
        with pytest.raises(Unavailable):
            await lease.renew()
    engine.clock.seconds -= 40
    for lease in (expired, revoked):
        with pytest.raises(Unavailable):
            await lease.renew()


async def test_a_lease_ends_with_the_store_that_gave_it(store: Store) -> None:
    lease = await store.lease(10)
    await store.close()
    with pytest.raises(Unavailable):
        await lease.renew()


async def test_no_lease_has_the_id_of_one_that_a_record_tells_of(engine: Engine) -> None:
    seen: set[int] = set()
    for _ in range(4):
        store = await engine.open()
        for _ in range(3):
            lease = await store.lease(1)
            assert lease.id not in seen
            seen.add(lease.id)
            await put(store, "leader", str(lease.id).encode())
        await store.close()


@pytest.mark.parametrize("ttl_s", [0, -1, float("nan")])
async def test_a_lease_of_no_time_is_refused(store: Store, ttl_s: float) -> None:
    with pytest.raises(BadInput):
        await store.lease(ttl_s)


# close, and open again


async def test_a_closed_store_refuses_everything(store: Store) -> None:
    await store.close()
    with pytest.raises(Unavailable):
        await store.get("a")
    with pytest.raises(Unavailable):
        await store.list("")
    with pytest.raises(Unavailable):
        await put(store, "a")
    with pytest.raises(Unavailable):
        await store.lease(1)
    with pytest.raises(Unavailable):
        await batches(store.watch("", 1), 1)
    await store.close()


async def test_closing_ends_watches_after_what_they_were_handed(store: Store) -> None:
    first = await put(store, "a")
    followers = [asyncio.ensure_future(rest(store.watch("", first + 1))) for _ in range(3)]
    unread = store.watch("", first + 1)
    pending = asyncio.ensure_future(anext(unread))
    second = await put(store, "a")
    assert (await pending).revision == second
    third = await put(store, "b")
    await store.close()
    for follower in followers:
        assert [batch.revision for batch in await follower] == [second, third]
    assert [batch.revision for batch in await rest(unread)] == [third]
    assert await rest(unread) == []


async def test_records_outlive_the_store(engine: Engine) -> None:
    store = await engine.open()
    first = await put(store, "a", b"1")
    second = await store.txn([], [Put("b", b"2"), Delete("a")])
    await store.close()
    store = await engine.open()
    listing = await store.list("")
    assert listing.entries == (Entry("b", b"2", second),)
    assert listing.revision == second
    assert [batch.revision for batch in await batches(store.watch("", first), 2)] == [first, second]
    with pytest.raises(Unmet):
        await store.txn([absent("b")], [])
    assert await put(store, "a") == second + 1
    await store.close()


async def test_a_revision_is_never_given_twice_even_when_all_was_deleted(engine: Engine) -> None:
    store = await engine.open()
    await put(store, "a")
    last = await store.txn([], [Delete("a")])
    await store.close()
    store = await engine.open()
    assert (await store.list("")).revision == last
    assert await put(store, "a") == last + 1
    await store.close()
