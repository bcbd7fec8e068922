"""What a guest prints, without a gap: QEMU writes all of it to the console's log, and to whoever is connected.

The kernel connects at once, QEMU takes the connection a moment later; what the guest prints in between is in the log alone.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

from covey.host.guest.wire import Wire

LOOKS_S = (0.05, 0.1, 0.2, 0.4, 0.8, 1.6)  # at the log, while nothing comes over the wire
LOGGED_S = 0.02  # QEMU writes to the wire first, then to the log
MOST_TRIES = 25
MOST_AT_ONCE = 128 * 1024


def console_tail(path: Path, size: int, end: int | None = None) -> bytes:
    """The last `size` bytes of a console log (or of its first `end` bytes) at most, for history and for error messages; empty
    when nothing was printed."""
    stop = _length(path) if end is None else min(end, _length(path))
    start = max(0, stop - size)
    return _read(path, start, stop - start)


class Output:
    """`read` gives what is printed after this was made, in order: first out of the log, then what comes over the wire."""

    def __init__(self, log: Path) -> None:
        self._log = log
        self._shown: int | None = _length(log)  # bytes of the log that need not be given any more; None: the wire has it all
        self._wire: Wire
        self._looks = list(LOOKS_S)

    def follow(self, wire: Wire) -> None:
        """Connected after this was made, so that nothing is printed unseen."""
        self._wire = wire

    def before(self, size: int) -> bytes:
        """The last `size` bytes that were printed before what `read` gives next."""
        return console_tail(self._log, size, self._shown)

    async def read(self) -> bytes:
        """The next piece; empty at the end. Raises OSError when QEMU was killed."""
        while self._shown is not None:
            if piece := await self._read_bridging(self._shown):
                return piece
        if self._wire.ended:
            return b""
        await self._wire.wait()
        return self._wire.take()

    async def _read_bridging(self, shown: int) -> bytes:
        """While nothing has come over the wire, all that is new in the log was printed before QEMU took the connection."""
        await self._wire.wait(self._looks.pop(0) if self._looks else None)
        printed = self._since(shown)
        if not self._wire.has_news():  # asked after the log was read: what is there was not sent
            self._shown = min(shown, _length(self._log)) + len(printed)
            return printed
        piece = await self._joined(shown)
        self._shown = None
        return piece

    async def _joined(self, shown: int) -> bytes:
        """What is in the log alone, then what came over the wire. The log ends with what came; how much of it is there is known
        but for what came while the log was read."""
        came = self._wire.take(MOST_AT_ONCE)
        for _ in range(MOST_TRIES):
            await asyncio.sleep(LOGGED_S)
            printed = self._since(shown)
            by_now = came + self._wire.take(MOST_AT_ONCE)
            for size in range(len(came), len(by_now) + 1):
                if printed.endswith(by_now[:size]):
                    return printed + by_now[size:]
            came = by_now
        return came  # the log was cut, or the disk is full: what is printed comes all the same

    def _since(self, shown: int) -> bytes:
        return _read(self._log, shown, max(0, _length(self._log) - shown))


def _length(log: Path) -> int:
    try:
        return log.stat().st_size
    except FileNotFoundError:
        return 0


def _read(log: Path, start: int, size: int) -> bytes:
    try:
        with log.open("rb") as file:
            file.seek(start)
            return file.read(size)
    except FileNotFoundError:
        return b""
