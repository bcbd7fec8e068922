"""The part of etcd's gRPC interface that Covey speaks: messages, each a frozen class whose fields name their numbers in etcd's `rpc.proto`
and `kv.proto` (3.4), and the few lines that turn them into protobuf's bytes and back.

Fields that are not listed here are skipped when they come, as protobuf has it, so newer servers are understood.
"""

# ruff: noqa: RUF009  (the defaults are made by `at`, and frozen like all of them)
from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from typing import Any, Generic, NamedTuple, TypeVar

M = TypeVar("M")
A = TypeVar("A", bound="Answer")

_VARINT, _FIXED_64, _LENGTH, _FIXED_32 = 0, 1, 2, 5  # how a value is laid out
_FIXED_SIZES = {_FIXED_64: 8, _FIXED_32: 4}
_WRAP = 1 << 64  # negative numbers are written as if they were unsigned, of 64 bits


class _Field(NamedTuple):
    """Where a field of a message stands. `of` is the class of the message in it, None for bytes, text and numbers;
    `bytes` for a list of these."""

    number: int
    name: str
    default: Any
    of: type[Any] | None


def at(number: int, default: Any, of: type[Any] | None = None) -> Any:
    """A field. The default tells its kind: a tuple is a list of messages (or of bytes), any other default with `of` is a single message."""
    return field(default=default, metadata={"number": number, "of": of})


_known: dict[type[Any], dict[int, _Field]] = {}

# --- what is said about keys ------------------------------------------------------------------------------------------------------------
EQUAL, MODIFIED = 0, 2  # of a comparison: how, and what
ASCENDING, DESCENDING = 1, 2  # in which order a range is listed, by key
DELETED = 1  # of an event; 0 is a put
DEACTIVATE, NO_SPACE = 2, 1  # of alarms


@dataclass(frozen=True, slots=True)
class Header:
    revision: int = at(3, 0)
    raft_term: int = at(4, 0)


@dataclass(frozen=True, slots=True)
class KeyValue:
    key: bytes = at(1, b"")
    mod_revision: int = at(3, 0)
    value: bytes = at(5, b"")


@dataclass(frozen=True, slots=True)
class RangeRequest:
    key: bytes = at(1, b"")
    range_end: bytes = at(2, b"")
    limit: int = at(3, 0)
    sort_order: int = at(5, 0)
    keys_only: bool = at(8, False)


@dataclass(frozen=True, slots=True)
class PutRequest:
    key: bytes = at(1, b"")
    value: bytes = at(2, b"")
    lease: int = at(3, 0)


@dataclass(frozen=True, slots=True)
class DeleteRequest:
    key: bytes = at(1, b"")


@dataclass(frozen=True, slots=True)
class Comparison:
    result: int = at(1, EQUAL)
    target: int = at(2, 0)
    key: bytes = at(3, b"")
    mod_revision: int = at(6, 0)


@dataclass(frozen=True, slots=True)
class RequestOp:
    """One of these."""

    range: RangeRequest | None = at(1, None, RangeRequest)
    put: PutRequest | None = at(2, None, PutRequest)
    delete: DeleteRequest | None = at(3, None, DeleteRequest)


@dataclass(frozen=True, slots=True)
class TxnRequest:
    compare: tuple[Comparison, ...] = at(1, (), Comparison)
    success: tuple[RequestOp, ...] = at(2, (), RequestOp)
    failure: tuple[RequestOp, ...] = at(3, (), RequestOp)


@dataclass(frozen=True, slots=True)
class CompactionRequest:
    revision: int = at(1, 0)
    physical: bool = at(2, False)


@dataclass(frozen=True, slots=True)
class WatchCreateRequest:
    key: bytes = at(1, b"")
    range_end: bytes = at(2, b"")
    start_revision: int = at(3, 0)


@dataclass(frozen=True, slots=True)
class WatchRequest:
    create: WatchCreateRequest | None = at(1, None, WatchCreateRequest)


@dataclass(frozen=True, slots=True)
class LeaseGrantRequest:
    ttl: int = at(1, 0)


@dataclass(frozen=True, slots=True)
class LeaseRequest:
    """To revoke it, or to keep it alive."""

    id: int = at(1, 0)


@dataclass(frozen=True, slots=True)
class AlarmMember:
    member_id: int = at(1, 0)
    alarm: int = at(2, 0)


@dataclass(frozen=True, slots=True)
class AlarmRequest:
    action: int = at(1, 0)
    member_id: int = at(2, 0)
    alarm: int = at(3, 0)


@dataclass(frozen=True, slots=True)
class EmptyRequest:
    """To defragment, to ask how a member is, and which there are."""


@dataclass(frozen=True, slots=True)
class MemberAddRequest:
    peer_urls: tuple[bytes, ...] = at(1, (), bytes)
    is_learner: bool = at(2, False)


@dataclass(frozen=True, slots=True)
class MemberRequest:
    """To remove it, or to give it a vote."""

    id: int = at(1, 0)


# --- what comes back --------------------------------------------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class Answer:
    """All of them say as of which revision and term they are."""

    header: Header = at(1, Header(), Header)


@dataclass(frozen=True, slots=True)
class RangeAnswer(Answer):
    kvs: tuple[KeyValue, ...] = at(2, (), KeyValue)


@dataclass(frozen=True, slots=True)
class DeleteAnswer(Answer):
    deleted: int = at(2, 0)


@dataclass(frozen=True, slots=True)
class AnswerOp:
    """What became of one operation; a put has nothing to tell."""

    range: RangeAnswer | None = at(1, None, RangeAnswer)
    delete: DeleteAnswer | None = at(3, None, DeleteAnswer)


@dataclass(frozen=True, slots=True)
class TxnAnswer(Answer):
    succeeded: bool = at(2, False)
    responses: tuple[AnswerOp, ...] = at(3, (), AnswerOp)


@dataclass(frozen=True, slots=True)
class Event:
    type: int = at(1, 0)
    kv: KeyValue = at(2, KeyValue(), KeyValue)


@dataclass(frozen=True, slots=True)
class WatchAnswer(Answer):
    canceled: bool = at(4, False)
    compact_revision: int = at(5, 0)
    cancel_reason: bytes = at(6, b"")
    events: tuple[Event, ...] = at(11, (), Event)


@dataclass(frozen=True, slots=True)
class LeaseAnswer(Answer):
    """Of a grant and of a renewal. No time to live: the lease has ended."""

    id: int = at(2, 0)
    ttl: int = at(3, 0)


@dataclass(frozen=True, slots=True)
class AlarmAnswer(Answer):
    alarms: tuple[AlarmMember, ...] = at(2, (), AlarmMember)


@dataclass(frozen=True, slots=True)
class StatusAnswer(Answer):
    db_size: int = at(3, 0)


@dataclass(frozen=True, slots=True)
class PeerMember:
    """`name` is "" until it has come for the first time. A learner has no vote."""

    id: int = at(1, 0)
    name: bytes = at(2, b"")
    peer_urls: tuple[bytes, ...] = at(3, (), bytes)
    client_urls: tuple[bytes, ...] = at(4, (), bytes)
    is_learner: bool = at(5, False)


@dataclass(frozen=True, slots=True)
class MemberListAnswer(Answer):
    """Of all that is asked about members."""

    members: tuple[PeerMember, ...] = at(2, (), PeerMember)


@dataclass(frozen=True, slots=True)
class MemberAddAnswer(Answer):
    member: PeerMember = at(2, PeerMember(), PeerMember)
    members: tuple[PeerMember, ...] = at(3, (), PeerMember)


@dataclass(frozen=True, slots=True)
class Procedure(Generic[A]):
    """A remote procedure and the kind of its answers. One that `streams` takes any number of requests and gives any number of answers."""

    path: str
    answer: type[A]
    streams: bool = False


RANGE = Procedure("/etcdserverpb.KV/Range", RangeAnswer)
TXN = Procedure("/etcdserverpb.KV/Txn", TxnAnswer)
COMPACT = Procedure("/etcdserverpb.KV/Compact", Answer)
WATCH = Procedure("/etcdserverpb.Watch/Watch", WatchAnswer, streams=True)
GRANT = Procedure("/etcdserverpb.Lease/LeaseGrant", LeaseAnswer)
REVOKE = Procedure("/etcdserverpb.Lease/LeaseRevoke", Answer)
KEEP_ALIVE = Procedure("/etcdserverpb.Lease/LeaseKeepAlive", LeaseAnswer, streams=True)
ALARM = Procedure("/etcdserverpb.Maintenance/Alarm", AlarmAnswer)
DEFRAGMENT = Procedure("/etcdserverpb.Maintenance/Defragment", Answer)
STATUS = Procedure("/etcdserverpb.Maintenance/Status", StatusAnswer)
MEMBERS = Procedure("/etcdserverpb.Cluster/MemberList", MemberListAnswer)
ADD_MEMBER = Procedure("/etcdserverpb.Cluster/MemberAdd", MemberAddAnswer)
REMOVE_MEMBER = Procedure("/etcdserverpb.Cluster/MemberRemove", MemberListAnswer)
PROMOTE_MEMBER = Procedure("/etcdserverpb.Cluster/MemberPromote", MemberListAnswer)


# --- to bytes and back ------------------------------------------------------------------------------------------------------------------
def encode(message: Any) -> bytes:
    """A message as protobuf writes it; fields that have their default are left out."""
    parts = bytearray()
    for number, name, default, of in _fields(type(message)).values():
        value = getattr(message, name)
        if of is not None:
            for each in value if isinstance(value, tuple) else (value,) if value is not None else ():
                _put_bytes(parts, number, each if isinstance(each, bytes) else encode(each))
        elif value == default:
            continue
        elif isinstance(value, bytes):
            _put_bytes(parts, number, value)
        else:
            parts += _varint(number << 3 | _VARINT)
            parts += _varint(int(value) % _WRAP)
    return bytes(parts)


def decode(kind: type[M], data: bytes) -> M:
    """The message of class `kind` in `data`. Raises ValueError when it is none."""
    numbered = _fields(kind)
    values: dict[str, Any] = {}
    for number, value in _pieces(data):
        found = numbered.get(number)
        if found is None:
            continue
        _, name, default, of = found
        if of is None:
            if isinstance(value, bytes) is not isinstance(default, bytes):
                raise ValueError(f"field {number} of {kind.__name__} is of another kind")
            values[name] = value if isinstance(value, bytes) else type(default)(value)
        elif not isinstance(value, bytes):
            raise ValueError(f"field {number} of {kind.__name__} is no message")
        elif isinstance(default, tuple):
            values.setdefault(name, []).append(value if of is bytes else decode(of, value))
        else:
            values[name] = decode(of, value)
    return kind(**{name: tuple(value) if isinstance(value, list) else value for name, value in values.items()})


def _fields(kind: type[Any]) -> dict[int, _Field]:
    """The fields of a message, by number."""
    found = _known.get(kind)
    if found is None:
        places = (_Field(each.metadata["number"], each.name, each.default, each.metadata["of"]) for each in fields(kind))
        found = _known[kind] = {place.number: place for place in places}
    return found


def _put_bytes(parts: bytearray, number: int, value: bytes) -> None:
    parts += _varint(number << 3 | _LENGTH)
    parts += _varint(len(value))
    parts += value


def _varint(value: int) -> bytes:
    """A number, seven bits a byte, the lowest first."""
    if value < 0x80:
        return bytes((value,))
    found = bytearray()
    while value >= 0x80:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    found.append(value)
    return bytes(found)


def _pieces(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """The fields of a message as they stand there: number and value, numbers of 64 bits with their sign. Raises ValueError."""
    position, end = 0, len(data)

    def number() -> int:
        nonlocal position
        value = shift = 0
        while True:
            if position >= end or shift > 63:
                raise ValueError("a protobuf message ends in the middle of a number")
            byte = data[position]
            position += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
            shift += 7

    while position < end:
        tag = number()
        layout = tag & 7
        if layout == _VARINT:
            value = number()
            yield tag >> 3, value if value < _WRAP // 2 else value - _WRAP
            continue
        if layout == _LENGTH:
            size = number()
        elif layout in _FIXED_SIZES:
            size = _FIXED_SIZES[layout]
        else:
            raise ValueError(f"a protobuf message has a field of layout {layout}")
        if position + size > end:
            raise ValueError("a protobuf message ends in the middle of a field")
        if layout == _LENGTH:
            yield tag >> 3, data[position : position + size]
        position += size
