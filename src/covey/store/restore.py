"""Records that are brought back: as a backup has them, changed so that nothing of that past is mistaken for the present (S13, S14)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from covey.base.clock import Clock, render_time
from covey.base.errors import Refused
from covey.model import record as records
from covey.model.job import EndedJob, Job, Leadership, PlanRecord
from covey.model.removed import Removed
from covey.model.restoration import Restoration
from covey.model.run import Run
from covey.store.backup import Content
from covey.store.memory import MemoryData, MemoryStore
from covey.store.protocol import LARGEST_REQUEST, Delete, Op, Put, Store
from covey.store.schema import ensure_current

AT_ONCE = 100  # operations in a transaction
LOST_MARGIN = 1000  # jobs: silent nodes may know of some more
KEPT_S = 7 * 86400.0  # what was removed is kept for so long after a restore: it may have been brought back since
NOT_KEPT = (records.IDEMPOTENCY,)
INTERRUPTED = "interrupted"


@dataclass(frozen=True, slots=True)
class Return:
    """How records come back. `highest_job` is the highest number of a job that anybody here knows of."""

    how: str
    incarnation: int
    by: str
    made_at: float
    last_job: int
    highest_job: int


async def brought_back(content: Content, returning: Return, clock: Clock) -> dict[str, bytes]:
    """All keys and values of the store as it is to be. Raises Refused for records of a newer release."""
    store = MemoryStore(MemoryData(), clock)
    try:
        await fill(store, content.records)
        await ensure_current(store)
        await settle(store, returning, clock)
        return {entry.key: entry.value for entry in (await store.list("")).entries}
    finally:
        await store.close()


async def fill(store: Store, entries: Mapping[str, bytes]) -> None:
    """Write all of it into a store that has none of these keys."""
    kept = [Put(key, value) for key, value in sorted(entries.items()) if not key.startswith(NOT_KEPT)]
    for ops in batches(kept):
        await store.txn((), ops)


def batches(ops: Sequence[Op]) -> Iterator[list[Op]]:
    """As many at once as one transaction takes."""
    batch: list[Op] = []
    size = 0
    for op in ops:
        larger = len(op.value) if isinstance(op, Put) else 0
        if batch and (len(batch) == AT_ONCE or size + larger > LARGEST_REQUEST // 2):
            yield batch
            batch, size = [], 0
        batch.append(op)
        size += larger
    if batch:
        yield batch


async def settle(store: Store, returning: Return, clock: Clock) -> None:
    """Nobody leads, in a new incarnation; jobs under way have ended; nothing that was removed goes for good too soon; and all wait for
    `cluster reconcile`."""
    now = clock.now()
    listing = await store.list(records.PREFIX)
    found = [records.from_bytes(entry.key, entry.value) for entry in listing.entries]
    ended = {entry.key for entry in (await store.list(records.HISTORY)).entries}
    plans = {record.id: record for record in found if isinstance(record, PlanRecord)}
    ops: list[Op] = []
    for record in found:
        if isinstance(record, Job):
            ops += _interrupted(record, plans.get(record.id), returning, now, ended)
        elif isinstance(record, Run):  # a move that was under way: what runs, and where, is found
            ops.append(Delete(records.key_of(record)))
        elif isinstance(record, Removed):
            kept = replace(record, keep_until=max(record.keep_until, now + KEPT_S))
            ops.append(Put(records.key_of(kept), records.to_bytes(kept)))
    ops += [Delete(records.key_of(plan)) for plan in plans.values()]
    lost_to = (returning.highest_job // LOST_MARGIN + 1) * LOST_MARGIN
    restoration = Restoration(
        returning.how, now, returning.made_at, returning.incarnation, returning.last_job, lost_to, returning.by
    )
    leadership = Leadership(returning.incarnation, 0, "", now)
    ops += [Put(records.key_of(record), records.to_bytes(record)) for record in (restoration, leadership)]
    for batch in batches(ops):
        await store.txn((), batch)


def _interrupted(job: Job, plan: PlanRecord | None, returning: Return, now: float, ended: set[str]) -> list[Op]:
    """A job that was under way is over, unless it had ended meanwhile: nobody knows how far it came."""
    gone: list[Op] = [Delete(records.key_of(job))]
    key = f"{records.HISTORY}{job.id:010d}"
    if key in ended:
        return gone
    error = Refused(
        f"{INTERRUPTED}: the records were {returning.how} as they were at {render_time(returning.made_at)}",
        job,
        "see what it left: covey cluster verify",
    )
    over = replace(job, state="failed", ended_at=now, error=error.to_json())
    return [*gone, Put(key, records.to_bytes(EndedJob(over, plan.plan if plan else None)))]
