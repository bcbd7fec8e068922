"""Any sequence of calls, on every engine, compared with the plainest model: a dict and a list of what happened."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator, Awaitable
from pathlib import Path
from typing import TypeVar

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule, run_state_machine_as_test

from covey.base.clock import SystemClock
from covey.store.memory import MemoryData, MemoryStore
from covey.store.protocol import Batch, Change, Delete, Entry, Op, Put, Store, Unchanged, Unmet
from covey.store.sqlite import SqliteStore

T = TypeVar("T")
KEYS = st.sampled_from(
    ["a", "a/", "a/1", "a/2", "a0", "b", "é", "\ud7ff", "\ue000", "\U0010ffff", "\U0010ffff\U0010ffff", "x\0y"]
)
PREFIXES = st.sampled_from(["", "a", "a/", "b", "\ud7ff", "\U0010ffff", "x\0", "zz"])
VALUES = st.binary(max_size=8)
OPS = st.lists(st.one_of(st.builds(Put, KEYS, VALUES), st.builds(Delete, KEYS)), max_size=5, unique_by=lambda op: op.key)
# how a comparison is wrong: 0 is right
SLIPS = st.sampled_from([0, 0, 0, 0, 0, 1, -1])
TRANSACTIONS = st.tuples(st.lists(st.tuples(KEYS, SLIPS), max_size=3), OPS)


class StoreMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.records: dict[str, Entry] = {}
        self.history: list[Batch] = []
        self.watches: list[tuple[AsyncIterator[Batch], str, int]] = []  # iterator, prefix, next revision
        self.store: Store

    def open(self) -> Store:
        raise NotImplementedError

    def run(self, call: Awaitable[T]) -> T:
        async def in_time() -> T:
            async with asyncio.timeout(20):
                return await call

        return self.runner.run(in_time())

    @property
    def revision(self) -> int:
        return len(self.history)

    def apply(self, compare: list[Unchanged], ops: list[Op]) -> int | str:
        """The model: the revision of a transaction, or the key that was unmet."""
        for comparison in compare:
            if (self.records[comparison.key].revision if comparison.key in self.records else 0) != comparison.revision:
                return comparison.key
        changes = [
            Change(op.key, op.value if isinstance(op, Put) else None)
            for op in ops
            if isinstance(op, Put) or op.key in self.records
        ]
        if changes:
            self.history.append(Batch(self.revision + 1, tuple(changes)))
            for change in changes:
                if change.value is None:
                    del self.records[change.key]
                else:
                    self.records[change.key] = Entry(change.key, change.value, self.revision)
        return self.revision

    def comparisons(self, wanted: list[tuple[str, int]]) -> list[Unchanged]:
        return [Unchanged(key, (self.records[key].revision if key in self.records else 0) + slip) for key, slip in wanted]

    async def outcome(self, compare: list[Unchanged], ops: list[Op]) -> int | str:
        try:
            return await self.store.txn(compare, ops)
        except Unmet as error:
            return error.key

    @initialize()
    def begin(self) -> None:
        self.store = self.open()

    @rule(transaction=TRANSACTIONS)
    def write(self, transaction: tuple[list[tuple[str, int]], list[Op]]) -> None:
        compare, ops = self.comparisons(transaction[0]), transaction[1]
        assert self.run(self.outcome(compare, ops)) == self.apply(compare, ops)

    @rule(transactions=st.lists(TRANSACTIONS, min_size=2, max_size=6))
    def write_together(self, transactions: list[tuple[list[tuple[str, int]], list[Op]]]) -> None:
        """Comparisons are with what was read before any of them: the later ones may find themselves overtaken."""
        requests = [(self.comparisons(wanted), ops) for wanted, ops in transactions]

        async def all_at_once() -> list[int | str]:
            return await asyncio.gather(*(self.outcome(compare, ops) for compare, ops in requests))

        assert self.run(all_at_once()) == [self.apply(compare, ops) for compare, ops in requests]

    @rule(prefix=PREFIXES, start=st.one_of(st.just(""), KEYS), limit=st.integers(0, 4), descending=st.booleans())
    def look(self, prefix: str, start: str, limit: int, descending: bool) -> None:
        found = [entry for key, entry in sorted(self.records.items()) if key.startswith(prefix)]
        if descending:
            found = [entry for entry in reversed(found) if not start or entry.key < start]
        else:
            found = [entry for entry in found if entry.key >= start]
        listing = self.run(self.store.list(prefix, start=start, limit=limit, descending=descending))
        assert listing.entries == tuple(found[: limit or None])
        assert listing.revision == self.revision

    @rule(key=KEYS)
    def get(self, key: str) -> None:
        assert self.run(self.store.get(key)) == self.records.get(key)

    @rule(prefix=PREFIXES, back=st.integers(-2, 20))
    def watch(self, prefix: str, back: int) -> None:
        start = max(0, self.revision + 1 - back)
        self.watches.append((self.store.watch(prefix, start), prefix, start))

    @precondition(lambda self: self.watches)
    @rule(data=st.data())
    def follow(self, data: st.DataObject) -> None:
        """Read all that a watch has to tell, and no more."""
        place = data.draw(st.integers(0, len(self.watches) - 1))
        watch, prefix, start = self.watches[place]
        for batch in self.history:
            changes = tuple(change for change in batch.changes if change.key.startswith(prefix))
            if batch.revision >= start and changes:
                assert self.run(anext(watch)) == Batch(batch.revision, changes)
        self.watches[place] = (watch, prefix, max(start, self.revision + 1))

    @rule()
    def reopen(self) -> None:
        self.run(self.store.close())
        self.watches.clear()
        self.store = self.open()

    @invariant()
    def holds_what_the_model_holds(self) -> None:
        if hasattr(self, "store"):
            assert self.run(self.store.list("")).entries == tuple(entry for _, entry in sorted(self.records.items()))

    def teardown(self) -> None:
        if hasattr(self, "store"):
            self.run(self.store.close())
        self.runner.close()


class MemoryMachine(StoreMachine):
    def __init__(self) -> None:
        super().__init__()
        self.data = MemoryData()

    def open(self) -> Store:
        return MemoryStore(self.data, SystemClock())


class SqliteMachine(StoreMachine):
    def __init__(self) -> None:
        super().__init__()
        self.directory = Path(tempfile.mkdtemp(prefix="covey-store-"))

    def open(self) -> Store:
        return self.run(SqliteStore.open(self.directory / "store.db", SystemClock(), reserve=4096))

    def teardown(self) -> None:
        super().teardown()
        shutil.rmtree(self.directory)


PROFILE = settings(max_examples=60, stateful_step_count=30, deadline=None, database=None, derandomize=True)


def test_any_use_of_a_memory_store_agrees_with_the_model() -> None:
    run_state_machine_as_test(MemoryMachine, settings=PROFILE)


def test_any_use_of_a_sqlite_store_agrees_with_the_model() -> None:
    run_state_machine_as_test(SqliteMachine, settings=PROFILE)
