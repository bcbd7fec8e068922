"""The store of several machines: etcd, Debian's own, spoken to by gRPC with mutual TLS.

What etcd promises is what the Store protocol asks for (revisions, transactions with comparisons, watches from a revision), so this is a thin
layer. It adds what the engines of one machine have besides: `kept` revisions of history, and watches that have been handed a change before
who made it hears of it. etcd must allow 128 operations a transaction and 1.5 MiB a request, as it does unless told otherwise.

A transaction is sent once. When a member dies with it, its outcome is unknown, and Unavailable says so: the ledger reads the job again.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Collection, Iterator, Sequence
from contextlib import contextmanager, suppress

import structlog

from covey.base.clock import Clock
from covey.base.errors import Bug, CoveyError, NotFound, Unavailable
from covey.base.identity import CertificateFiles
from covey.store.etcd_lease import EtcdLease
from covey.store.etcd_link import Link, Member
from covey.store.etcd_members import EtcdMembers
from covey.store.etcd_messages import (
    ALARM,
    ASCENDING,
    COMPACT,
    DEACTIVATE,
    DEFRAGMENT,
    DESCENDING,
    EQUAL,
    GRANT,
    MODIFIED,
    NO_SPACE,
    RANGE,
    STATUS,
    TXN,
    AlarmRequest,
    CompactionRequest,
    Comparison,
    DeleteRequest,
    EmptyRequest,
    KeyValue,
    LeaseGrantRequest,
    PutRequest,
    RangeRequest,
    RequestOp,
    TxnAnswer,
    TxnRequest,
)
from covey.store.etcd_watch import UNBOUNDED, EtcdWatch, Follower
from covey.store.lease import check_duration
from covey.store.limits import check_key, check_listing, check_prefix, check_transaction, prefix_end
from covey.store.protocol import LEASES, Batch, Ended, Entry, Lease, Listing, Op, Put, Unchanged, Unmet, absent

KEPT_REVISIONS = 10_000
WITNESS_S = 1.5  # a watch that has not been handed a change for so long is not keeping up
REWRITE_S = 120.0  # for a member's database; it answers nobody meanwhile
_ANY = RangeRequest(UNBOUNDED, UNBOUNDED, limit=1, keys_only=True)  # asked for the sake of the revision it is answered with
log = structlog.get_logger()


class EtcdStore:
    """See `Store`. Leases are etcd's, and end by this process's clock at the latest."""

    __slots__ = ("_clock", "_compact_at", "_followers", "_idle", "_is_open", "_kept", "_link", "_under_way")

    def __init__(self, link: Link, clock: Clock, kept: int, revision: int) -> None:
        self._link = link
        self._clock = clock
        self._kept = kept
        self._compact_at = revision + kept // 10
        self._followers: set[Follower] = set()
        self._is_open = True
        self._under_way = 0
        self._idle = asyncio.Event()
        self._idle.set()

    @classmethod
    async def open(
        cls, addresses: Sequence[str], files: CertificateFiles, clock: Clock, *, kept: int = KEPT_REVISIONS
    ) -> EtcdStore:
        """Speak to etcd's members at `addresses` (HOST:PORT, the nearest first), showing our certificate and believing those that its
        authority signed. `kept` is the number of revisions that a watch can go back.

        Raises Unavailable when no member answers, or will have us; NotFound without certificate."""
        link = Link(addresses, files)
        try:
            present = await link.read(RANGE, _ANY)
        except BaseException:
            await link.close()
            raise
        return cls(link, clock, kept, present.header.revision)

    async def get(self, key: str) -> Entry | None:
        check_key(key)
        with self._working():
            answer = await self._link.read(RANGE, RangeRequest(key.encode()))
        return _entry(answer.kvs[0]) if answer.kvs else None

    async def list(self, prefix: str, *, start: str = "", limit: int = 0, descending: bool = False) -> Listing:
        check_listing(prefix, start, limit)
        end = prefix_end(prefix)
        if descending:
            first, beyond = prefix, min(end or start, start or end or "")
        else:
            first, beyond = max(prefix, start), end or ""
        order = DESCENDING if descending else ASCENDING
        request = RangeRequest(first.encode() or UNBOUNDED, beyond.encode() or UNBOUNDED, limit, order)
        with self._working():
            answer = await self._link.read(RANGE, request)
        return Listing(tuple([_entry(found) for found in answer.kvs]), answer.header.revision)

    async def txn(self, compare: Sequence[Unchanged], ops: Sequence[Op]) -> int:
        check_transaction(compare, ops)
        compare, ops = tuple(compare), tuple(ops)
        with self._working():
            answer = await self._link.write(TXN, _request(compare, ops))
            if not answer.succeeded:
                raise Unmet(_first_unmet(compare, answer))
            revision = answer.header.revision
            await self._let_watches_see(revision, _changed(ops, answer))
            await self._compact(revision)
        return revision

    def watch(self, prefix: str, from_revision: int) -> AsyncIterator[Batch]:
        check_prefix(prefix)
        self._check_open()
        follower = Follower(prefix, from_revision, self._link, self._followers.discard)
        self._followers.add(follower)
        return EtcdWatch(follower)

    async def lease(self, ttl_s: float) -> Lease:
        check_duration(ttl_s)
        asked_at = self._clock.monotonic()
        with self._working():
            granted = await self._link.read(GRANT, LeaseGrantRequest(math.ceil(ttl_s)))  # one that nobody hears of ends by itself
            key = f"{LEASES}{granted.id:016x}"
            try:
                made = await self._link.read(TXN, _request((absent(key),), (Put(key, b""),), granted.id))
            except NotFound as error:
                raise Ended(granted.id) from error  # all that took too long
        asked_before = made.responses[0].range  # of another member, which was slow to answer
        revision = made.header.revision if made.succeeded or not asked_before else asked_before.kvs[0].mod_revision
        held = Unchanged(key, revision)
        return EtcdLease(granted.id, held, ttl_s, asked_at, self._clock, self._link, self._working)

    async def close(self) -> None:
        self._is_open = False
        await self._idle.wait()
        followers = tuple(self._followers)
        for follower in followers:
            follower.end()
        for follower in followers:
            await follower.ended()
        await self._link.close()

    @property
    def members(self) -> EtcdMembers:
        """The servers themselves."""
        return EtcdMembers(self._link)

    @property
    def addresses(self) -> tuple[str, ...]:
        """Where it is: of the members that take clients."""
        return tuple(member.address for member in self._link.members)

    def be_with(self, addresses: Sequence[str]) -> None:
        """Speak to these members from now on, the nearest first."""
        self._link.be_with(addresses)

    async def is_full(self) -> bool:
        """Whether a member has said that its database has reached its limit: then all refuse to write. Raises Unavailable."""
        with self._working():
            return any(alarm.alarm == NO_SPACE for alarm in (await self._link.read(ALARM, AlarmRequest())).alarms)

    async def make_room(self) -> int:
        """Give back what etcd's database keeps of the past: forget all history, have each member write its file anew, and lift the alarm
        that a full database has raised. Returns the size of the largest member's file, in bytes.

        Raises Unavailable when a member could not do it; the others have."""
        size, failure = 0, None
        with self._working():
            present = (await self._link.read(RANGE, _ANY)).header.revision
            for member in self._link.members:
                try:
                    size = max(size, await self._rewrite(member, present))
                except Unavailable as error:
                    failure = error
            for alarm in (await self._link.read(ALARM, AlarmRequest())).alarms:
                if alarm.alarm == NO_SPACE:
                    await self._link.read(ALARM, AlarmRequest(DEACTIVATE, alarm.member_id, NO_SPACE))
        if failure:
            raise failure
        return size

    async def _rewrite(self, member: Member, revision: int) -> int:
        """Have a member forget what was before a revision, and write its file anew; the bytes of it. Raises Unavailable."""
        with suppress(NotFound):  # forgotten already
            await self._link.ask_member(member, COMPACT, CompactionRequest(revision, physical=True), REWRITE_S)
        await self._link.ask_member(member, DEFRAGMENT, EmptyRequest(), REWRITE_S)
        return (await self._link.ask_member(member, STATUS, EmptyRequest(), REWRITE_S)).db_size

    async def _let_watches_see(self, revision: int, keys: Collection[str]) -> None:
        """Who hears that a transaction was written finds its view to hold it."""
        witnesses = {each.witness(revision): each for each in self._followers if each.awaits(revision, keys)}
        if witnesses:
            _, missing = await asyncio.wait(witnesses, timeout=WITNESS_S)
            for witness in missing:
                witnesses[witness].doubt()
        await asyncio.sleep(0)  # the watches were handed it: their readers go first

    async def _compact(self, revision: int) -> None:
        """Forget, now and then, what is older than what is kept."""
        if revision < self._compact_at:
            return
        self._compact_at = revision + self._kept // 10
        if revision > self._kept:
            try:
                await self._link.read(COMPACT, CompactionRequest(revision - self._kept))
            except NotFound:
                pass  # somebody else's store has done it
            except CoveyError as error:
                log.warning("the store's history grows: it could not be compacted", error=str(error))

    @contextmanager
    def _working(self) -> Iterator[None]:
        """Of a call under way: closing waits for it. Raises Unavailable when the store is closed."""
        self._check_open()
        self._under_way += 1
        self._idle.clear()
        try:
            yield
        finally:
            self._under_way -= 1
            if not self._under_way:
                self._idle.set()

    def _check_open(self) -> None:
        if not self._is_open:
            raise Unavailable("the store is closed", self._link.name)


def _request(compare: Sequence[Unchanged], ops: Sequence[Op], lease: int = 0) -> TxnRequest:
    """A transaction; when a comparison does not hold, the present revisions of all that were compared come back. What is put under a
    lease goes with it."""
    return TxnRequest(
        tuple(Comparison(EQUAL, MODIFIED, each.key.encode(), each.revision) for each in compare),
        tuple(_op(op, lease) for op in ops) or (RequestOp(range=_ANY),),
        tuple(RequestOp(range=RangeRequest(each.key.encode(), keys_only=True)) for each in compare),
    )


def _op(op: Op, lease: int) -> RequestOp:
    if isinstance(op, Put):
        return RequestOp(put=PutRequest(op.key.encode(), op.value, lease))
    return RequestOp(delete=DeleteRequest(op.key.encode()))


def _first_unmet(compare: Sequence[Unchanged], answer: TxnAnswer) -> str:
    """The first key that differed, in a transaction that was not written."""
    for each, response in zip(compare, answer.responses, strict=True):
        found = response.range.kvs if response.range else ()
        if (found[0].mod_revision if found else 0) != each.revision:
            return each.key
    raise Bug("etcd did not write a transaction whose comparisons all hold", "store")


def _changed(ops: Sequence[Op], answer: TxnAnswer) -> list[str]:
    """The keys that a written transaction has changed: not those that it deleted where nothing was."""
    return [
        op.key
        for op, response in zip(ops, answer.responses, strict=False)
        if isinstance(op, Put) or (response.delete and response.delete.deleted)
    ]


def _entry(found: KeyValue) -> Entry:
    return Entry(found.key.decode(), found.value, found.mod_revision)
