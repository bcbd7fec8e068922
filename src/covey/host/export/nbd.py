"""A reader of NBD: asks a server what a disk holds and where it holds nothing, and no more.

The protocol: doc/proto.md of the NBD project; fixed newstyle negotiation, structured replies, the context base:allocation.
"""

from __future__ import annotations

import asyncio
import struct
from collections import deque
from collections.abc import AsyncGenerator, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from covey.base.errors import Unavailable, check

# Bytes of one read. What is much larger, glibc takes from the kernel anew each time, and gives back: with 1 MiB a page fault for each page of
# each copy cost more than all the rest (of 1 GiB, 2 s of CPU in the agent and as much in the controller).
MOST_AT_ONCE = 2**17
_ASKED_AT_A_TIME = 3
_MOST_LOOKED_AT = 2**30  # bytes that one question about allocation is for
_OPTION, _OPTION_REPLY = 0x49484156454F5054, 0x3E889045565A9
_GO, _STRUCTURED, _SET_CONTEXT = 7, 8, 10
_ACK, _INFO, _CONTEXT = 1, 3, 4
_READ, _END, _BLOCK_STATUS = 0, 2, 7
_REQUEST, _REPLY = struct.Struct(">IHHQQI"), struct.Struct(">IHHQI")
_NOTHING, _DATA, _HOLE, _STATUS = 0, 1, 2, 5
_LAST = 1  # flag of a reply: nothing more comes to that request
_ZERO = 2  # flag of base:allocation: it reads as zeros
_LONGEST_REPLY = 2**24


@dataclass(slots=True)
class Disk:
    """An open connection to a server that shows one disk of `size` bytes."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    path: str
    size: int = 0
    open: dict[int, list[tuple[int, bytes]]] = field(
        default_factory=dict
    )  # by the number of the question: the answer's parts so far
    answered: dict[int, list[tuple[int, bytes]]] = field(default_factory=dict)

    async def extents(self) -> list[tuple[int, int]]:
        """Where it holds data: (offset, length), in order. Everything else reads as zeros. Raises Unavailable."""
        found: list[tuple[int, int]] = []
        at = 0
        while at < self.size:
            self._ask(_BLOCK_STATUS, 0, at, min(_MOST_LOOKED_AT, self.size - at))
            for kind, payload in await self._answer(0):
                self._expect(kind == _STATUS and len(payload) >= 12)
                for length, flags in struct.iter_unpack(">II", payload[4:]):
                    length = min(length, self.size - at)
                    self._expect(length > 0)
                    if not flags & _ZERO:
                        if found and sum(found[-1]) == at:
                            offset, before = found.pop()
                            found.append((offset, before + length))
                        else:
                            found.append((at, length))
                    at += length
        return found

    async def pieces(self, places: Iterable[tuple[int, int]]) -> AsyncGenerator[bytes, None]:
        """What it holds at each (offset, length), in order; a length is MOST_AT_ONCE bytes at most. Several are asked for at a time, so that
        nobody waits for another. Raises Unavailable."""
        asked: deque[tuple[int, int, int]] = deque()
        for number, (offset, length) in enumerate(places):
            self._ask(_READ, number, offset, length)
            asked.append((number, offset, length))
            if len(asked) == _ASKED_AT_A_TIME:
                yield await self._piece(*asked.popleft())
        while asked:
            yield await self._piece(*asked.popleft())

    async def _piece(self, number: int, offset: int, length: int) -> bytes:
        parts: list[tuple[int, bytes]] = []
        for kind, payload in await self._answer(number):
            at = struct.unpack_from(">Q", payload)[0] - offset
            data = payload[8:] if kind == _DATA else bytes(struct.unpack_from(">I", payload, 8)[0])
            self._expect(kind in (_DATA, _HOLE) and at >= 0 and at + len(data) <= length)
            parts.append((at, data))
        if len(parts) == 1 and len(parts[0][1]) == length:
            return parts[0][1]  # all at once, as it mostly comes
        whole = bytearray(length)
        for at, data in parts:
            whole[at : at + len(data)] = data
        return bytes(whole)

    def close(self) -> None:
        self.writer.close()

    def _ask(self, kind: int, number: int, offset: int, length: int) -> None:
        self.writer.write(_REQUEST.pack(0x25609513, 0, kind, number, offset, length))
        self.open[number] = []

    async def _answer(self, number: int) -> list[tuple[int, bytes]]:
        """The parts of the answer to a question: the server may answer another one first."""
        try:
            while number in self.open:
                await self._hear()
        except (OSError, EOFError) as error:
            raise Unavailable(f"what reads it has ended: {error}", self.path, "see the agent's log") from error
        return self.answered.pop(number)

    async def _hear(self) -> None:
        magic, flags, kind, number, size = _REPLY.unpack(await self.reader.readexactly(_REPLY.size))
        self._expect(magic == 0x668E33EF and number in self.open and size <= _LONGEST_REPLY)
        payload = await self.reader.readexactly(size)
        if kind >= 2**15:  # only then are its words made: all else is data
            raise Unavailable(f"it cannot be read: {payload[6:].decode(errors='replace')}", self.path)
        if kind != _NOTHING:
            self.open[number].append((kind, payload))
        if flags & _LAST:
            self.answered[number] = self.open.pop(number)

    def _expect(self, holds: object) -> None:
        check(holds, Unavailable("what reads it answers nonsense", self.path, "is qemu-nbd of another release?"))


async def connect(socket: Path, path: str) -> Disk:
    """Meet the server behind a socket, which shows `path`. Raises OSError when there is none, Unavailable."""
    reader, writer = await asyncio.open_unix_connection(str(socket), limit=MOST_AT_ONCE)
    disk = Disk(reader, writer, path)
    try:
        await _negotiate(disk)
    except BaseException:
        writer.close()
        raise
    return disk


async def _negotiate(disk: Disk) -> None:
    try:
        greeting = await disk.reader.readexactly(18)
        disk._expect(greeting.startswith(b"NBDMAGICIHAVEOPT"))
        disk.writer.write(struct.pack(">I", 3))  # fixed newstyle, no padding
        await _option(disk, _STRUCTURED, b"")
        context = b"base:allocation"
        await _option(disk, _SET_CONTEXT, struct.pack(">III", 0, 1, len(context)) + context)
        for kind, payload in await _option(disk, _GO, struct.pack(">IH", 0, 0)):
            if kind == _INFO and payload[:2] == b"\0\0":
                (disk.size,) = struct.unpack_from(">Q", payload, 2)
    except EOFError as error:
        raise Unavailable("what reads it has ended", disk.path, "see the agent's log") from error


async def _option(disk: Disk, option: int, data: bytes) -> list[tuple[int, bytes]]:
    disk.writer.write(struct.pack(">QII", _OPTION, option, len(data)) + data)
    answers: list[tuple[int, bytes]] = []
    while not answers or answers[-1][0] != _ACK:
        magic, of, kind, size = struct.unpack(">QIII", await disk.reader.readexactly(20))
        disk._expect(magic == _OPTION_REPLY and of == option and kind < 2**31 and size <= _LONGEST_REPLY)
        answers.append((kind, await disk.reader.readexactly(size)))
    disk._expect(option != _SET_CONTEXT or answers[0][0] == _CONTEXT)
    return answers
