"""The one thread that writes: group commit.

All transactions that wait when the thread comes round are evaluated one by one, each on what the ones before it have
left, and made durable together by one COMMIT. A disk's flush costs far more than a transaction, so under load many
share one. Nobody hears of a result before the flush that it stands on.
"""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue

from covey.base.errors import Bug, CoveyError, NoSpace, Unavailable
from covey.store.protocol import Op, Put, Unchanged, Unmet
from covey.store.reserve import Reserve
from covey.store.sqlite_file import LOG_ENDS, ORDINAL_BITS, explain, is_passing

LARGEST_GROUP = 1_024  # transactions
LARGEST_GROUP_BYTES = 16 * 2**20  # bounds the write-ahead log, and how long the first of a group waits for the last
SLICE = 256  # revisions that are dropped from the change log at a time

_FIND = "SELECT revision FROM entry WHERE key = ?"
_PUT = (
    "INSERT INTO entry (key, value, revision) VALUES (?, ?, ?) "
    "ON CONFLICT (key) DO UPDATE SET value = excluded.value, revision = excluded.revision"
)
_DELETE = "DELETE FROM entry WHERE key = ?"
_LOG = "INSERT INTO change (position, key, value) VALUES (?, ?, ?)"
_COMPACT = "DELETE FROM change WHERE position < ?"

Written = tuple[int, list[tuple[str, bytes | None]]]  # a revision and what it changed


@dataclass(slots=True)
class Request:
    """A transaction that waits for its turn. `size` is in bytes."""

    compare: Sequence[Unchanged]
    ops: Sequence[Op]
    size: int
    future: asyncio.Future[int]


Outcome = tuple[asyncio.Future[int], int | CoveyError]
Row = tuple[str, bytes, int]  # of table entry
LogRow = tuple[int, str, bytes | None]  # of table change
Deliver = Callable[[list[Outcome], list[Written]], None]


class Writer:
    """Owns the writing connection. `deliver` is called in the thread, once a group, when the group is durable or has
    failed; what it raises is a RuntimeError when the event loop is gone."""

    __slots__ = (
        "_connection",
        "_deliver",
        "_failed",
        "_is_closing",
        "_kept",
        "_oldest",
        "_path",
        "_queue",
        "_reserve",
        "_thread",
        "_waiting",
        "revision",
    )

    def __init__(self, path: Path, connection: sqlite3.Connection, reserve: Reserve, kept: int, deliver: Deliver) -> None:
        self._path = path
        self._connection = connection
        self._reserve = reserve
        self._kept = kept
        self._deliver = deliver
        oldest, newest = connection.execute(LOG_ENDS).fetchone()
        self.revision = (newest or 0) >> ORDINAL_BITS
        self._oldest = (oldest or 1 << ORDINAL_BITS) >> ORDINAL_BITS
        self._queue: SimpleQueue[list[Request] | None] = SimpleQueue()
        self._waiting: deque[Request] = deque()
        self._is_closing = False
        self._failed = ""  # why it writes no more
        self._thread = threading.Thread(target=self._run, name=f"store {path.name}", daemon=True)
        self._thread.start()

    def submit(self, requests: list[Request]) -> None:
        self._queue.put(requests)

    def close(self) -> None:
        """Let the thread carry out what was submitted, and end. May be called again."""
        self._queue.put(None)

    def join(self) -> None:
        self._thread.join()

    def _run(self) -> None:
        try:
            while group := self._next_group():
                outcomes, written = self._carry_out(group)
                try:
                    self._deliver(outcomes, written)
                except RuntimeError:
                    break  # the event loop ended without closing the store: nobody is left to hear of it
                self._take_reserve_again()
        finally:
            self._put_away()

    def _next_group(self) -> list[Request]:
        """Wait for transactions; all that wait, within limits. Empty when the store is closing and nothing waits any
        more."""
        while not self._queue.empty() or (not self._waiting and not self._is_closing):
            requests = self._queue.get()
            if requests is None:
                self._is_closing = True
            else:
                self._waiting.extend(requests)
        group: list[Request] = []
        size = 0
        while self._waiting and len(group) < LARGEST_GROUP:
            size += self._waiting[0].size
            if group and size > LARGEST_GROUP_BYTES:
                break
            group.append(self._waiting.popleft())
        return group

    def _carry_out(self, group: list[Request]) -> tuple[list[Outcome], list[Written]]:
        """Write a group, with the help of the reserve if the disk is full. When it cannot be written, all of it has
        failed: a verdict on one transaction may stand on another that came to nothing."""
        if self._failed:
            return [(request.future, self._refusal()) for request in group], []
        try:
            try:
                return self._write(group)
            except sqlite3.Error as error:
                self._roll_back()
                if not isinstance(explain(error, self._path), NoSpace) or not self._reserve.release():
                    raise
            return self._write(group)
        except (sqlite3.Error, OSError) as error:
            return [(request.future, self._failure(error)) for request in group], []
        except Exception as error:  # noqa: BLE001  whatever it was, those who wait must hear of it, as ours
            self._failed = repr(error)
            self._roll_back()
            return [(request.future, Bug(f"the writer failed: {error!r}", self._path)) for request in group], []

    def _write(self, group: list[Request]) -> tuple[list[Outcome], list[Written]]:
        """One attempt. Raises sqlite3.Error."""
        execute = self._connection.execute
        execute("BEGIN IMMEDIATE")
        outcomes, written, latest, log = self._evaluate(group)
        if not written:
            execute("ROLLBACK")
            return outcomes, written
        many = self._connection.executemany
        many(_PUT, [row for row in latest.values() if row is not None])
        many(_DELETE, [(key,) for key, row in latest.items() if row is None])
        many(_LOG, log)
        newest = written[-1][0]
        oldest = self._compact(newest, len(written))
        execute("COMMIT")
        self.revision = newest
        self._oldest = oldest
        return outcomes, written

    def _evaluate(self, group: list[Request]) -> tuple[list[Outcome], list[Written], dict[str, Row | None], list[LogRow]]:
        """Decide each transaction in turn. The answer holds the outcomes, what each revision changes, the last state of
        each changed key (None: deleted), and the rows of the change log."""
        outcomes: list[Outcome] = []
        written: list[Written] = []
        latest: dict[str, Row | None] = {}
        log: list[LogRow] = []
        revisions: dict[str, int] = {}  # of the keys that this group has looked at or written
        revision = self.revision
        execute = self._connection.execute

        def find(key: str) -> int:
            found = revisions.get(key)
            if found is None:
                row = execute(_FIND, (key,)).fetchone()
                found = revisions[key] = row[0] if row else 0
            return found

        for request in group:
            for comparison in request.compare:
                if find(comparison.key) != comparison.revision:
                    outcomes.append((request.future, Unmet(comparison.key)))
                    break
            else:
                upcoming = revision + 1
                changes: list[tuple[str, bytes | None]] = []
                for op in request.ops:
                    key = op.key
                    if type(op) is Put:
                        value = op.value
                        latest[key] = (key, value, upcoming)
                        revisions[key] = upcoming
                        log.append((upcoming << ORDINAL_BITS | len(changes), key, value))
                        changes.append((key, value))
                    elif find(key):
                        latest[key] = None
                        revisions[key] = 0
                        log.append((upcoming << ORDINAL_BITS | len(changes), key, None))
                        changes.append((key, None))
                if changes:
                    revision = upcoming
                    written.append((revision, changes))
                outcomes.append((request.future, revision))
        return outcomes, written, latest, log

    def _compact(self, newest: int, added: int) -> int:
        """Drop a slice of the oldest changes when the log is longer than it should be; the oldest revision that is
        left. Slices outpace what is added, so that a log grows short even under load, and stay small, so that nobody
        waits for them."""
        excess = newest - self._oldest + 1 - self._kept
        if excess < SLICE:
            return self._oldest
        oldest = self._oldest + min(excess, max(SLICE, 2 * added))
        self._connection.execute(_COMPACT, (oldest << ORDINAL_BITS,))
        return oldest

    def _failure(self, error: sqlite3.Error | OSError) -> CoveyError:
        """What a transaction's caller is told; takes the store out of service unless the failure will pass."""
        self._roll_back()
        failure = explain(error, self._path)
        if isinstance(failure, NoSpace):
            return failure
        if not (isinstance(error, sqlite3.Error) and is_passing(error)):
            # after a failed flush nobody can tell what the disk holds: only opening it anew (and replaying its log) can
            self._failed = failure.what
        return Unavailable(failure.what, self._path, failure.hint)

    def _refusal(self) -> Unavailable:
        return Unavailable(f"the store stopped writing: {self._failed}", self._path, "see to its disk, then start Covey again")

    def _roll_back(self) -> None:
        try:
            if self._connection.in_transaction:  # SQLite rolls back by itself after some errors
                self._connection.execute("ROLLBACK")
        except sqlite3.Error as error:
            self._failed = f"a transaction could not be rolled back: {error}"

    def _take_reserve_again(self) -> None:
        try:
            self._reserve.take_again()
        except OSError:
            pass  # no records depend on it; `reserve_used` tells, and the next attempt comes by itself

    def _put_away(self) -> None:
        """Carry the write-ahead log over into the database and close it."""
        try:
            self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        except sqlite3.Error:
            pass  # on a full or failing disk the log stays where it is, complete, and the next opening reads it
        self._connection.close()
