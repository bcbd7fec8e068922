"""What every store promises: leases, closing and opening again."""

from __future__ import annotations

import asyncio

import pytest

from covey.base.errors import BadInput, Unavailable
from covey.store.protocol import (
    Delete,
    Entry,
    Put,
    Store,
    Unmet,
    absent,
)
from tests.kit.stores import Engine, batches, put, rest

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
