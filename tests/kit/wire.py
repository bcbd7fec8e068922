"""A wire to a server, with a hand on it: it can be cut, hold its tongue, or lose the answers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

CHUNK = 2**16


class Wire:
    """Listens at `address` and passes everything on to `host`:`port`, until it is told otherwise."""

    def __init__(self, host: str, port: int) -> None:
        self.address = ""
        self._host, self._port = host, port
        self._server: asyncio.Server | None = None
        self._ends: set[asyncio.StreamWriter] = set()
        self._connections: set[asyncio.Task[None]] = set()
        self._loses_requests = False
        self._loses_answers = False

    async def mend(self) -> None:
        """Listen, where it has listened before."""
        port = int(self.address.rpartition(":")[2] or 0)
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", port)
        self.address = f"127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    def cut(self) -> None:
        """Whoever is connected notices; new connections are refused."""
        if self._server:
            self._server.close()
        for end in tuple(self._ends):
            end.transport.abort()

    async def take_down(self) -> None:
        self.cut()
        if self._connections:
            await asyncio.wait(self._connections)

    def hold(self) -> None:
        """Nothing passes any more, and nobody is told."""
        self._loses_requests = self._loses_answers = True

    def lose_answers(self) -> None:
        """What is asked arrives, what is answered does not."""
        self._loses_answers = True

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        self._connections.add(task)
        task.add_done_callback(self._connections.discard)
        there_reader, there_writer = await asyncio.open_connection(self._host, self._port)
        self._ends |= {writer, there_writer}
        try:
            await asyncio.gather(self._pass_on(reader, there_writer, True), self._pass_on(there_reader, writer, False))
        finally:
            self._ends -= {writer, there_writer}

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, is_request: bool) -> None:
        with suppress(OSError):
            while data := await reader.read(CHUNK):
                if not (self._loses_requests if is_request else self._loses_answers):
                    writer.write(data)
                    await writer.drain()
        writer.close()


@asynccontextmanager
async def a_wire(host: str, port: int) -> AsyncIterator[Wire]:
    wire = Wire(host, port)
    await wire.mend()
    try:
        yield wire
    finally:
        await wire.take_down()
