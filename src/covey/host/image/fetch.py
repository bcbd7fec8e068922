"""Bring an image's file here: copied from this machine, or over HTTP, continued where a cut left it.

Both write to a file in the making, and answer the SHA-256 of all of it. Nothing is held in memory but one piece.
"""

from __future__ import annotations

import asyncio
import errno
import fcntl
import hashlib
import json
import os
import stat
import threading
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import BinaryIO

import httpx2

from covey.base.errors import BadInput, NoSpace, NotFound, Refused, Unavailable, check
from covey.base.files import write_durably
from covey.base.units import humane_size
from covey.host.faults import told_apart
from covey.host.image.protocol import Progress
from covey.host.threads import in_thread

PIECE = 2**20  # bytes
SPARED = 2**31  # bytes that stay free on the disk of images, or 5 % of a small one
ATTEMPTS = 5  # in a row that bring nothing, once something has come
TIMES = httpx2.Timeout(60, connect=20)  # seconds of silence
REDIRECTS = 5
RETRY_S = 2.0  # seconds before the next attempt
_FICLONE = 0x40049409  # ioctl_ficlone(2): share the source's blocks
_HOLE = 2**16  # bytes: zeros of this length are not written
_ZEROS = bytes(_HOLE)


@dataclass(frozen=True, slots=True)
class Remembered:
    """What the server said of the file when its first part came: only the same file may be continued (RFC 9110,
    If-Range)."""

    url: str
    validator: str  # a strong ETag or a Last-Modified; "" when the server sent neither


class _Cut(Exception):
    """The connection ended early; what came is kept."""


# ---- from this machine ----


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
    with source.open("rb") as old, _opened(new, fresh=True) as file, told_apart(new.parent, "an image"):
        shared = _share(old, file)
        done = 0
        while piece := _read(old, source):
            if stop.is_set():
                raise Refused("the copy was cancelled", source)
            digest.update(piece)
            if not shared:
                check_room(new.parent, 0)  # others write, too
                _write_sparsely(file, piece)
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


def _opened(new: Path, fresh: bool) -> BinaryIO:
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


def _write_sparsely(file: BinaryIO, piece: bytes) -> None:
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


async def download(url: str, new: Path, progress: Progress) -> str:
    """Fetch a URL, going on with a part that is there if it is of the same file. Raises BadInput for a bad URL,
    NotFound, Refused, NoSpace, and Unavailable when the server does not answer: the part that came stays for the next
    call."""
    idle = 0
    try:
        async with httpx2.AsyncClient(follow_redirects=True, max_redirects=REDIRECTS, timeout=TIMES) as client:
            while True:
                before = _length(new)
                try:
                    await _attempt(client, url, new, progress)
                    break
                except _Cut as cut:
                    idle = 0 if _length(new) > before else idle + 1
                    if idle >= (ATTEMPTS if _length(new) else 1):
                        raise Unavailable(f"the server does not deliver: {cut}", url, "try again later") from cut
                    progress(f"continuing after a cut: {cut}", _length(new), 0)
                    await asyncio.sleep(RETRY_S * idle)
    except (httpx2.InvalidURL, httpx2.UnsupportedProtocol) as error:
        raise BadInput(f"this URL cannot be fetched: {error}", url, "use http:// or https://") from error
    except httpx2.TooManyRedirects as error:
        raise Unavailable(f"more than {REDIRECTS} redirections", url, "give the final address") from error
    memo_of(new).unlink(missing_ok=True)
    return await in_thread(_digest, new)


async def _attempt(client: httpx2.AsyncClient, url: str, new: Path, progress: Progress) -> None:
    """One request, to the end of the file. Raises _Cut when it ended early."""
    known = _recall(new)
    start = _length(new) if known and known.url == url and known.validator else 0
    # What the file is is asked as it is: a part of a compressed answer could not be continued.
    headers = {"Accept-Encoding": "identity"}
    if start and known:
        headers |= {"Range": f"bytes={start}-", "If-Range": known.validator}
    try:
        async with client.stream("GET", url, headers=headers) as answer:
            if answer.status_code == 416 and start:
                new.unlink(missing_ok=True)  # the server has no such part any more: the file is another
                raise _Cut("the file on the server has changed")
            _check_answer(answer, url)
            start = _continues_at(answer, start)
            if start == 0:
                write_durably(memo_of(new), json.dumps(asdict(Remembered(url, _validator(answer)))).encode())
            length = answer.headers.get("Content-Length", "")
            total = start + int(length) if length.isdecimal() else 0
            check_room(new.parent, max(total - start, 0))
            await _receive(answer, new, start, total, progress)
    except httpx2.TooManyRedirects:
        raise
    except httpx2.UnsupportedProtocol:
        raise
    except httpx2.TransportError as error:
        raise _Cut(str(error) or type(error).__name__) from error
    if total and _length(new) != total:
        raise _Cut(f"{_length(new)} of {total} bytes came")


def _check_answer(answer: httpx2.Response, url: str) -> None:
    status = answer.status_code
    said = f"the server answers {status} {answer.reason_phrase}".rstrip()
    check(status not in (404, 410), NotFound(said, url, "look at the address"))
    check(not 400 <= status < 500 or status in (408, 429), Refused(said, url, "look at the address and its access"))
    check(status in (200, 206), Unavailable(said, url, "try again later"))


def _continues_at(answer: httpx2.Response, start: int) -> int:
    """Where the answer's first byte belongs: 0 unless it is the part that was asked for."""
    if answer.status_code != 206:
        return 0
    if not answer.headers.get("Content-Range", "").startswith(f"bytes {start}-"):
        raise _Cut("the server sent another part than was asked for")
    return start


async def _receive(answer: httpx2.Response, new: Path, start: int, total: int, progress: Progress) -> None:
    with told_apart(new.parent, "an image"), _opened(new, fresh=not start) as file:
        file.truncate(start)
        file.seek(start)
        done = start
        async for piece in answer.aiter_raw(PIECE):
            check_room(new.parent, len(piece))  # a server may send more than it announced, or without end
            await in_thread(file.write, piece)
            done += len(piece)
            progress("downloading", done, total)


def _validator(answer: httpx2.Response) -> str:
    tag = str(answer.headers.get("ETag", ""))
    return tag if tag.startswith('"') else str(answer.headers.get("Last-Modified", ""))


def memo_of(new: Path) -> Path:
    """Where it is remembered what a file in the making is a part of."""
    return new.with_name(f"{new.name}.json")


def _recall(new: Path) -> Remembered | None:
    try:
        return Remembered(**json.loads(memo_of(new).read_bytes()))
    except FileNotFoundError:
        return None


def _length(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        os.fsync(file.fileno())
        return hashlib.file_digest(file, "sha256").hexdigest()


# ---- room ----


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
