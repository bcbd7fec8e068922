"""Engines of the Store protocol, opened again and again on the same records, and what their tests ask of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Protocol

from covey.store.memory import MemoryData, MemoryStore
from covey.store.protocol import Batch, Put, Store
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
