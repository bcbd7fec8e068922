"""Room on a disk that is kept for the day on which the disk is full."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from covey.base.clock import Clock

ROOMY = 4  # the reserve is taken only from a file system with this many times its size free
RETRY_S = 5.0


class Reserve:
    """A file of allocated, unused blocks. It is given up at once when its neighbour finds the disk full, and taken
    again only when there is plenty, so that a disk at its brink does not see it come and go. Used by one thread at a
    time."""

    __slots__ = ("_clock", "_path", "_size", "_tried_at", "is_held")

    def __init__(self, path: Path, size: int, clock: Clock) -> None:
        self._path = path
        self._size = size
        self._clock = clock
        self._tried_at = float("-inf")
        self.is_held = self._is_allocated()

    def release(self) -> bool:
        """Give the room back to the file system; False when there was none to give. Raises OSError."""
        if not self._path.exists() or self._path.stat().st_blocks == 0:
            return False
        self.is_held = False
        descriptor = os.open(self._path, os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.ftruncate(descriptor, 0)
            os.fsync(descriptor)  # journalling file systems hand out freed blocks only once that is durable
        finally:
            os.close(descriptor)
        return True

    def take_again(self) -> None:
        """Allocate the room, unless it is held, the disk is short, or the last attempt was a moment ago. Raises
        OSError."""
        if self.is_held or self._clock.monotonic() - self._tried_at < RETRY_S:
            return
        self._tried_at = self._clock.monotonic()
        file_system = os.statvfs(self._path.parent)
        if file_system.f_bavail * file_system.f_frsize <= ROOMY * self._size:
            return
        descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.posix_fallocate(descriptor, 0, self._size)
            os.fsync(descriptor)
            self.is_held = True
        except OSError as error:
            os.ftruncate(descriptor, 0)  # a part would be room taken from others and of no use here
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
        finally:
            os.close(descriptor)

    def _is_allocated(self) -> bool:
        """The file may be short (a crash after its release) or sparse (a restored backup)."""
        if not self._path.exists():
            return False
        found = self._path.stat()
        return found.st_size >= self._size and found.st_blocks * 512 >= self._size
