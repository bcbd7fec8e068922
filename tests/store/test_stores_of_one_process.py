"""What only a store promises that one process has to itself: concurrent transactions are carried out in the order in which they were asked
for. On the way to etcd they may overtake each other."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from covey.store.protocol import Batch, Change, Delete, Entry, Put, Store, Unchanged, Unmet, absent
from tests.kit.stores import MemoryEngine, SqliteEngine, batches, put


@pytest.fixture(params=["memory", "sqlite"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    opened = await (MemoryEngine() if request.param == "memory" else SqliteEngine(tmp_path)).open()
    yield opened
    await opened.close()


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
