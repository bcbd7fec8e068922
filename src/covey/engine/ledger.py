"""The ledger: every write of the leader, exactly once (P10).

Each transaction compares the leadership record and the job's own revision. Its outcome may stay unknown (the store answered with an error
after it had written): then the job is read again, and a version that carries our token was written by us.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import structlog

from covey.base import metrics
from covey.base.clock import Clock
from covey.base.errors import NoSpace, Unavailable
from covey.model import codec
from covey.model import record as records
from covey.model.job import EndedJob, Job, Leadership, PlanRecord
from covey.model.order import Epoch
from covey.model.plan import Plan, Write
from covey.model.view import ClusterView
from covey.store.protocol import Delete, Entry, Op, Put, Store, Unchanged, Unmet

log = structlog.get_logger()
PATIENCE_S = 0.5  # between tries at a store that does not answer


class Deposed(Exception):
    """Somebody else leads: stop at once, everything."""


class Ledger:
    """Writes jobs for as long as this process leads."""

    def __init__(self, store: Store, clock: Clock, leadership: Leadership, revision: int) -> None:
        self._store = store
        self._clock = clock
        self._leader = Unchanged(records.key("leadership", "leader"), revision)
        self.revision = revision  # of the leadership: what former leaders wrote is older
        self.epoch: Epoch = (leadership.incarnation, leadership.epoch)
        self._written = 0

    async def write_job(
        self,
        job: Job,
        revision: int,
        ops: Sequence[Op] = (),
        compare: Sequence[Unchanged] = (),
        plan: Plan | None = None,
        patient: bool = True,
    ) -> tuple[Job, int]:
        """Write a new version of a job that was last written by `revision` (0: it is new), with `ops` in the same transaction. An ended
        job moves into the history, with its plan. Returns the job as written and its revision.

        Raises Unmet when one of `compare` or the job itself differs, and Deposed. While the store does not answer or its disk is full,
        it waits and tries again, unless not `patient`: then it raises Unavailable or NoSpace."""
        self._written += 1
        job = replace(job, token=f"{self.epoch[0]}.{self.epoch[1]}.{self._written}")
        key = records.key("job", records.record_id(job))
        if job.ended:
            ended = EndedJob(job, plan)
            writes: list[Op] = [
                Put(history_key(job.id), records.to_bytes(ended)),
                Delete(key),
                Delete(records.key("plan", records.record_id(job))),
            ]
        else:
            writes = [Put(key, records.to_bytes(job))]
        written = await self._commit((self._leader, Unchanged(key, revision), *compare), (*writes, *ops), job, patient)
        return job, written

    async def write(self, ops: Sequence[Op], compare: Sequence[Unchanged] = ()) -> int:
        """Write records that belong to no job; repeating it must be harmless. Raises Unmet and Deposed."""
        return await self._commit((self._leader, *compare), ops, None, patient=True)

    async def _commit(self, compare: Sequence[Unchanged], ops: Sequence[Op], job: Job | None, patient: bool) -> int:
        uncertain = False
        while True:
            began = self._clock.monotonic()
            try:
                written = await self._store.txn(compare, ops)
                metrics.COMMIT_S.observe(self._clock.monotonic() - began)
                return written
            except Unmet as unmet:
                if unmet.key == self._leader.key:
                    raise Deposed from None
                mine = await self._find_mine(job) if uncertain and job else 0
                if mine:
                    return mine
                raise
            except (Unavailable, NoSpace) as error:
                if not patient:
                    raise
                log.warning("the store cannot write; trying again", error=str(error))
                uncertain = True
                await self._clock.sleep(PATIENCE_S)

    async def read(self, key: str) -> Entry | None:
        """An entry; while the store does not answer, it waits and tries again."""
        while True:
            try:
                return await self._store.get(key)
            except Unavailable as error:
                log.warning("the store cannot be read; trying again", error=str(error))
                await self._clock.sleep(PATIENCE_S)

    async def last_ended(self) -> int:
        """The highest number of a job in the history, 0 when there is none; waits as `read` does."""
        while True:
            try:
                listing = await self._store.list(records.HISTORY, limit=1, descending=True)
            except Unavailable as error:
                log.warning("the store cannot be read; trying again", error=str(error))
                await self._clock.sleep(PATIENCE_S)
            else:
                return int(listing.entries[0].key.rpartition("/")[2]) if listing.entries else 0

    async def _find_mine(self, job: Job) -> int:
        """The revision that wrote this very version of the job, 0 when it was not written."""
        if job.ended:
            entry = await self.read(history_key(job.id))
            kept = records.ended_from_bytes(entry.value).job if entry else None
        else:
            entry = await self.read(records.key("job", records.record_id(job)))
            kept = records.from_bytes(entry.key, entry.value) if entry else None  # type: ignore[assignment]
        return entry.revision if entry and kept and kept.token == job.token else 0


def history_key(job: int) -> str:
    return f"{records.HISTORY}{job:010d}"


def plan_op(job: Job, plan: Plan) -> Op:
    record = PlanRecord(job.id, plan)
    return Put(records.key_of(record), records.to_bytes(record))


def ops_of(writes: Sequence[Write], job: Job, view: ClusterView) -> tuple[list[Op], list[Unchanged]]:
    """A plan's writes as the store takes them, with what steps returned filled in; and the comparisons under which those may be written
    that change single fields of a record of `view`."""
    ops: list[Op] = []
    compare: list[Unchanged] = []
    for write in writes:
        if write.record is None:
            ops.append(Delete(write.key))
            continue
        filled = dict(write.record)
        for field, result in write.results.items():
            filled[field] = job.reports[result.step].result[result.field]
        present, revision = view.held(write.key)
        if write.fields and present is not None:
            compare.append(Unchanged(write.key, revision))
            filled = codec.encode(present) | {field: filled[field] for field in write.fields}
        ops.append(Put(write.key, records.encoded(filled)))
    return ops, compare
