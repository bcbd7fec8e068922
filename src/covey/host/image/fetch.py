"""Bring an image's file here: copied from this machine; over HTTP, see `download.py`.

Both write to a file in the making, and answer the SHA-256 of all of it. Nothing is held in memory but one piece.
"""

from __future__ import annotations

import asyncio
import errno
import fcntl
import hashlib
import os
import stat
import threading
from pathlib import Path
from typing import BinaryIO

from covey.base.errors import BadInput, NoSpace, NotFound, Refused, Unavailable, check
from covey.base.units import humane_size
from covey.host.faults import told_apart
from covey.host.image.protocol import Progress
from covey.host.threads import in_thread

PIECE = 2**20  # bytes
SPARED = 2**31  # bytes that stay free on the disk of images, or 5 % of a small one
_FICLONE = 0x40049409  # ioctl_ficlone(2): share the source's blocks
_HOLE = 2**16  # bytes: zeros of this length are not written
_ZEROS = bytes(_HOLE)


async def copy_file(source: Path, new: Path, progress: Progress) -> str:
    """Copy a regular file sparsely, sharing its blocks where the file system can. Raises NotFound, BadInput, NoSpace,
    Refused when it changes meanwhile."""
    stop = threading.Event()
    work = asyncio.ensure_future(in_thread(_copy, source, new, _from_thread(progress), stop))
    try:
        return await asyncio.shield(work)
    except asyncio.CancelledError:
        stop.set()
        work.cancel()
        await asyncio.wait((work,))
        raise


def _copy(source: Path, new: Path, progress: Progress, stop: threading.Event) -> str:
    before = _regular(source)
    check_room(new.parent, before.st_blocks * 512)
    digest = hashlib.sha256()
    with source.open("rb") as old, opened(new, fresh=True) as file, told_apart(new.parent, "an image"):
        shared = _share(old, file)
        done = 0
        while piece := _read(old, source):
            if stop.is_set():
                raise Refused("the copy was cancelled", source)
            digest.update(piece)
            if not shared:
                check_room(new.parent, 0)  # others write, too
                write_sparsely(file, piece)
            done += len(piece)
            progress("copying", done, before.st_size)
        file.truncate(done)
        file.flush()
        os.fsync(file.fileno())
    after = source.stat()
    check(
        (before.st_size, before.st_mtime_ns) == (after.st_size, after.st_mtime_ns),
        Refused("the file changed while it was copied", source, "repeat when it is at rest"),
    )
    return digest.hexdigest()


def opened(new: Path, fresh: bool) -> BinaryIO:
    """A file in the making, which nobody else may read."""
    file = new.open("wb" if fresh else "r+b")
    os.fchmod(file.fileno(), 0o600)
    return file


def _read(file: BinaryIO, source: Path) -> bytes:
    """Its next piece. A fault of the source's disk is no fault of the one that is written to. Raises Unavailable."""
    try:
        return file.read(PIECE)
    except OSError as error:
        raise Unavailable(f"it cannot be read: {error}", source, "look at its disk and the kernel's log") from error


def write_sparsely(file: BinaryIO, piece: bytes) -> None:
    """Write a piece, leaving a hole for each part of it that is all zeros."""
    for start in range(0, len(piece), _HOLE):
        part = piece[start : start + _HOLE]
        if part == _ZEROS[: len(part)]:
            file.seek(len(part), os.SEEK_CUR)
        else:
            file.write(part)


def _regular(source: Path) -> os.stat_result:
    try:
        status = source.stat()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise NotFound("there is no such file", source, "give the path of an image on this machine") from error
    check(stat.S_ISREG(status.st_mode), BadInput("it is not a regular file", source, "give a disk image's path"))
    return status


def _share(old: BinaryIO, new: BinaryIO) -> bool:
    """Whether the new file could be made of the old one's blocks (Btrfs, XFS)."""
    try:
        fcntl.ioctl(new.fileno(), _FICLONE, old.fileno())
    except OSError as error:
        if error.errno in (errno.EOPNOTSUPP, errno.EXDEV, errno.EINVAL, errno.ENOTTY, errno.ENOSYS):
            return False
        raise
    return True


def _from_thread(progress: Progress) -> Progress:
    """Progress is told in the event loop, wherever the work is done."""
    loop = asyncio.get_running_loop()

    def tell(what: str, done: int, total: int) -> None:
        loop.call_soon_threadsafe(progress, what, done, total)

    return tell


# ---- over HTTP ----


def memo_of(new: Path) -> Path:
    """Where it is remembered what a file in the making is a part of."""
    return new.with_name(f"{new.name}.json")


def check_room(directory: Path, needed: int) -> None:
    """Raises NoSpace when fewer than `needed` bytes are free beyond what is spared: the disk is often that of the store and of guests,
    which would be paused."""
    status = os.statvfs(directory)
    free = status.f_bavail * status.f_frsize
    spared = min(SPARED, status.f_blocks * status.f_frsize // 20)
    check(
        needed <= free - spared,
        NoSpace(
            f"no space for an image: {humane_size(needed)} needed, {humane_size(free)} free of which {humane_size(spared)} must stay so, "
            f"{humane_size(needed + spared - free)} missing",
            directory,
            "remove images that are not used, or enlarge the file system",
        ),
    )
