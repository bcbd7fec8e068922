"""What every store promises: transactions."""

from __future__ import annotations

import asyncio

import pytest

from covey.base.errors import BadInput, Conflict
from covey.store.protocol import (
    LARGEST_REQUEST,
    LARGEST_TRANSACTION,
    Batch,
    Change,
    Delete,
    Entry,
    Put,
    Store,
    Unchanged,
    Unmet,
    absent,
)
from tests.kit.stores import PATIENCE_S, batches, keys, put


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
