"""The store moves, and is killed at each point of it: afterwards all records are in one place, whole, and the other one opens no more."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from covey.agent.place import Place, Shared, is_home, read_shared
from covey.base.clock import SystemClock
from covey.base.errors import Refused, StepFailed
from covey.controller.lead import take_leadership
from covey.main.layout import Layout, prepare
from covey.main.moving import Files, Reached, move_to_etcd, move_to_sqlite, prepare_etcd, read_move, settle_move
from covey.model import codec
from covey.model import record as records
from covey.model.job import Leadership
from covey.model.membership import Membership
from covey.store.memory import MemoryData, MemoryStore
from covey.store.moving import LEADERSHIP, TOMBSTONE, bury, check_not_moved, copy, digest
from covey.store.protocol import Op, Put, Store, Unchanged
from covey.store.sqlite import SqliteStore

CLOCK = SystemClock()
AGENT = "10.0.0.1:7444"
COUNT = 250  # more than a transaction takes
TO_ETCD = ("begun", "seated", "copied", "buried", "pointed", "done")
BACK = ("begun", "copied", "buried", "noted", "renamed", "dropped", "done")


class Killed(BaseException):
    """As by kill -9: nothing that the program does catches it."""


def killed_at(point: str) -> Reached:
    def reached(here: str) -> None:
        if here == point:
            raise Killed(here)

    return reached


@dataclass
class Machine:
    """One whose etcd is pretended."""

    layout: Layout
    etcd: MemoryData = field(default_factory=MemoryData)

    async def open_etcd(self, shared: Shared) -> Store:
        return MemoryStore(self.etcd, CLOCK)

    async def fill(self, store: Store) -> None:
        for number in range(COUNT):
            await store.txn([], [Put(f"state/x/{number:04d}", b"v" * number)])
        await store.txn([], [Put("secret/token", b"s"), Put("history/job/1", b"h")])
        await take_leadership(store, CLOCK, "n1")

    def join(self, cluster: str) -> None:
        self.layout.identity.mkdir(parents=True)
        told = json.dumps(codec.encode(Membership(cluster, "demo", "n1", AGENT, ())))
        (self.layout.identity / "membership.json").write_text(told)

    async def settle(self) -> None:
        await settle_move(self.layout, CLOCK, self.open_etcd)

    async def present(self) -> Store:
        """The store that counts, opened as the controller does."""
        if read_shared(self.layout.shared_store):
            store: Store = MemoryStore(self.etcd, CLOCK)
        else:
            store = await SqliteStore.open(self.layout.store, CLOCK, reserve=4096)
        await check_not_moved(store, "store")
        return store

    def left(self) -> list[str]:
        """What lies in the store's directory, but for what SQLite keeps beside a database."""
        found = (path.name for path in self.layout.store.parent.iterdir())
        return sorted(name for name in found if not name.startswith("covey.db"))


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    layout = Layout(tmp_path / "s")
    prepare(layout)
    return Machine(layout)


async def epoch_of(store: Store) -> tuple[int, int]:
    found = await store.get(LEADERSHIP)
    led = records.from_bytes(LEADERSHIP, found.value) if found else None
    assert isinstance(led, Leadership)
    return led.incarnation, led.epoch


async def go(machine: Machine, point: str) -> None:
    """To etcd, until killed at the point."""
    reached = killed_at(point)
    source = await SqliteStore.open(machine.layout.store, CLOCK, reserve=4096)
    try:
        move = await prepare_etcd(machine.layout, AGENT, CLOCK, reached)
        machine.etcd = MemoryData()  # the data of another seat is gone
        await move_to_etcd(machine.layout, source, MemoryStore(machine.etcd, CLOCK), move, reached)
    finally:
        await source.close()


@pytest.mark.parametrize("point", [*TO_ETCD, "never"])
async def test_a_move_to_etcd_may_be_killed_at_each_point(machine: Machine, point: str) -> None:
    source = await SqliteStore.open(machine.layout.store, CLOCK, reserve=4096)
    await machine.fill(source)
    before, led = await digest(source), await epoch_of(source)
    await source.close()
    try:
        await go(machine, point)
    except Killed:
        pass
    await machine.settle()
    await machine.settle()
    assert read_move(machine.layout) is None
    moved = point not in ("begun", "seated", "copied")
    assert bool(read_shared(machine.layout.shared_store)) == moved
    store = await machine.present()
    assert await digest(store) == before
    assert await epoch_of(store) == ((led[0] + 1, led[1]) if moved else led)
    await store.close()
    assert machine.left() == (["etcd", "etcd.json"] if moved else [])
    if moved:
        old = await SqliteStore.open(machine.layout.store, CLOCK, reserve=4096)
        with pytest.raises(Refused, match="have moved to etcd"):
            await check_not_moved(old, "store")
        await old.close()
    else:
        await go(machine, "never")
        assert await digest(await machine.present()) == before


@pytest.mark.parametrize("point", [*BACK, "never"])
@pytest.mark.parametrize("was_first", [True, False])
async def test_a_move_back_may_be_killed_at_each_point(machine: Machine, point: str, was_first: bool) -> None:
    """On the machine that the cluster began on, and on another one, which has an old store of its own."""
    machine.join("c1")
    source = await SqliteStore.open(machine.layout.store, CLOCK, reserve=4096)
    await machine.fill(source)
    await source.close()
    await go(machine, "never")
    if not was_first:
        machine.layout.store.unlink()
        old = await SqliteStore.open(machine.layout.store, CLOCK, reserve=4096)
        await old.txn([], [Put("state/x/old", b"of another life")])
        await old.close()
    store = await machine.present()
    before, led = await digest(store), await epoch_of(store)
    try:
        await move_to_sqlite(machine.layout, store, CLOCK, killed_at(point))
    except Killed:
        pass
    await machine.settle()
    await machine.settle()
    assert read_move(machine.layout) is None
    moved = point not in ("begun", "copied")
    assert bool(read_shared(machine.layout.shared_store)) != moved
    store = await machine.present()
    assert await digest(store) == before
    assert await epoch_of(store) == ((led[0] + 1, led[1]) if moved else led)
    await store.close()
    assert machine.left() == (["home"] if moved else ["etcd", "etcd.json"])
    assert is_home(Place(machine.layout.store.parent), "c1") == moved
    if moved:
        with pytest.raises(Refused, match="have moved to the machine that is left"):
            await check_not_moved(MemoryStore(machine.etcd, CLOCK), "store")


async def test_a_store_goes_out_and_comes_back_and_out_again(machine: Machine) -> None:
    source = await SqliteStore.open(machine.layout.store, CLOCK, reserve=4096)
    await machine.fill(source)
    before = await digest(source)
    await source.close()
    for _ in range(2):
        await go(machine, "never")
        store = await machine.present()
        assert await digest(store) == before
        await move_to_sqlite(machine.layout, store, CLOCK)
        back = await machine.present()
        assert await digest(back) == before
        await back.close()
    assert machine.left() == []


async def test_nothing_is_copied_onto_other_records(tmp_path: Path) -> None:
    source, target = MemoryStore(MemoryData(), CLOCK), MemoryStore(MemoryData(), CLOCK)
    await source.txn([], [Put("state/a", b"1")])
    await target.txn([], [Put("state/b", b"2")])
    with pytest.raises(Refused):
        await copy(source, target)


async def test_a_copy_that_differs_is_no_copy() -> None:
    class Forgetful(MemoryStore):
        async def txn(self, compare: Sequence[Unchanged], ops: Sequence[Op]) -> int:
            return await super().txn(compare, ops[1:])

    source = MemoryStore(MemoryData(), CLOCK)
    await source.txn([], [Put("state/a", b"1"), Put("state/b", b"2")])
    with pytest.raises(StepFailed):
        await copy(source, Forgetful(MemoryData(), CLOCK))


async def test_leases_stay_behind_and_who_was_elected_meanwhile_keeps_his_store() -> None:
    source, target = MemoryStore(MemoryData(), CLOCK), MemoryStore(MemoryData(), CLOCK)
    await source.txn([], [Put("state/a", b"1")])
    await source.lease(60.0)
    await take_leadership(source, CLOCK, "n1")
    assert await copy(source, target) == 2
    await bury(source, "move", "etcd")
    assert await source.get(TOMBSTONE)


def test_the_files_of_a_move_are_in_the_stores_directory(machine: Machine) -> None:
    files = Files(machine.layout.store.parent)
    assert files.move.parent == files.copy.parent == machine.layout.store.parent
