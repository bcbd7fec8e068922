"""Disks read by qemu-nbd, and streamed: no copy is made, and what holds nothing is not read."""

from __future__ import annotations

import asyncio
import secrets
import shutil
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Iterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path

from covey.base.errors import BadInput, NotFound, StepFailed, Unavailable, check
from covey.base.qcow2 import CLUSTER, Layout, runs_of
from covey.base.run import run
from covey.host.export import parts
from covey.host.export.allocation import allocated
from covey.host.export.hold import held_from_writers
from covey.host.export.nbd import MOST_AT_ONCE, Disk, connect
from covey.host.storage.protocol import Attachment
from covey.model.transfer import Content

BEGIN_WITHIN_S = 20.0
LONGEST_S = 7 * 24 * 3600.0
_LOOK_S = 0.01
_ZEROS = bytes(MOST_AT_ONCE)


class HostExports:
    """`directory` is for sockets: what an agent that was killed left there is removed."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        shutil.rmtree(directory, ignore_errors=True)

    @asynccontextmanager
    async def opened(self, attachment: Attachment, format: str) -> AsyncIterator[Content]:
        async with self._disk(attachment) as disk:
            length, pieces = await _stream(disk, format)
            async with aclosing(pieces):
                yield Content(length, pieces)

    @asynccontextmanager
    async def in_parts(self, attachment: Attachment, above: bool, start: int) -> AsyncIterator[Content]:
        async with self._disk(attachment) as disk:
            map = await _map(disk, attachment, above)
            check(0 <= start <= map.length and start % CLUSTER == 0, BadInput(f"it has no byte {start}", attachment.path))
            places = list(_cut(_from(start, [(part.first * CLUSTER, part.count * CLUSTER) for part in map.data])))
            async with aclosing(_parts(disk, map, places)) as pieces:
                yield Content(parts.length_of(map, start, len(places)), pieces)

    @asynccontextmanager
    async def _disk(self, attachment: Attachment) -> AsyncIterator[Disk]:
        path = Path(attachment.path)
        check(path.exists(), NotFound("its file is not there", path, "see: covey cluster verify"))
        self._directory.mkdir(mode=0o700, exist_ok=True)
        socket = self._directory / secrets.token_hex(4)
        with held_from_writers(path):
            server = asyncio.create_task(_serve(attachment, socket))
            try:
                disk = await _meet(server, socket, attachment.path)
                try:
                    yield disk
                finally:
                    disk.close()
            finally:
                server.cancel()
                await asyncio.gather(server, return_exceptions=True)
                socket.unlink(missing_ok=True)


async def _serve(attachment: Attachment, socket: Path) -> None:
    """Ends with its one client, or when it is cancelled. It dies with this process."""
    argv = ("setpriv", "--pdeathsig", "KILL", "nice", "-n", "10", "ionice", "-c", "3", "qemu-nbd", "--read-only", "--shared", "1")
    await run((*argv, "--format", attachment.format, "--socket", str(socket), attachment.path), timeout_s=LONGEST_S)


async def _meet(server: asyncio.Task[None], socket: Path, path: str) -> Disk:
    try:
        async with asyncio.timeout(BEGIN_WITHIN_S):
            while True:
                try:
                    return await connect(socket, path)
                except (FileNotFoundError, ConnectionRefusedError):
                    if server.done():
                        await server
                    await asyncio.sleep(_LOOK_S)
    except TimeoutError as error:
        raise Unavailable("what reads it does not begin", path, "is the machine overloaded? try again") from error
    except StepFailed as error:
        raise Unavailable(f"it cannot be read: {error.what}", path, "see: covey cluster verify") from error


async def _stream(disk: Disk, format: str) -> tuple[int, AsyncGenerator[bytes, None]]:
    extents = await disk.extents()
    if format == "raw":
        return disk.size, _raw(disk, extents)
    layout = Layout(disk.size, runs_of(extents))
    return layout.length, _qcow2(disk, layout)


async def _map(disk: Disk, attachment: Attachment, above: bool) -> parts.Map:
    """What a node that gets it must know: as long as the file is the same, so is this."""
    data, zeros = await allocated(attachment) if above else (runs_of(await disk.extents()), [])
    status = Path(attachment.path).stat()
    about = (status.st_ino, status.st_size, status.st_mtime_ns)
    return parts.Map(disk.size, tuple(data), tuple(zeros), parts.fingerprint_of(disk.size, data, zeros, *about))


async def _parts(disk: Disk, map: parts.Map, places: list[tuple[int, int]]) -> AsyncGenerator[bytes, None]:
    yield parts.head_of(map)
    async with aclosing(disk.pieces((at, min(length, disk.size - at)) for at, length in places)) as pieces:
        async for piece in pieces:
            yield parts.part_of(piece.ljust(-(-len(piece) // CLUSTER) * CLUSTER, b"\0"))
    yield parts.part_of(b"")


def _from(start: int, places: Iterable[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """Of the bytes at these places, in order, those from number `start` on."""
    for offset, length in places:
        left = max(length - start, 0)
        if left:
            yield offset + length - left, left
        start = max(start - length, 0)


async def _raw(disk: Disk, extents: list[tuple[int, int]]) -> AsyncGenerator[bytes, None]:
    at = 0
    async with aclosing(disk.pieces(_cut(extents))) as pieces:
        for offset, length in (*_cut(extents), (disk.size, 0)):
            while at < offset:
                hole = min(MOST_AT_ONCE, offset - at)
                yield _ZEROS[:hole]
                at += hole
            if length:
                yield await anext(pieces)
                at += length


async def _qcow2(disk: Disk, layout: Layout) -> AsyncGenerator[bytes, None]:
    for table in layout.tables():
        yield table
    runs = [(part.first * CLUSTER, part.count * CLUSTER) for part in layout.runs]
    async with aclosing(disk.pieces((at, min(length, disk.size - at)) for at, length in _cut(runs))) as pieces:
        async for piece in pieces:
            yield piece.ljust(-(-len(piece) // CLUSTER) * CLUSTER, b"\0")  # a disk may end within its last cluster


def _cut(places: Iterable[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """The same, in pieces of MOST_AT_ONCE bytes at most."""
    for offset, length in places:
        for at in range(offset, offset + length, MOST_AT_ONCE):
            yield at, min(MOST_AT_ONCE, offset + length - at)
