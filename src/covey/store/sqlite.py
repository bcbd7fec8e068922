"""The store of a single machine: one SQLite file.

Transactions go through a thread of their own (`sqlite_writer`), which makes them durable in groups; reads are answered
at once from a second connection, in a few microseconds, and see all that was acknowledged. Beside the database NAME lie
NAME-wal and NAME-shm (SQLite's own: a copy is complete only with the first), NAME.lock (held while the store is open)
and NAME.reserve (room for the day on which the disk is full).
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import BinaryIO

from covey.base.clock import Clock
from covey.base.errors import NoSpace, NotFound, Unavailable
from covey.store.lease import LocalLease, LocalLeases, check_duration
from covey.store.limits import check_key, check_listing, check_prefix, check_transaction, prefix_end
from covey.store.protocol import LEASES, Batch, Compacted, Delete, Entry, Lease, Listing, Op, Put, Unchanged
from covey.store.reserve import Reserve
from covey.store.sqlite_file import LOG_ENDS, ORDINAL_BITS, explain, open_reader, open_writer, take_lock
from covey.store.sqlite_writer import Outcome, Request, Writer, Written
from covey.store.watch import LogSlice, Watch, Watches, to_batch

KEPT_REVISIONS = 10_000
RESERVE_BYTES = 64 * 2**20
_SLICE_BYTES = 2**20  # of the change log, read at a time by a watch that is behind
_SLICE_REVISIONS = 500

_GET = "SELECT value, revision FROM entry WHERE key = ?"
_ASCENDING = "SELECT key, value, revision FROM entry WHERE key >= ? AND key < ? ORDER BY key LIMIT ?"
_DESCENDING = "SELECT key, value, revision FROM entry WHERE key >= ? AND key < ? ORDER BY key DESC LIMIT ?"
_NEWEST = "SELECT max(position) FROM change"
_LOG = "SELECT position, key, value FROM change WHERE position >= ? ORDER BY position"
_NO_BOUND = b""  # SQLite orders every blob after every text


@dataclass(slots=True)
class _Opened:
    """What opening a database yields, before the writer is started."""

    lock: BinaryIO
    reserve: Reserve
    writing: sqlite3.Connection
    reading: sqlite3.Connection


class SqliteStore:
    """See `Store`. Leases are this process's own, by its clock: no other process can have the store open.

    A transaction whose caller was cancelled may have been written. After an error that leaves the state of the disk in
    doubt the store answers reads but writes no more: it must be opened anew."""

    __slots__ = (
        "_clock",
        "_first_lease",
        "_granted",
        "_is_open",
        "_leases",
        "_lock",
        "_loop",
        "_path",
        "_reader",
        "_reserve",
        "_submitted",
        "_watches",
        "_writer",
    )

    def __init__(self, path: Path, clock: Clock, opened: _Opened, kept: int) -> None:
        self._path = path
        self._clock = clock
        self._lock = opened.lock
        self._reserve = opened.reserve
        self._reader = opened.reading
        self._loop = asyncio.get_running_loop()
        self._watches = Watches()
        self._submitted: list[Request] = []
        self._is_open = True
        self._writer = Writer(path, opened.writing, opened.reserve, kept, self._deliver_soon)
        # an id that some record tells of has moved the revision on, so no later process gives it out again
        self._first_lease = (self._writer.revision + 1) << 20
        self._granted = 0
        self._leases = LocalLeases(self._drop)

    @classmethod
    async def open(cls, path: Path, clock: Clock, *, kept: int = KEPT_REVISIONS, reserve: int = RESERVE_BYTES) -> SqliteStore:
        """Open the database at `path`, or make one. `kept` is the number of revisions that a watch can go back;
        `reserve` the bytes of disk kept for the store's own use.

        Raises Refused when another process has it open, or it is damaged, newer or not Covey's; NotFound without its
        directory; NoSpace; Unavailable when it cannot be read or written."""
        opened = await asyncio.to_thread(_open, path, clock, reserve)
        store = cls(path, clock, opened, kept)
        try:
            for left in (await store.list(LEASES)).entries:  # of a process that is no more
                await store._drop(left.key)
        except BaseException:
            await store.close()
            raise
        return store

    @property
    def reserve_used(self) -> bool:
        """True while the room kept for the store's own use is not there: the disk was full, or was short from the
        start."""
        return not self._reserve.is_held

    async def get(self, key: str) -> Entry | None:
        check_key(key)
        self._check_open()
        if self._leases:
            await self._leases.end_overdue()
        try:
            row = self._reader.execute(_GET, (key,)).fetchone()
        except sqlite3.Error as error:
            raise self._unreadable(error) from error
        return Entry(key, row[0], row[1]) if row else None

    async def list(self, prefix: str, *, start: str = "", limit: int = 0, descending: bool = False) -> Listing:
        check_listing(prefix, start, limit)
        self._check_open()
        if self._leases:
            await self._leases.end_overdue()
        end = prefix_end(prefix)
        if descending:
            question, first, beyond = _DESCENDING, prefix, min(end or start, start or end or "")
        else:
            question, first, beyond = _ASCENDING, max(prefix, start), end or ""
        execute = self._reader.execute
        try:
            execute("BEGIN")
            try:
                rows = execute(question, (first, beyond or _NO_BOUND, limit or -1)).fetchall()
                newest = execute(_NEWEST).fetchone()[0]
            finally:
                execute("COMMIT")
        except sqlite3.Error as error:
            raise self._unreadable(error) from error
        return Listing(tuple([Entry(*row) for row in rows]), (newest or 0) >> ORDINAL_BITS)

    async def txn(self, compare: Sequence[Unchanged], ops: Sequence[Op]) -> int:
        if self._leases:
            await self._leases.end_overdue()
        return await self._commit(compare, ops)

    async def _commit(self, compare: Sequence[Unchanged], ops: Sequence[Op]) -> int:
        size = check_transaction(compare, ops)
        self._check_open()
        future: asyncio.Future[int] = self._loop.create_future()
        if not self._submitted:
            self._loop.call_soon(self._submit)  # at the end of this turn: all that it asks for, in one piece
        self._submitted.append(Request(tuple(compare), tuple(ops), size, future))
        try:
            return await future
        finally:
            del future  # a refusal holds this frame, and the frame would hold the refusal: whole views lived on in that circle

    def watch(self, prefix: str, from_revision: int) -> AsyncIterator[Batch]:
        check_prefix(prefix)
        self._check_open()
        return self._watches.add(Watch(prefix, from_revision, self._read_log))

    async def lease(self, ttl_s: float) -> Lease:
        check_duration(ttl_s)
        id = self._first_lease + self._granted
        self._granted += 1
        key = f"{LEASES}{id:016x}"
        held = Unchanged(key, await self.txn([], [Put(key, b"")]))
        lease = LocalLease(id, ttl_s, held, self._clock, self._leases, self._reach)
        self._leases.add(lease)
        return lease

    async def _reach(self) -> None:
        self._check_open()

    async def _drop(self, key: str) -> None:
        await self._commit([], [Delete(key)])

    async def close(self) -> None:
        """Finish the transactions that were asked for, end the watches, carry the write-ahead log over into the
        database and let go of it."""
        self._is_open = False
        self._leases.forget()
        self._submit()
        self._writer.close()
        await asyncio.to_thread(self._writer.join)
        self._watches.end()
        self._reader.close()
        self._lock.close()

    def _submit(self) -> None:
        if self._submitted:
            submitted, self._submitted = self._submitted, []
            self._writer.submit(submitted)

    def _deliver_soon(self, outcomes: Sequence[Outcome], written: Sequence[Written]) -> None:
        """Called in the writer's thread. Raises RuntimeError when the event loop is gone."""
        self._loop.call_soon_threadsafe(self._deliver, outcomes, written)

    def _deliver(self, outcomes: Sequence[Outcome], written: Sequence[Written]) -> None:
        """Watches first: who hears that a transaction was written finds its view to hold it."""
        if self._watches:
            self._watches.feed([to_batch(revision, changes) for revision, changes in written])
        for future, outcome in outcomes:
            if future.done():
                continue  # its caller was cancelled
            if isinstance(outcome, int):
                future.set_result(outcome)
            else:
                future.set_exception(outcome)

    def _read_log(self, revision: int) -> LogSlice:
        """A slice of the change log from `revision` on. Raises Compacted, Unavailable."""
        cursor = self._reader.cursor()
        try:
            cursor.execute("BEGIN")
            first, last = cursor.execute(LOG_ENDS).fetchone()
            oldest, newest = (first >> ORDINAL_BITS, last >> ORDINAL_BITS) if first is not None else (1, 0)
            if revision < oldest:
                raise Compacted(oldest)
            return _slice(cursor.execute(_LOG, (revision << ORDINAL_BITS,)), max(revision, newest + 1))
        except sqlite3.Error as error:
            raise self._unreadable(error) from error
        finally:
            cursor.close()
            if self._reader.in_transaction:
                self._reader.execute("COMMIT")

    def _unreadable(self, error: sqlite3.Error) -> Unavailable:
        failure = explain(error, self._path)
        return Unavailable(failure.what, self._path, failure.hint)

    def _check_open(self) -> None:
        if not self._is_open:
            raise Unavailable("the store is closed", self._path)


def _slice(rows: sqlite3.Cursor, upcoming: int) -> LogSlice:
    """The batches of the first of `rows`, whole revisions up to about a limit."""
    batches: list[Batch] = []
    size = 0
    for revision, changes in groupby(rows, key=lambda row: row[0] >> ORDINAL_BITS):
        if size > _SLICE_BYTES or len(batches) == _SLICE_REVISIONS:
            return LogSlice(batches, revision, is_last=False)
        batch = to_batch(revision, ((key, value) for _, key, value in changes))
        size += sum(len(change.value or b"") for change in batch.changes)
        batches.append(batch)
    return LogSlice(batches, upcoming, is_last=True)


def _open(path: Path, clock: Clock, reserve_size: int) -> _Opened:
    """Everything about opening that may block. On a full disk even opening needs some room: the reserve gives it."""
    if not path.parent.is_dir():
        raise NotFound("its directory does not exist", path, f"make {path.parent}")
    try:
        reserve = Reserve(path.with_name(path.name + ".reserve"), reserve_size, clock)
        try:
            return _open_once(path, reserve)
        except (sqlite3.Error, OSError) as error:
            if not isinstance(explain(error, path), NoSpace) or not reserve.release():
                raise
        return _open_once(path, reserve)
    except (sqlite3.Error, OSError) as error:
        raise explain(error, path) from error


def _open_once(path: Path, reserve: Reserve) -> _Opened:
    """Raises CoveyError, sqlite3.Error, OSError."""
    with ExitStack() as undo:
        lock = undo.enter_context(take_lock(path))
        writing = undo.enter_context(closing(open_writer(path)))
        reading = undo.enter_context(closing(open_reader(path)))
        reading.execute(LOG_ENDS)  # maps the shared index, which needs room
        reserve.take_again()
        undo.pop_all()
    return _Opened(lock, reserve, writing, reading)
