"""A volume on its way from one node to another: first where it holds what, then the data in pieces, each with its SHA-256.

    COVEYVOL version size fingerprint COUNT-OF-DATA COUNT-OF-ZEROS (first count)... SHA-256
    (length SHA-256 data)...                    the clusters of data, in order, from the byte that was asked for
    0 SHA-256-of-nothing                        the end: a stream without it was cut off

What holds nothing is not sent, so holes stay holes. The fingerprint is that of the very file: who goes on after a cut goes on with the same.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import AsyncGenerator, AsyncIterator, Iterable
from dataclasses import dataclass

from covey.base.errors import Unavailable, check
from covey.base.qcow2 import CLUSTER, Run

LARGEST = 2**20  # bytes of a piece
_MAGIC, _VERSION = b"COVEYVOL", 1
_HEAD = struct.Struct(">8sIQ32sQQ")
_RUN = struct.Struct(">QQ")
_SUM = hashlib.sha256().digest_size
_PART = struct.Struct(f">I{_SUM}s")
_MOST_RUNS = 2**26  # of a disk in the worst case: 8 TiB, each second cluster


@dataclass(frozen=True, slots=True)
class Map:
    """Where a volume of `size` bytes holds what, in clusters: data, and zeros that hide what it lies on."""

    size: int
    data: tuple[Run, ...]
    zeros: tuple[Run, ...]
    fingerprint: bytes

    @property
    def length(self) -> int:
        """Bytes of data, in whole clusters."""
        return sum(run.count for run in self.data) * CLUSTER


@dataclass(frozen=True, slots=True)
class Parts:
    """A volume as it comes in: its map, and the pieces of its data from where they were asked for. They raise Unavailable when they
    break off, or are not what was sent."""

    map: Map
    pieces: AsyncIterator[bytes]


def fingerprint_of(size: int, data: Iterable[Run], zeros: Iterable[Run], *about: object) -> bytes:
    text = repr((size, [(run.first, run.count) for run in data], [(run.first, run.count) for run in zeros], about))
    return hashlib.sha256(text.encode()).digest()


def length_of(map: Map, start: int, pieces: int) -> int:
    """Bytes of the whole stream, when what is left from `start` on goes in so many pieces."""
    left = map.length - start
    return _HEAD.size + _RUN.size * (len(map.data) + len(map.zeros)) + _SUM + _PART.size * (pieces + 1) + left


def head_of(map: Map) -> bytes:
    head = _HEAD.pack(_MAGIC, _VERSION, map.size, map.fingerprint, len(map.data), len(map.zeros))
    head += b"".join(_RUN.pack(run.first, run.count) for run in (*map.data, *map.zeros))
    return head + hashlib.sha256(head).digest()


def part_of(piece: bytes) -> bytes:
    """A piece as it goes out; b"" is the end."""
    return _PART.pack(len(piece), hashlib.sha256(piece).digest()) + piece


async def parsed(stream: AsyncGenerator[bytes, None] | AsyncIterator[bytes]) -> Parts:
    """What comes in by a stream. Raises Unavailable for one that is cut off, or is none of ours."""
    reader = _Reader(stream)
    raw = await reader.exactly(_HEAD.size)
    magic, version, size, fingerprint, data, zeros = _HEAD.unpack(raw)
    _expect((magic, version) == (_MAGIC, _VERSION) and data + zeros <= _MOST_RUNS)
    runs_raw = await reader.exactly(_RUN.size * (data + zeros))
    _expect(await reader.exactly(_SUM) == hashlib.sha256(raw + runs_raw).digest())
    runs = tuple(Run(first, count) for first, count in _RUN.iter_unpack(runs_raw))
    return Parts(Map(size, runs[:data], runs[data:], fingerprint), _pieces(reader))


async def _pieces(reader: _Reader) -> AsyncIterator[bytes]:
    while True:
        length, digest = _PART.unpack(await reader.exactly(_PART.size))
        _expect(length <= LARGEST)
        piece = await reader.exactly(length)
        _expect(hashlib.sha256(piece).digest() == digest)
        if not length:
            return
        yield piece


class _Reader:
    """Bytes of a stream in the portions that are asked for."""

    def __init__(self, stream: AsyncIterator[bytes]) -> None:
        self._stream = stream
        self._buffer = bytearray()

    async def exactly(self, length: int) -> bytes:
        while len(self._buffer) < length:
            more = await anext(self._stream, None)
            if more is None:
                raise Unavailable("it broke off", "volume", "the next try goes on from there")
            self._buffer += more
        found = bytes(self._buffer[:length])
        del self._buffer[:length]
        return found


def _expect(holds: object) -> None:
    check(holds, Unavailable("what comes is not what was sent", "volume", "is the other node's Covey of another release?"))
