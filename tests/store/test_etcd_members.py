"""etcd as the store when members die, stand still, or are cut off."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from covey.base.clock import SystemClock
from covey.base.errors import Unavailable
from covey.store.etcd import EtcdStore
from covey.store.etcd_link import PAUSE_S
from covey.store.protocol import Batch, Store
from tests.kit.etcd import SILENCE_S, WELL_WITHIN_S, EtcdCluster, an_etcd, put_in_the_end, took_s
from tests.kit.eventually import eventually
from tests.kit.stores import batches, put
from tests.kit.wire import a_wire

pytestmark = pytest.mark.real


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EtcdCluster]:
    with an_etcd(tmp_path_factory.mktemp("etcd") / "one", 1) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EtcdCluster]:
    with an_etcd(tmp_path_factory.mktemp("etcd") / "three", 3) as cluster:
        yield cluster


@pytest.fixture
def mortal(tmp_path: Path) -> Iterator[EtcdCluster]:
    """One member, for a test alone."""
    with an_etcd(tmp_path / "mortal", 1) as cluster:
        yield cluster


class Journal:
    """What writers were told of their writes, and what a watch has seen of them."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.told: dict[bytes, int] = {}  # value: the revision that wrote it
        self.untold: set[bytes] = set()  # nobody knows whether they were written
        self.seen: list[Batch] = []
        self.is_over = False

    async def write(self, writer: int) -> None:
        number = 0
        while not self.is_over:
            value = f"{writer}.{number}".encode()
            number += 1
            try:
                self.told[value] = await put(self.store, f"k/{writer}", value)
            except Unavailable:
                self.untold.add(value)

    async def follow(self, first: int) -> None:
        """As a view does: whoever hears that no member serves comes again, from where it was."""
        upcoming = first
        while True:
            try:
                async for batch in self.store.watch("k/", upcoming):
                    self.seen.append(batch)
                    upcoming = batch.revision + 1
                return
            except Unavailable:
                await asyncio.sleep(PAUSE_S)

    async def grow(self, by: int) -> None:
        """Until so many more writes were told."""
        wanted = len(self.told) + by

        def grown() -> bool:
            return len(self.told) >= wanted

        await eventually(grown, within=WELL_WITHIN_S)


async def test_a_watch_loses_and_repeats_nothing_while_members_die_under_it(three: EtcdCluster) -> None:
    store = await three.open()
    journal = Journal(store)
    first = (await store.list("")).revision + 1
    follower = asyncio.ensure_future(journal.follow(first))
    writers = [asyncio.ensure_future(journal.write(writer)) for writer in range(4)]
    await journal.grow(100)
    for _ in range(2):
        leader = await three.leader()
        leader.kill()
        await journal.grow(100)
        leader.start()
        await three.until_well()
    journal.is_over = True
    await asyncio.gather(*writers)
    last = await put_in_the_end(store, "k/last")
    await eventually(lambda: journal.seen[-1].revision == last, within=WELL_WITHIN_S)
    await store.close()
    await follower
    revisions = [batch.revision for batch in journal.seen]
    assert revisions == sorted(set(revisions)), "in order, and each once"
    values = {batch.changes[0].value: batch.revision for batch in journal.seen[:-1]}
    assert len(values) == len(journal.seen) - 1, "no write twice"
    assert {value: values.get(value) for value in journal.told} == journal.told, "all that was told"
    assert set(values) - set(journal.told) <= journal.untold, "nothing else"


async def test_when_the_leader_stands_still_another_one_is_asked(three: EtcdCluster) -> None:
    leader = await three.leader()
    store = await three.open(leader, *(member for member in three.members if member is not leader))
    before = await put(store, "a")
    watch = store.watch("a", before + 1)
    leader.pause()
    try:
        written = await put_in_the_end(store, "a", b"2")
        assert await store.get("a")
        assert (await batches(watch, 1))[0].changes[0].value == b"2"
        assert written > before
    finally:
        leader.resume()
    await three.until_well()
    await store.close()


async def test_a_minority_says_within_5_seconds_that_it_cannot_serve(three: EtcdCluster) -> None:
    alone, *others = three.members
    store = await three.open(alone)
    before = await put(store, "a")
    watch = store.watch("a", before + 1)
    pending = asyncio.ensure_future(anext(watch))
    for member in others:
        member.pause()
    try:
        calls = (lambda: put(store, "a"), lambda: store.get("a"), lambda: store.list("a"), lambda: store.lease(5))
        assert max(await asyncio.gather(*(took_s(call) for call in calls))) < SILENCE_S
        with pytest.raises(Unavailable):
            async with asyncio.timeout(WELL_WITHIN_S):
                await pending
    finally:
        for member in others:
            member.resume()
    await three.until_well()
    after = await put_in_the_end(store, "a")
    resumed = await batches(store.watch("a", before + 1), 1)
    assert before < resumed[0].revision <= after
    await store.close()


async def test_a_read_is_answered_though_who_was_asked_first_keeps_silent(one: EtcdCluster) -> None:
    async with a_wire(one.members[0].host, 2379) as wire:
        store = await EtcdStore.open((wire.address, one.addresses[0]), one.files, SystemClock())
        revision = await put(store, "a")
        wire.hold()
        entry = await store.get("a")
        assert entry is not None
        assert entry.revision == revision
        await store.close()


async def test_a_watch_goes_on_with_another_member_when_its_own_keeps_silent(one: EtcdCluster) -> None:
    async with a_wire(one.members[0].host, 2379) as wire:
        store = await EtcdStore.open((wire.address, one.addresses[0]), one.files, SystemClock())
        other = await one.open()
        before = await put(other, "a")
        watch = store.watch("a", before)
        assert (await batches(watch, 1))[0].revision == before
        wire.hold()
        after = await put(other, "a")
        async with asyncio.timeout(WELL_WITHIN_S):
            assert (await anext(watch)).revision == after
        await other.close()
        await store.close()


async def test_a_transaction_whose_answer_is_lost_was_written_once(one: EtcdCluster) -> None:
    async with a_wire(one.members[0].host, 2379) as wire:
        store = await EtcdStore.open((wire.address, one.addresses[0]), one.files, SystemClock())
        before = await put(store, "a", b"1")
        wire.lose_answers()
        with pytest.raises(Unavailable, match="whether the transaction was written is not known"):
            await put(store, "a", b"2")
        entry = await store.get("a")
        assert entry is not None
        assert (entry.value, entry.revision) == (b"2", before + 1)
        assert await put(store, "a", b"3") == before + 2
        await store.close()


async def test_a_transaction_that_no_member_has_taken_waits_for_one_to_come_back(one: EtcdCluster) -> None:
    async with a_wire(one.members[0].host, 2379) as wire:
        store = await EtcdStore.open((wire.address,), one.files, SystemClock())
        before = await put(store, "a")
        wire.cut()
        assert await took_s(lambda: store.get("a")) < SILENCE_S
        writing = asyncio.ensure_future(put(store, "a"))
        await wire.mend()
        assert await writing == before + 1
        await store.close()


async def test_a_member_that_was_brought_back_from_a_copy_is_not_believed(mortal: EtcdCluster, tmp_path: Path) -> None:
    (member,) = mortal.members

    async def start_again() -> None:
        member.kill()
        member.start()
        await mortal.until_well()

    member.kill()
    shutil.copytree(member.data, tmp_path / "copy")
    await start_again()
    await start_again()  # each start is an election, with a higher term
    store = await mortal.open()
    await put(store, "a")
    member.kill()
    shutil.rmtree(member.data)
    shutil.copytree(tmp_path / "copy", member.data)
    await start_again()
    said = await asyncio.gather(store.get("a"), put(store, "b"), anext(store.watch("", 1)), return_exceptions=True)
    assert [type(each) for each in said] == [Unavailable] * 3
    assert "term" in str(said[1]), "a transaction is asked for once, so this is what it heard"
    await store.close()
