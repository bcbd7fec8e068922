"""What every store promises: get and list."""

from __future__ import annotations

import pytest

from covey.base.errors import BadInput
from covey.store.protocol import (
    Entry,
    Put,
    Store,
)
from tests.kit.stores import keys, put


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
