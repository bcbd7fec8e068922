"""The Store: small records under keys, changed in transactions, watched from a revision.

The shape is etcd's (https://etcd.io/docs/v3.4/learning/api/), so that one machine's SQLite and several machines' etcd
are the same to all that stands above. Limits are etcd's too: at most 128 operations a transaction, 1.5 MiB a request.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from covey.base.errors import Conflict, Unavailable

LARGEST_TRANSACTION = 128  # operations and comparisons, each
LARGEST_REQUEST = 1_500_000  # bytes
LEASES = "lease/"  # the keys of leases; nobody but the store writes there


@dataclass(frozen=True, slots=True)
class Entry:
    """One key's present value and the revision that wrote it."""

    key: str
    value: bytes
    revision: int


@dataclass(frozen=True, slots=True)
class Listing:
    """Entries in key order, all as of one revision of the store."""

    entries: tuple[Entry, ...]
    revision: int


@dataclass(frozen=True, slots=True)
class Unchanged:
    """The comparison: `key` was last written by `revision`; 0 means that it is absent."""

    key: str
    revision: int


def absent(key: str) -> Unchanged:
    return Unchanged(key, 0)


@dataclass(frozen=True, slots=True)
class Put:
    key: str
    value: bytes


@dataclass(frozen=True, slots=True)
class Delete:
    """Removes the key; removing an absent one is no change: a transaction of nothing else has no revision of its own."""

    key: str


Op = Put | Delete


@dataclass(frozen=True, slots=True)
class Change:
    """One key's new value, or None when it was deleted."""

    key: str
    value: bytes | None


@dataclass(frozen=True, slots=True)
class Batch:
    """All changes of one revision under the watched prefix, in the order of the operations: applied as one."""

    revision: int
    changes: tuple[Change, ...]


class Unmet(Conflict):
    """A comparison did not hold; nothing was written. `key` is the first that differed."""

    def __init__(self, key: str) -> None:
        super().__init__("somebody else changed it first", key, "read it again and retry")
        self.key = key


class Compacted(Unavailable):
    """The asked revisions are no longer kept: list again, then watch from that listing's revision + 1."""

    def __init__(self, oldest: int) -> None:
        super().__init__(f"changes before revision {oldest} are no longer kept", "store")
        self.oldest = oldest


class Ended(Unavailable):
    """The lease is over, and does not come back."""

    def __init__(self, lease: int) -> None:
        super().__init__("the lease has ended", f"lease {lease}", "ask for a new one")


class Lease(Protocol):
    """A right that ends by itself unless renewed; elects the leader and nothing more (S1)."""

    @property
    def id(self) -> int: ...

    @property
    def held(self) -> Unchanged:
        """Holds for as long as the lease does: each lease has a key in the store, which goes, for all to see, in the moment in which
        the lease ends. By the holder's own clock it has ended before that."""
        ...

    async def renew(self) -> None:
        """Raises Ended once it has expired or was revoked; Unavailable when the store does not answer: then it goes on to run out."""
        ...

    async def revoke(self) -> None:
        """Raises Unavailable when the store does not answer; it has ended for its holder all the same."""
        ...


class Store(Protocol):
    """Keys are any text but the empty one, ordered by code point. Revisions are without gaps: one for each transaction that
    changed something, the first is 1 or a little more. Writing a key's present value again is a change.

    Every call raises BadInput for a key that cannot be one, and Unavailable when the store is closed or does not answer."""

    async def get(self, key: str) -> Entry | None: ...

    async def list(self, prefix: str, *, start: str = "", limit: int = 0, descending: bool = False) -> Listing:
        """Entries whose key begins with `prefix`, in key order, at most `limit` (0: all). Ascending from `start` on (inclusive), or,
        when `descending`, from the last key down, those before `start` (exclusive; "" for no bound)."""
        ...

    async def txn(self, compare: Sequence[Unchanged], ops: Sequence[Op]) -> int:
        """Write all `ops` in one revision, if all of `compare` hold, durably; returns the revision that wrote them (the present one
        when there is nothing to write). When it returns, watchers that are keeping up have been handed the change: a task that
        waits for its watch runs before the caller does.

        Raises Unmet when a comparison does not hold, BadInput beyond the limits or when two of `ops` name one key, NoSpace when the
        disk is full, Unavailable when the store is closed or cannot write; nothing is written then, save that after Unavailable (and
        after the caller was cancelled) the outcome may be unknown."""
        ...

    def watch(self, prefix: str, from_revision: int) -> AsyncIterator[Batch]:
        """All changes from `from_revision` on (inclusive; it may lie in the future), in order, one batch a revision, for ever. To be
        iterated by one task; dropping the iterator ends the watch. Its first step, or a later one when its reader is slow, raises
        Compacted, and then it is over."""
        ...

    async def lease(self, ttl_s: float) -> Lease:
        """A new lease, for `ttl_s` seconds (BadInput unless positive), with an id and a key that no lease of this store had before."""
        ...

    async def close(self) -> None:
        """End the watches (their iterators finish, after what they were handed already) and refuse further calls with Unavailable.
        Transactions under way are finished first. May be called again."""
        ...
