"""Carrying bytes between a socket of this machine and a pipe to another."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

from covey.base.errors import Unavailable
from covey.host.migration.protocol import PIECE, Pipe


class SocketPipe:
    """A unix socket of this machine."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def read(self) -> bytes:
        try:
            return await self._reader.read(PIECE)
        except OSError as error:
            raise Unavailable(f"the socket broke: {error}", "socket") from error

    async def write(self, data: bytes) -> None:
        try:
            self._writer.write(data)
            await self._writer.drain()
        except OSError as error:
            raise Unavailable(f"the socket broke: {error}", "socket") from error

    async def end(self) -> None:
        with contextlib.suppress(OSError):
            self._writer.write_eof()

    async def close(self) -> None:
        self._writer.close()
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()


async def carry(one: Pipe, other: Pipe, one_ends_first: bool = False) -> None:
    """Both ways, until neither end sends any more. Raises Unavailable when one of them breaks: then both are of no use. If `one_ends_first`,
    an end of the other before that is a break, too."""
    async with asyncio.TaskGroup() as group:
        forth = group.create_task(_carry_one_way(one, other))
        await _carry_one_way(other, one, (lambda: not forth.done()) if one_ends_first else None)


async def _carry_one_way(source: Pipe, target: Pipe, is_early: Callable[[], bool] | None = None) -> None:
    while data := await source.read():
        await target.write(data)
    if is_early and is_early():
        raise Unavailable("the other end ended it", "socket")
    await target.end()


def broken_by(group: BaseExceptionGroup[BaseException]) -> Unavailable | None:
    """The Unavailable in what `carry` raised; None when it was something else."""
    found, rest = group.split(Unavailable)
    if found is None or rest is not None:
        return None
    first = found.exceptions[0]
    return first if isinstance(first, Unavailable) else Unavailable("the way broke", "socket")
