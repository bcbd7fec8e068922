"""A store that is full of its own past is given room by itself; nobody has to lead for that."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from covey.base.clock import SystemClock
from covey.base.errors import NoSpace
from covey.controller.lead import Election
from covey.store.protocol import Delete
from covey.store.room import FULL, LOOK_EVERY_S, PATIENCE_LOOKS, TRY_AGAIN_LOOKS, RoomKeeper
from tests.kit.etcd import EtcdCluster, an_etcd
from tests.kit.eventually import eventually
from tests.kit.stores import put
from tests.kit.virtual import in_virtual_time, virtual_clock

SMALL_QUOTA = 4 * 2**20  # bytes


class PretendedStore:
    """`helps`: whether there is room once its past is forgotten."""

    def __init__(self, helps: bool = True) -> None:
        self.full = False
        self.helps = helps
        self.made = 0

    async def is_full(self) -> bool:
        return self.full

    async def make_room(self) -> int:
        self.made += 1
        self.full = self.full and not self.helps
        return 1000


async def kept_for(keeper: RoomKeeper, seconds: float) -> None:
    keeping = asyncio.create_task(keeper.run())
    await asyncio.sleep(seconds)
    keeping.cancel()
    await asyncio.gather(keeping, return_exceptions=True)


@in_virtual_time
async def test_who_leads_makes_room_at_once_and_others_only_when_nobody_does() -> None:
    store = PretendedStore()
    leader = RoomKeeper(store, virtual_clock(), lambda: True)
    other = RoomKeeper(store, virtual_clock(), lambda: False)
    store.full = True
    await kept_for(other, LOOK_EVERY_S)
    assert (store.made, other.trouble) == (0, FULL)
    await kept_for(leader, 1)
    assert (store.made, leader.trouble) == (1, "")
    store.full = True
    await kept_for(other, LOOK_EVERY_S * PATIENCE_LOOKS)
    assert store.made == 2


@in_virtual_time
async def test_what_does_not_help_is_not_done_over_and_over() -> None:
    store = PretendedStore(helps=False)
    store.full = True
    keeper = RoomKeeper(store, virtual_clock(), lambda: True)
    await kept_for(keeper, LOOK_EVERY_S * (TRY_AGAIN_LOOKS - 2))
    assert (store.made, keeper.trouble) == (1, FULL)
    await kept_for(keeper, LOOK_EVERY_S * 5)
    assert store.made == 2


@in_virtual_time
async def test_a_store_that_has_room_is_left_alone() -> None:
    store = PretendedStore()
    await kept_for(RoomKeeper(store, virtual_clock(), lambda: True), 3600)
    assert store.made == 0


@pytest.fixture
def small(tmp_path: Path) -> Iterator[EtcdCluster]:
    with an_etcd(tmp_path / "small", 1, "--quota-backend-bytes", str(SMALL_QUOTA)) as cluster:
        yield cluster


@pytest.mark.real
async def test_an_etcd_whose_quota_is_full_writes_again_and_whoever_waited_to_lead_does(small: EtcdCluster) -> None:
    store = await small.open()
    keeper = RoomKeeper(store, SystemClock(), lambda: False)
    await keeper.look()
    assert keeper.trouble == ""
    with pytest.raises(NoSpace, match="limit") as full:
        for _ in range(100):
            await put(store, "large", bytes(500_000))
    assert "covey cluster compact" in full.value.hint
    await store.txn([], [Delete("large")])  # what fills it now is its past alone
    await keeper.look()
    assert keeper.trouble == FULL
    with pytest.raises(NoSpace):
        await store.lease(5.0)  # so nobody comes to lead
    waiting = asyncio.create_task(Election(store, SystemClock(), "n1").won())
    assert await keeper.make() < SMALL_QUOTA
    await eventually(waiting.done, within=60.0)
    await (await waiting).resign()
    assert keeper.trouble == ""
    await store.close()
