"""What every store promises: leases, closing and opening again."""

from __future__ import annotations

import asyncio

import pytest

from covey.base.errors import BadInput, Unavailable
from covey.store.protocol import (
    Change,
    Delete,
    Ended,
    Entry,
    Put,
    Store,
    Unmet,
    absent,
)
from tests.kit.eventually import eventually
from tests.kit.stores import PATIENCE_S, Engine, batches, put, rest

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


async def test_a_lease_has_a_key_for_as_long_as_it_lasts(store: Store, engine: Engine) -> None:
    lease, other = await store.lease(30), await store.lease(30)
    assert lease.held.key != other.held.key
    for _ in range(3):
        engine.clock.seconds += 20
        await lease.renew()
        await other.renew()
        entry = await store.get(lease.held.key)
        assert entry is not None
        assert entry.revision == lease.held.revision
    await lease.revoke()
    assert await store.get(lease.held.key) is None
    assert await store.get(other.held.key) is not None


async def test_what_is_written_under_the_comparison_of_a_lease_is_refused_once_it_is_over(store: Store) -> None:
    lease = await store.lease(30)
    assert await store.txn([lease.held], [Put("led", b"1")])
    await lease.revoke()
    with pytest.raises(Unmet) as unmet:
        await store.txn([lease.held], [Put("led", b"2")])
    assert unmet.value.key == lease.held.key


async def test_the_end_of_a_lease_that_nobody_renews_is_seen_by_who_watches_its_key(store: Store, engine: Engine) -> None:
    lease = await store.lease(2)
    watch = store.watch(lease.held.key, lease.held.revision + 1)
    engine.clock.seconds += 2.01  # etcd counts by a clock of its own
    (batch,) = await batches(watch, 1)
    assert batch.changes == (Change(lease.held.key, None),)
    assert await store.get(lease.held.key) is None
    with pytest.raises(Ended):
        await lease.renew()


async def test_no_key_of_a_lease_outlives_its_process_for_longer_than_the_lease(engine: Engine) -> None:
    store = await engine.open()
    lease = await store.lease(2)
    await store.close()
    store = await engine.open()
    engine.clock.seconds += 2.01

    async def gone() -> bool:
        return await store.get(lease.held.key) is None

    await eventually(gone, within=PATIENCE_S)
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
