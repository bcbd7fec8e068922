"""The schema of the records: what a store was written as, and how an older one is brought up to date when it is opened.

The store keeps the number of its schema, and the release that wrote it, under `meta/schema`. A release opens stores of its own schema and
of all before it; one that a newer release has written is refused, before anything in it is touched.

A new schema is a new entry of MIGRATIONS: a pure function from one encoded record to what takes its place. It is needed only where fields
change their meaning, move or go: a field that is only added has a default (model/codec.py), and takes no migration. How:
docs/checklists/new-schema.md.

    def _2_from_1(key: str, record: Encoded) -> Migrated:
        \"\"\"Networks say by `kind` what `nat` said by true and false.\"\"\"
        if key.startswith("state/network/"):
            nat = record.pop("nat")
            return {key: {**record, "kind": "nat" if nat else "routed"}}
        return {key: record}

    MIGRATIONS = {2: _2_from_1}
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import structlog

from covey import __version__
from covey.base.errors import Refused, check
from covey.model.record import HISTORY, IDEMPOTENCY, PREFIX, VERSION
from covey.store.protocol import LARGEST_REQUEST, Delete, Entry, Op, Put, Store, Unchanged

KEY = "meta/schema"
MIGRATED = (PREFIX, HISTORY, IDEMPOTENCY)  # secrets are opaque: they have no schema
AT_ONCE = 60  # records in a transaction, each of which may become two
PAGE = 500
Encoded = dict[str, Any]
Migrated = Mapping[str, Encoded | None]  # what takes the record's place, by key; None: nothing
Migration = Callable[[str, Encoded], Migrated]

MIGRATIONS: dict[int, Migration] = {}  # by the schema that they lead to, without gaps up to model.record.VERSION
log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Schema:
    """What a store is written as. `towards` is another number while it is being brought up to date: a crash meanwhile leaves records of
    both, each with its own."""

    schema: int
    release: str
    towards: int = 0

    @property
    def highest(self) -> int:
        return max(self.schema, self.towards)


async def ensure_current(store: Store, migrations: Mapping[int, Migration] = MIGRATIONS, current: int = VERSION) -> int:
    """Bring the store's records up to the schema of this release; returns how many were rewritten. May be cut short at any moment, and
    goes on at the next opening. Raises Refused for a store of a newer release; Unavailable, NoSpace."""
    entry = await store.get(KEY)
    found = _read(entry) if entry else None
    if found is None:
        empty = not (await store.list("", limit=1)).entries
        found = Schema(current if empty else 1, __version__ if empty else "0.1.0")  # 0.1.0 did not write down what it wrote
    check(
        found.highest <= current,
        Refused(
            f"this store was written by Covey {found.release} (schema {found.highest}); this is Covey {__version__} (schema {current})",
            "store",
            f"install Covey {found.release} or newer, or bring back a copy of the store from before",
        ),
    )
    if found.schema == current and not found.towards:
        if entry is None or found.release != __version__:
            await _write(store, entry, Schema(current, __version__))
        return 0
    revision = await _write(store, entry, Schema(found.schema, __version__, towards=current))
    log.info("the store is brought up to date", from_schema=found.schema, to_schema=current, written_by=found.release)
    rewritten = 0
    for prefix in MIGRATED:
        rewritten += await _migrate(store, prefix, revision, migrations, current)
    await store.txn([Unchanged(KEY, revision)], [Put(KEY, _encoded(Schema(current, __version__)))])
    log.info("the store is up to date", records=rewritten, schema=current)
    return rewritten


async def _write(store: Store, before: Entry | None, schema: Schema) -> int:
    return await store.txn([Unchanged(KEY, before.revision if before else 0)], [Put(KEY, _encoded(schema))])


async def _migrate(store: Store, prefix: str, schema_revision: int, migrations: Mapping[int, Migration], current: int) -> int:
    """Rewrite what is older below a prefix. Keys are read up from where the last page ended."""
    rewritten, start = 0, ""
    while True:
        page = await store.list(prefix, start=start, limit=PAGE)
        for batch in _batches(page.entries, migrations, current):
            compare = [Unchanged(KEY, schema_revision), *(Unchanged(entry.key, entry.revision) for entry, _ in batch)]
            await store.txn(compare, [op for _, ops in batch for op in ops])
            rewritten += len(batch)
        if len(page.entries) < PAGE:
            return rewritten
        start = page.entries[-1].key + "\0"


def _batches(
    entries: tuple[Entry, ...], migrations: Mapping[int, Migration], current: int
) -> Iterator[list[tuple[Entry, list[Op]]]]:
    """Entries that are of an older schema with what takes their place, as many as go into a transaction."""
    batch: list[tuple[Entry, list[Op]]] = []
    size = 0
    for entry in entries:
        ops = _rewritten(entry, migrations, current)
        if not ops:
            continue
        larger = sum(len(op.value) for op in ops if isinstance(op, Put))
        if batch and (len(batch) == AT_ONCE or size + larger > LARGEST_REQUEST // 2):
            yield batch
            batch, size = [], 0
        batch.append((entry, ops))
        size += larger
    if batch:
        yield batch


def _rewritten(entry: Entry, migrations: Mapping[int, Migration], current: int) -> list[Op]:
    """The writes that bring one entry up to date; none when it is."""
    record: Encoded = json.loads(entry.value)
    version = int(record.get("version", 1))
    records: dict[str, Encoded | None] = {entry.key: record}
    if version >= current:
        return []
    for step in range(version + 1, current + 1):
        after: dict[str, Encoded | None] = {}
        for key, one in records.items():
            after |= {key: None} if one is None else dict(migrations[step](key, one))
        records = after
    records.setdefault(entry.key, None)  # it has moved
    return [
        Delete(key)
        if one is None
        else Put(key, json.dumps({**one, "version": current}, separators=(",", ":"), ensure_ascii=False).encode())
        for key, one in records.items()
    ]


def _encoded(schema: Schema) -> bytes:
    return json.dumps({"schema": schema.schema, "release": schema.release, "towards": schema.towards}).encode()


def _read(entry: Entry) -> Schema:
    found = json.loads(entry.value)
    return Schema(int(found["schema"]), str(found["release"]), int(found.get("towards", 0)))
