"""A connection to a guest's console that can be asked what has arrived by now; asyncio's streams cannot say that."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from pathlib import Path

CHUNK = 16 * 1024


class Wire:
    def __init__(self, connected: socket.socket) -> None:
        self._socket = connected
        self._loop = asyncio.get_running_loop()
        self._readable = asyncio.Event()
        self._writable = asyncio.Event()
        self.ended = False

    @classmethod
    async def connect(cls, path: Path) -> Wire:
        """Raises OSError when nobody listens there."""
        connected = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connected.setblocking(False)
        try:
            await asyncio.get_running_loop().sock_connect(connected, str(path))
        except BaseException:
            connected.close()
            raise
        return cls(connected)

    def has_news(self) -> bool:
        """Whether something has arrived, be it the end. Raises OSError."""
        try:
            self._socket.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return False
        return True

    async def wait(self, seconds: float | None = None) -> None:
        """Until something has arrived, at most `seconds`."""
        self._readable.clear()
        self._loop.add_reader(self._socket, self._readable.set)
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._readable.wait()
        finally:
            if not self._is_closed():
                self._loop.remove_reader(self._socket)

    def take(self, most: int = CHUNK) -> bytes:
        """What has arrived, not much more than `most` bytes of it; sets `ended` at the end. Raises OSError."""
        taken = bytearray()
        with contextlib.suppress(BlockingIOError):
            while not self.ended and len(taken) < most:
                piece = self._socket.recv(CHUNK)
                taken += piece
                self.ended = not piece
        return bytes(taken)

    async def write(self, data: bytes) -> None:
        """For one writer at a time. Raises OSError."""
        left = memoryview(data)
        while left:
            try:
                left = left[self._socket.send(left) :]
            except BlockingIOError:
                await self._wait_for_room()

    async def _wait_for_room(self) -> None:
        self._writable.clear()
        self._loop.add_writer(self._socket, self._writable.set)
        try:
            await self._writable.wait()
        finally:
            if not self._is_closed():
                self._loop.remove_writer(self._socket)

    def close(self) -> None:
        """Whoever still waits goes on, and finds it closed."""
        if not self._is_closed():
            self._loop.remove_reader(self._socket)
            self._loop.remove_writer(self._socket)
        self.ended = True
        self._socket.close()
        self._readable.set()
        self._writable.set()

    def _is_closed(self) -> bool:
        return self._socket.fileno() < 0
