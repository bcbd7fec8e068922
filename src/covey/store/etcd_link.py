"""The way to etcd's members: a channel to each, and which of them is asked.

A read may be asked of several members: when the first is slow, the next is asked beside it, and the first answer counts. A write is sent to
one member, once: it goes to another only when it certainly was not taken. All say `hasleader`, so that a member that was cut off refuses at
once instead of keeping silent. An answer of an older raft term than one that was seen before is refused: who gives it was cut off, or
brought back from a copy.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import grpc
import grpc.aio

from covey.base.errors import BadInput, Bug, CoveyError, NoSpace, NotFound, Unavailable
from covey.base.identity import CertificateFiles
from covey.store.etcd_messages import WATCH, A, Answer, Procedure, WatchAnswer, WatchRequest, decode, encode
from covey.store.protocol import Compacted

PATIENCE_S = 4.5  # for a read or a write, all members together
HEDGE_S = 1.0  # a member that has not answered a read for so long is not waited for alone
OPENING_S = 1.5  # until a member says that it has taken on a watch
PAUSE_S = 0.1  # when all members have said no
_HAS_LEADER = (("hasleader", "true"),)
_OPTIONS = (
    ("grpc.keepalive_time_ms", 6_000),  # etcd takes a ping every 5 s, and hangs up on who pings more often
    ("grpc.http2.ping_timeout_ms", 3_000),  # how long a ping may go unanswered; "grpc.keepalive_timeout_ms" has no effect (1.85)
    ("grpc.http2.max_pings_without_data", 0),  # else a quiet watch would not notice that its member is gone
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 1_000),  # also the time that a connection may take
    ("grpc.max_reconnect_backoff_ms", 1_000),
    ("grpc.max_receive_message_length", -1),
    ("grpc.use_local_subchannel_pool", 1),
)
# What is said of a request that no member has taken. Whatever else is said of a write leaves its outcome open, so a change of these words
# would make Covey more careful, not less.
_NOT_TAKEN = ("failed to connect to all addresses", "etcdserver: no leader")
_NO_SPACE = "database space exceeded"
_TOO_LARGE = "request is too large"


class Member:
    """One of etcd's servers, as this process sees it."""

    __slots__ = ("_calls", "address", "channel")

    def __init__(self, address: str, credentials: grpc.ChannelCredentials) -> None:
        self.address = address
        self.channel = grpc.aio.secure_channel(address, credentials, options=_OPTIONS)
        self._calls: dict[str, Any] = {}

    def call(self, procedure: Procedure[Any]) -> Any:
        """What to call: grpc's object for the procedure, made once."""
        found = self._calls.get(procedure.path)
        if found is None:
            make = self.channel.stream_stream if procedure.streams else self.channel.unary_unary
            found = self._calls[procedure.path] = make(
                procedure.path, request_serializer=encode, response_deserializer=partial(decode, procedure.answer)
            )
        return found


class Link:
    """All members, the one that served last first."""

    def __init__(self, addresses: Sequence[str], files: CertificateFiles) -> None:
        try:
            shown = (files.ca.read_bytes(), files.key.read_bytes(), files.certificate.read_bytes())
        except OSError as error:
            raise NotFound(f"a certificate for etcd cannot be read: {error.strerror}", error.filename) from error
        self._credentials = grpc.ssl_channel_credentials(*shown)
        self.members: tuple[Member, ...] = ()
        self._order: deque[Member] = deque()
        self._term = 0
        self._left: list[Member] = []  # asked no more; what is under way there may still be answered
        self.be_with(addresses)

    def be_with(self, addresses: Sequence[str]) -> None:
        """From now on these are the members, the nearest first."""
        known = {member.address: member for member in self.members}
        self._left += [member for address, member in known.items() if address not in addresses]
        self.members = tuple(known.get(address) or Member(address, self._credentials) for address in addresses)
        self._order = deque(self.members)
        self.name = "etcd at " + ", ".join(addresses)

    async def read(self, procedure: Procedure[A], request: object, patience_s: float = PATIENCE_S) -> A:
        """The first answer of any member. For what may be done twice. Raises CoveyError."""
        asked: set[asyncio.Task[A | CoveyError]] = set()
        deadline = asyncio.get_running_loop().time() + patience_s
        upcoming: list[Member] = list(self._order)
        failure: CoveyError = Unavailable("it gave no answer in time", self.name)
        try:
            while (left := deadline - asyncio.get_running_loop().time()) > 0:
                if upcoming:
                    asked.add(asyncio.create_task(self._outcome(upcoming.pop(0), procedure, request, left)))
                elif not asked:
                    if left < 2 * PAUSE_S:
                        break  # what a member has said tells more than that it was given no time to say it again
                    await asyncio.sleep(PAUSE_S)
                    upcoming = list(self._order)
                    continue
                done, asked = await asyncio.wait(
                    asked, timeout=min(HEDGE_S, left) if upcoming else left, return_when=asyncio.FIRST_COMPLETED
                )
                for task in done:
                    outcome = task.result()
                    if not isinstance(outcome, CoveyError):
                        return outcome
                    if type(outcome) is not Unavailable:
                        raise outcome
                    failure = outcome
        finally:
            for task in asked:
                task.cancel()
        raise failure

    async def write(self, procedure: Procedure[A], request: object) -> A:
        """One member's answer to a request that must not be carried out twice. Raises CoveyError; after Unavailable the outcome may be
        unknown."""
        deadline = asyncio.get_running_loop().time() + PATIENCE_S
        while True:
            for member in tuple(self._order):
                left = deadline - asyncio.get_running_loop().time()
                try:
                    return await self._ask(member, procedure, request, max(left, PAUSE_S))
                except grpc.aio.AioRpcError as error:
                    failure = self._explain(error, member)
                    if _was_not_taken(error) and left > PAUSE_S:
                        continue
                    if type(failure) is Unavailable and not _was_not_taken(error):
                        failure.what += "; whether the transaction was written is not known"
                    raise failure from error
            await asyncio.sleep(PAUSE_S)

    async def ask_member(self, member: Member, procedure: Procedure[A], request: object, patience_s: float) -> A:
        """This very member's answer. Raises CoveyError."""
        try:
            return await self._ask(member, procedure, request, patience_s)
        except grpc.aio.AioRpcError as error:
            raise self._explain(error, member) from error

    @asynccontextmanager
    async def watching(self, request: WatchRequest) -> AsyncIterator[Callable[[], Awaitable[WatchAnswer]]]:
        """A watch that a member has taken on, as what to call for its next answer; it ends with the block. Raises Unavailable, there
        too; a TimeoutError in the block means that the member was too slow."""
        member = self._order[0]
        call = member.call(WATCH)(metadata=_HAS_LEADER)
        term = self._term

        async def following() -> WatchAnswer:
            answer = await call.read()
            if not isinstance(answer, WatchAnswer):
                raise Unavailable("it ended a watch", member.address)
            self._check_term(answer, term, member)
            return answer

        try:
            async with asyncio.timeout(OPENING_S):
                await call.write(request)
                await following()
            yield following
        except (grpc.aio.AioRpcError, Unavailable, TimeoutError) as error:
            if not isinstance(error, Compacted):
                self._pass_over(member)
            if isinstance(error, grpc.aio.AioRpcError):
                raise self._explain(error, member) from error
            if isinstance(error, TimeoutError):
                raise Unavailable("it gave no answer in time", member.address) from error
            raise
        finally:
            call.cancel()

    async def close(self) -> None:
        for member in (*self.members, *self._left):
            await member.channel.close()

    async def _outcome(self, member: Member, procedure: Procedure[A], request: object, patience_s: float) -> A | CoveyError:
        try:
            answer = await self._ask(member, procedure, request, patience_s)
        except grpc.aio.AioRpcError as error:
            return self._explain(error, member)
        except CoveyError as error:
            return error
        while member in self._order and self._order[0] is not member:  # those before it were asked, too, and are slower or silent
            self._order.rotate(-1)
        return answer

    async def _ask(self, member: Member, procedure: Procedure[A], request: object, patience_s: float) -> A:
        """Raises AioRpcError; Unavailable for an answer of an older term, or one that makes no sense."""
        term = self._term
        call = member.call(procedure)
        try:
            if procedure.streams:
                stream = call(metadata=_HAS_LEADER, timeout=patience_s)
                try:
                    await stream.write(request)
                    answer = await stream.read()
                finally:
                    stream.cancel()
            else:
                answer = await call(request, metadata=_HAS_LEADER, timeout=patience_s)
        except grpc.aio.AioRpcError as error:
            if error.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED):
                self._pass_over(member)
            raise
        if not isinstance(answer, procedure.answer):
            raise Unavailable("it gave no answer that makes sense", member.address)
        self._check_term(answer, term, member)
        return answer

    def _check_term(self, answer: Answer, known: int, member: Member) -> None:
        """`known` is the highest term that was seen before it was asked; etcd's answers about alarms tell none. Raises Unavailable."""
        term = answer.header.raft_term
        if 0 < term < known:
            self._pass_over(member)
            raise Unavailable(
                f"it answers as of term {term}, but term {known} was seen: it was cut off, or brought back from a copy",
                member.address,
                "remove this member and let it join anew",
            )
        self._term = max(self._term, term)

    def _pass_over(self, member: Member) -> None:
        """Ask the next one first from now on."""
        if self._order[0] is member:
            self._order.rotate(-1)

    def _explain(self, error: grpc.aio.AioRpcError, member: Member) -> CoveyError:
        """What a failed call means."""
        code, details = error.code(), (error.details() or "").strip()
        if _NO_SPACE in details:
            return NoSpace(
                "its database has reached its limit, nothing was written",
                self.name,
                "covey cluster compact; if that does not help, remove what is not needed: that still works",
            )
        if _TOO_LARGE in details:
            return BadInput("the transaction is too large for etcd", self.name, "write in several transactions")
        if code in (grpc.StatusCode.NOT_FOUND, grpc.StatusCode.OUT_OF_RANGE):
            return NotFound(details, self.name)  # a lease that has ended, a revision that is forgotten
        if code is grpc.StatusCode.INVALID_ARGUMENT:
            return Bug(f"etcd does not understand the request: {details}", self.name)
        if code is grpc.StatusCode.DEADLINE_EXCEEDED:
            details = "it gave no answer in time"
        return Unavailable(
            details or f"the call ended with {code.name}",
            member.address,
            "see that most of its members run and reach each other, and that its authority signed our certificate",
        )


def _was_not_taken(error: grpc.aio.AioRpcError) -> bool:
    """True when the request certainly was not carried out, and will not be."""
    return (error.details() or "").startswith(_NOT_TAKEN)
