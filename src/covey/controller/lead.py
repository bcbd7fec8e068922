"""Becoming the leader."""

from __future__ import annotations

from covey.base.clock import Clock
from covey.model import record as records
from covey.model.job import Leadership
from covey.store.protocol import Put, Store, Unchanged, Unmet


async def take_leadership(store: Store, clock: Clock, holder: str) -> tuple[Leadership, int]:
    """Raise the epoch in one transaction: whoever led before finds every further write of theirs refused (P10). Returns the record and
    the revision that wrote it. On one machine nobody contends: the store's file is locked to one process."""
    key = records.key("leadership", "leader")
    while True:
        entry = await store.get(key)
        before = records.from_bytes(key, entry.value) if entry else None
        incarnation, epoch = (before.incarnation, before.epoch) if isinstance(before, Leadership) else (1, 0)
        leadership = Leadership(incarnation, epoch + 1, holder, clock.now())
        try:
            compare = [Unchanged(key, entry.revision if entry else 0)]
            revision = await store.txn(compare, [Put(key, records.to_bytes(leadership))])
        except Unmet:
            continue  # somebody else was quicker: raise theirs
        return leadership, revision
