"""A store of an older release is brought up to date when it is opened, one of a newer release is refused, and every store that a release
ever wrote is still read."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from covey import __version__
from covey.base.clock import SystemClock
from covey.base.errors import Refused, Unavailable
from covey.model import codec
from covey.model import record as records
from covey.model.view import ClusterView
from covey.store.feed import Feed
from covey.store.memory import Faults, MemoryData, MemoryStore
from covey.store.protocol import Put, Store
from covey.store.schema import AT_ONCE, KEY, MIGRATIONS, Encoded, Migrated, ensure_current
from covey.store.sqlite import SqliteStore
from tests.corpus import record
from tests.model.test_corpus import contains

STORES = sorted(record.HERE.glob("store-*.json"))
NETWORKS, INSTANCES = "state/network/", "state/instance/"


def two_from_one(key: str, record: Encoded) -> Migrated:
    """A change of the kind that a release may make: a field becomes another, and instances move to another collection."""
    if key.startswith(NETWORKS):
        nat = record.pop("nat")
        return {key: {**record, "kind": "nat" if nat else "routed"}}
    if key.startswith(INSTANCES):
        return {key.replace("instance", "server"): record}
    return {key: record}


def three_from_two(key: str, record: Encoded) -> Migrated:
    return {key: None} if key.startswith("state/debris/") else {key: {**record, "third": True}}


NEWER = {2: two_from_one, 3: three_from_two}


def a_store(data: MemoryData, faults: Faults | None = None) -> MemoryStore:
    return MemoryStore(data, SystemClock(), faults) if faults else MemoryStore(data, SystemClock())


async def filled(store: Store, many: int = 0) -> None:
    """Records as release 0.1.0 wrote them, without saying which schema they have."""
    for number in range(many):
        await store.txn([], [Put(f"state/node/n{number}", b'{"version":1,"name":"n"}')])
    await store.txn(
        [],
        [
            Put(f"{NETWORKS}a", b'{"version":1,"nat":true}'),
            Put(f"{INSTANCES}b", b'{"version":1,"name":"web1"}'),
            Put("state/debris/c", b'{"version":1}'),
            Put("history/job/0000000001", b'{"version":1,"job":{}}'),
            Put("secret/d", b"not JSON at all"),
        ],
    )


async def held(store: Store) -> dict[str, Any]:
    """All but the secret and the schema, decoded."""
    entries = (await store.list("")).entries
    return {entry.key: json.loads(entry.value) for entry in entries if not entry.key.startswith(("secret/", "meta/"))}


async def schema_of(store: Store) -> dict[str, Any]:
    entry = await store.get(KEY)
    assert entry
    found: dict[str, Any] = json.loads(entry.value)
    return found


async def test_an_empty_store_is_of_this_release() -> None:
    store = a_store(MemoryData())
    assert await ensure_current(store) == 0
    assert await schema_of(store) == {"schema": records.VERSION, "release": __version__, "towards": 0}
    assert await ensure_current(store) == 0


async def test_records_of_older_releases_are_brought_up_to_date_step_by_step() -> None:
    store = a_store(MemoryData())
    await filled(store, many=3 * AT_ONCE)
    assert await ensure_current(store, NEWER, 3) == 3 * AT_ONCE + 4
    found = await held(store)
    assert found[f"{NETWORKS}a"] == {"version": 3, "kind": "nat", "third": True}
    assert found["state/server/b"] == {"version": 3, "name": "web1", "third": True}
    assert found["history/job/0000000001"] == {"version": 3, "job": {}, "third": True}
    assert found["state/node/n7"]["third"]
    assert not {f"{INSTANCES}b", "state/debris/c"} & found.keys()
    secret = await store.get("secret/d")
    assert secret and secret.value == b"not JSON at all"
    assert (await schema_of(store))["schema"] == 3
    assert await ensure_current(store, NEWER, 3) == 0


async def test_a_store_of_a_newer_release_is_refused_and_left_as_it_is() -> None:
    data = MemoryData()
    store = a_store(data)
    await store.txn([], [Put(KEY, b'{"schema": 4, "release": "0.3.0"}')])
    before = data.revision
    with pytest.raises(Refused) as refused:
        await ensure_current(store, {}, 2)
    assert f"this store was written by Covey 0.3.0 (schema 4); this is Covey {__version__} (schema 2)" in str(refused.value)
    assert "install Covey 0.3.0" in refused.value.hint
    assert data.revision == before


class Dies(Faults):
    """The process is killed at its n-th transaction: before it was written, or just after."""

    def __init__(self, at: int, after: bool) -> None:
        self.left = at
        self.after = after

    def _die(self, now: bool) -> None:
        if now and self.left == 0:
            raise Unavailable("killed", "test")

    async def before_txn(self, compare: Any, ops: Any) -> None:
        self._die(not self.after)
        self.left -= not self.after

    async def after_txn(self, revision: int) -> None:
        self._die(self.after)
        self.left -= self.after


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("at", range(5))
async def test_a_migration_that_was_cut_short_goes_on_at_the_next_opening(at: int, after: bool) -> None:
    """And meanwhile the release before refuses the store: it would not understand a part of it."""
    data = MemoryData()
    await filled(a_store(data), many=AT_ONCE + 1)
    straight = MemoryData()
    await filled(a_store(straight), many=AT_ONCE + 1)
    await ensure_current(a_store(straight), NEWER, 3)
    with pytest.raises(Unavailable):
        await ensure_current(a_store(data, Dies(at, after)), NEWER, 3)
    if at or after:
        with pytest.raises(Refused):
            await ensure_current(a_store(data))
    await ensure_current(a_store(data), NEWER, 3)
    assert await held(a_store(data)) == await held(a_store(straight))
    assert (await schema_of(a_store(data)))["schema"] == 3


async def test_two_processes_do_not_migrate_at_once() -> None:
    class Overtaken(Faults):
        """Another process begins to migrate in the middle."""

        done = False

        async def before_txn(self, compare: Any, ops: Any) -> None:
            if not self.done and any(op.key.startswith(NETWORKS) for op in ops):
                self.done = True
                await a_store(data).txn([], [Put(KEY, b'{"schema": 1, "release": "x", "towards": 3}')])

    data = MemoryData()
    await filled(a_store(data))
    with pytest.raises(Exception, match="somebody else"):
        await ensure_current(a_store(data, Overtaken()), NEWER, 3)


def test_there_is_one_migration_for_each_schema_since_the_first() -> None:
    assert sorted(MIGRATIONS) == list(range(2, records.VERSION + 1))


# --- stores that releases wrote ----------------------------------------------------------------------------------------------------
def test_a_store_of_this_release_is_recorded() -> None:
    assert record.HERE / f"store-{__version__}.json" in STORES


@pytest.mark.parametrize("file", STORES, ids=lambda file: file.stem)
async def test_every_recorded_store_is_opened_and_understood(file: Path, tmp_path: Path) -> None:
    written = {key: base64.b64decode(value) for key, value in json.loads(file.read_text()).items()}
    assert {key.split("/")[1] for key in written if key.startswith(records.PREFIX)} >= set(record.RECORDED)
    store = await SqliteStore.open(tmp_path / "covey.db", SystemClock(), reserve=4096)
    feed = Feed(store)
    try:
        for key, value in written.items():
            await store.txn([], [Put(key, value)])
        await ensure_current(store)
        await feed.start()
        seen = entries_of(feed.view)
        listing = await store.list(records.PREFIX)
        assert {entry.key for entry in listing.entries} == set(seen)
        for entry in listing.entries:
            assert contains({**seen[entry.key], "version": 0}, {**json.loads(entry.value), "version": 0}), entry.key
        for entry in (await store.list(records.HISTORY)).entries:
            assert records.ended_from_bytes(entry.value).job.ended
    finally:
        await feed.close()
        await store.close()


def entries_of(view: ClusterView) -> dict[str, Any]:
    """The records of a view, encoded, by key."""
    return {
        records.key(collection, id): codec.encode(held[1])
        for collection, kept in view.collections.items()
        for id, held in kept.items()
    }
