"""Records move from one engine to another: all of them, compared, and then the old one says for ever that they have gone (S16).

The tombstone is the commit point. Before it a copy is nothing; after it the old store opens no more.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncIterator
from dataclasses import replace

from covey.base.errors import Refused, StepFailed, check, require
from covey.model import record as records
from covey.model.job import Leadership
from covey.store.protocol import LARGEST_REQUEST, LEASES, Entry, Put, Store, Unchanged, absent

TOMBSTONE = "meta/moved"
LEADERSHIP = records.key("leadership", "leader")
PAGE = 500
AT_ONCE = 100  # records in a transaction


async def copy(source: Store, target: Store) -> int:
    """All records, into an empty store; nobody writes to either. Returns how many. The copy has a larger incarnation (S13), in which nobody
    leads yet. Raises Refused when the target has records, StepFailed when the copy is not the same."""
    check(
        not (await target.list("", limit=1)).entries,
        Refused("it has records already, which nobody expected", "the new store", "nothing was changed"),
    )
    written = 0
    batch: list[Put] = []
    size = 0
    async for entry in _entries(source):
        value = _raised(entry.value) if entry.key == LEADERSHIP else entry.value
        if batch and (len(batch) == AT_ONCE or size + len(value) > LARGEST_REQUEST // 2):
            await target.txn([], batch)
            batch, size = [], 0
        batch.append(Put(entry.key, value))
        size += len(value)
        written += 1
    if batch:
        await target.txn([], batch)
    check(
        await digest(source) == await digest(target),
        StepFailed("the copy differs from what was copied", "the new store", "nothing was changed; it is tried again"),
    )
    return written


async def digest(store: Store) -> str:
    """Of all keys and values but who leads, which differs."""
    found = hashlib.sha256()
    async for entry in _entries(store):
        if entry.key != LEADERSHIP:
            key = entry.key.encode()
            found.update(f"{len(key)} {len(entry.value)} ".encode() + key + entry.value)
    return found.hexdigest()


async def bury(store: Store, move: str, where: str) -> None:
    """The commit point: from now on the records are elsewhere. Raises Unmet when somebody else has led meanwhile."""
    led = require(await store.get(LEADERSHIP), Refused("nobody has ever led it", "the store"))
    stone = json.dumps({"move": move, "where": where}).encode()
    await store.txn([Unchanged(LEADERSHIP, led.revision), absent(TOMBSTONE)], [Put(TOMBSTONE, stone)])


async def buried_by(store: Store) -> str:
    """The move that has emptied it, "" for none."""
    found = await store.get(TOMBSTONE)
    return str(json.loads(found.value)["move"]) if found else ""


async def check_not_moved(store: Store, name: str) -> None:
    """Raises Refused for a store whose records have gone elsewhere."""
    found = await store.get(TOMBSTONE)
    where = json.loads(found.value)["where"] if found else ""
    check(
        not found,
        Refused(
            f"its records have moved to {where}",
            name,
            "if this machine was taken out of the cluster: covey node leave; what is in here is old",
        ),
    )


async def _entries(store: Store) -> AsyncIterator[Entry]:
    """All records, in order: leases and the tombstone are none."""
    start = ""
    while True:
        page = (await store.list("", start=start, limit=PAGE)).entries
        for entry in page:
            if not entry.key.startswith(LEASES) and entry.key != TOMBSTONE:
                yield entry
        if len(page) < PAGE:
            return
        start = page[-1].key + "\0"


def _raised(value: bytes) -> bytes:
    before = records.from_bytes(LEADERSHIP, value)
    assert isinstance(before, Leadership)  # noqa: S101  (that is what is kept under this key)
    return records.to_bytes(replace(before, incarnation=before.incarnation + 1, right="", address=""))
