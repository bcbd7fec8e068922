"""Holding a file against QEMU, by its own locks: whoever holds one is safe from writers, and writers from being read half way.

QEMU locks single bytes of each file that it opens (block/file-posix.c): byte 100 + n says "I use permission n", byte 200 + n "nobody
else may". They are locks of the open file (fcntl(2), F_OFD_SETLK), so they end with the process that holds them, however it ends.
"""

from __future__ import annotations

import fcntl
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from covey.base.errors import Refused, check

_USES, _FORBIDS = 100, 200
_WRITE, _RESIZE = 1, 3  # QEMU's permissions: BLK_PERM_WRITE, BLK_PERM_RESIZE
_FLOCK = struct.Struct("hhqqi4x")  # struct flock of x86-64 Linux


@contextmanager
def held_from_writers(path: Path) -> Iterator[None]:
    """No QEMU begins to write to the file within. Raises Refused when one does already."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        for permission in (_WRITE, _RESIZE):
            fcntl.fcntl(descriptor, fcntl.F_OFD_SETLK, _lock(fcntl.F_RDLCK, _FORBIDS + permission))
        for permission in (_WRITE, _RESIZE):
            found = fcntl.fcntl(descriptor, fcntl.F_OFD_GETLK, _lock(fcntl.F_WRLCK, _USES + permission))
            check(
                _FLOCK.unpack(found)[0] == fcntl.F_UNLCK,
                Refused("a guest or another program writes to it", path, "stop the instance, or take a snapshot"),
            )
        yield
    finally:
        os.close(descriptor)


def _lock(kind: int, byte: int) -> bytes:
    return _FLOCK.pack(kind, os.SEEK_SET, byte, 1, 0)
